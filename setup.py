"""The build steps that setup.cfg cannot say: the hook that registers the models, and the weights.

A wheel also gets two top-level files. Python's ``site`` module runs the line of the ``.pth`` file
when the interpreter starts; it calls the small module beside it, a copy of
``torchreid_magnifier/_autoload.py`` that stands alone because importing the package imports torch.
Both are listed in the wheel, so uninstalling removes them.

The folder ``weights`` lies beside the package, where people look at it; a wheel has a copy inside
of the package. An editable install needs none: it reads the sources.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HOOK_SOURCE = Path("torchreid_magnifier", "_autoload.py")
HOOK_MODULE = "_torchreid_magnifier_autoload"
WEIGHTS_SOURCE = Path("weights")
WEIGHTS_COPY = Path("torchreid_magnifier", "hub", "shipped")
# ``site`` runs a line that begins with "import", and only one line. It reports what it raises on
# every start of the interpreter, so nothing may be raised: not even when the module is gone.
PTH_LINE = (
    f"import sys; exec('try:\\n from {HOOK_MODULE} import install\\n install()\\n"
    "except Exception: pass')\n"
)


class Build(build_py):
    """``build_py`` that adds the hook's two files, and the weights to wheels with a copy of it."""

    def run(self) -> None:
        super().run()
        hook, pth = (Path(self.hook_folder(), name) for name in self.hook_files())
        hook.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(HOOK_SOURCE, hook)
        pth.write_text(PTH_LINE, encoding="utf-8")
        if not self.editable_mode:
            shutil.rmtree(Path(self.build_lib, WEIGHTS_COPY), ignore_errors=True)  # of before
            for copy, source in self.weights_files().items():
                Path(copy).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, copy)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        hook = [str(Path(self.hook_folder(), name)) for name in self.hook_files()]
        return [*super().get_outputs(include_bytecode), *hook, *self.weights_files()]

    def get_output_mapping(self) -> dict[str, str]:  # what a strict editable install links
        return {**super().get_output_mapping(), **self.weights_files()}

    def hook_folder(self) -> str:
        if self.editable_mode:  # build_lib is thrown away; this becomes the editable wheel
            return self.get_finalized_command("install").install_lib
        return self.build_lib

    def hook_files(self) -> tuple[str, str]:
        return f"{HOOK_MODULE}.py", f"{HOOK_MODULE}.pth"

    def weights_files(self) -> dict[str, str]:
        copy = Path(self.build_lib, WEIGHTS_COPY)
        return {str(copy / path.name): str(path) for path in WEIGHTS_SOURCE.iterdir()}


setup(cmdclass={"build_py": Build})
