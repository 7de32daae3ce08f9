"""Networks by name: MagnifierNet, SAN, and whatever a user registers."""

import difflib
import inspect
from collections.abc import Iterator
from fnmatch import fnmatch
from typing import Any, NamedTuple

from .base import Embedding, ReIDModel, TrainOutput
from .magnifiernet import variants as _variants
from .magnifiernet.model import MagnifierNet
from .san import model as _san
from .san.model import SAN


class Entry(NamedTuple):
    """A name of the zoo: a class and its options."""

    cls: type[ReIDModel]
    options: dict[str, Any]


_BF16 = "_bf16"
_ENTRIES: dict[str, Entry] = {}


def register(name: str, cls: type[ReIDModel], **options: Any) -> None:
    """Add a model to ``build`` and ``list_models``.

    Args:
        name: not taken yet by another class or with other options.
        cls: called as ``cls(num_classes, loss, pretrained=..., **options)``; a subclass of
            ``ReIDModel``.
        options: given to ``cls``; the caller's own come after them.

    Raises:
        ValueError: if the name is taken.
        TypeError: if ``cls`` is no subclass of ``ReIDModel``.
    """
    if not (isinstance(cls, type) and issubclass(cls, ReIDModel)):
        raise TypeError(
            f"{name}: expected a subclass of torchreid_magnifier.models.base.ReIDModel, got {cls!r}"
        )
    entry = Entry(cls, options)
    if _ENTRIES.get(name, entry) != entry:
        raise ValueError(f"There is a model {name!r} already: register yours by another name.")
    _ENTRIES[name] = entry


def list_models(pattern: str = "*") -> list[str]:
    """Return the names of models, such as those that match ``magnifiernet_r18*``."""
    return [name for name in _ENTRIES if fnmatch(name, pattern)]


def loss_names(name: str) -> tuple[str, ...]:
    """Return the names of losses that a model accepts."""
    return _ENTRIES[name].cls.losses


def build(
    name: str,
    num_classes: int,
    loss: str = "softmax",
    pretrained: bool = False,
    **options: Any,
) -> ReIDModel:
    """Build a model by name.

    Args:
        name: one of ``list_models()``.
        num_classes: number of training identities.
        loss: one of the model's ``losses``.
        pretrained: start from the weights of the backbone's library.
        options: of the model's class, in place of those that the name stands for.

    Raises:
        ValueError: for a name or an option that is not known, with the nearest ones; else as the
            class.
    """
    if name not in _ENTRIES:
        raise ValueError(f"Unknown model {name!r}{_nearest(name, _ENTRIES)}")
    cls: Any
    cls, own = _ENTRIES[name]
    known = list(_options_of(cls))
    for option in options:
        if option not in known:
            raise ValueError(f"{name} has no option {option!r}{_nearest(option, known)}")
    return cls(num_classes, loss, pretrained=pretrained, **{**own, **options})


def _options_of(cls: Any) -> Iterator[str]:
    """Keyword arguments of a class, and of its bases as far as it passes options on."""
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(base.__init__).parameters.values()
        yield from (
            p.name
            for p in parameters
            if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
            and p.name not in ("self", "num_classes", "loss", "pretrained")
        )
        if all(p.kind is not p.VAR_KEYWORD for p in parameters) or base is ReIDModel:
            return


def _nearest(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, known, n=3) or sorted(known)
    return f"; did you mean {' or '.join(map(repr, near[:20]))}?"


for _cls, _found in ((MagnifierNet, _variants), (SAN, _san)):
    for _name, _options in _found.VARIANTS.items():
        register(_name, _cls, **_options)
    for _name in _found.NETWORKS:
        register(_name + _BF16, _cls, **_found.VARIANTS[_name], precision="bfloat16")

__all__ = [
    "SAN",
    "Embedding",
    "MagnifierNet",
    "ReIDModel",
    "TrainOutput",
    "build",
    "list_models",
    "loss_names",
    "register",
]
