"""Registers this package when torchreid is imported, without an import of this package.

Torchreid has no plugin mechanism, and its ``scripts/main.py`` imports nothing else. So an
installed wheel has a copy of this file at the top level, whose ``install`` a ``.pth`` line calls
when the interpreter starts (``setup.py`` puts both there). It sets a finder that waits for
``torchreid`` to be imported and registers this package right after torchreid's own code has run.

It runs at the start of every Python process of the environment, so it imports only what the
interpreter has loaded already, and raises nothing. ``TORCHREID_MAGNIFIER_AUTOLOAD=0`` turns it
off; ``import torchreid_magnifier`` registers then.
"""

import os
import sys

TYPE_CHECKING = False  # type checkers take this for typing's; importing typing takes milliseconds
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

SWITCH = "TORCHREID_MAGNIFIER_AUTOLOAD"


class _RegisteringLoader:
    """Executes torchreid by its own loader, then registers (cf. ``importlib.util.LazyLoader``)."""

    def __init__(self, loader: "Any") -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> "Any":
        return getattr(self._loader, name)

    def create_module(self, spec: "ModuleSpec") -> "ModuleType | None":
        return self._loader.create_module(spec)

    def exec_module(self, module: "ModuleType") -> None:
        # The module keeps no trace of this loader, so that tools find the one they know.
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        _register()


class TorchreidFinder:
    """A ``sys.meta_path`` entry that leaves every import alone but that of ``torchreid``."""

    # Says also to another copy of this module that a finder is there.
    torchreid_magnifier_hook = True

    def find_spec(
        self,
        name: str,
        path: "Sequence[str] | None" = None,
        target: "ModuleType | None" = None,
    ) -> "ModuleSpec | None":
        if name != "torchreid":
            return None
        for finder in sys.meta_path:
            if getattr(finder, "torchreid_magnifier_hook", False):
                continue
            find_spec = getattr(finder, "find_spec", None)
            spec = find_spec(name, path, target) if find_spec else None
            if spec is not None:
                # A folder without __init__.py has no code after which to register.
                if spec.loader is not None and spec.origin is not None:
                    spec.loader = _RegisteringLoader(spec.loader)
                return spec
        return None


def _register() -> None:
    """Imports and registers the package; a failure is a warning, as torchreid works without it."""
    try:
        import torchreid_magnifier

        # Absent while torchreid is being imported *by* the package, which then registers itself.
        register = getattr(torchreid_magnifier, "register", None)
        if register is not None:
            register()
    except Exception as error:
        import warnings

        message = (
            f"torchreid-magnifier did not add its models to torchreid: "
            f"{type(error).__name__}: {error}. Torchreid itself works. "
            f"`python -c 'import torchreid_magnifier'` shows the whole error; "
            f"{SWITCH}=0 turns the attempt off."
        )
        try:
            warnings.warn(message, RuntimeWarning, stacklevel=2)
        except RuntimeWarning:  # under -W error; importing torchreid must not fail all the same
            print(message, file=sys.stderr)


def install() -> None:
    """Sets the hook, once, unless ``TORCHREID_MAGNIFIER_AUTOLOAD`` is 0 in the environment."""
    if os.environ.get(SWITCH) == "0":
        return
    if not any(getattr(finder, "torchreid_magnifier_hook", False) for finder in sys.meta_path):
        sys.meta_path.insert(0, TorchreidFinder())
