"""The import hook: in an installed environment, and its mechanics on a torchreid of three lines.

An interpreter's start is tested by starting interpreters. The environment is a real one: the wheel
is built, installed by pip into a new virtual environment that sees this one's libraries, and
uninstalled again.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from torchreid_magnifier import _autoload as autoload

REPOSITORY = Path(__file__).parents[1]
HOOK = "_torchreid_magnifier_autoload"
# In place of this package's own, which may be large.
WEIGHTS = f"""
- {{name: stand-in, model: magnifiernet_r18, dataset: none, file: stand-in.pth, size: 7,
   sha256: '{hashlib.sha256(b"weights").hexdigest()}', height: 128, width: 64, mean: [0, 0, 0],
   std: [1, 1, 1], num_classes: 1, results: [], command: none, licence: MIT}}
"""


def run(python: Path | str, *arguments: str, **options) -> subprocess.CompletedProcess[str]:
    """Runs an interpreter with the hook switched on, and returns what it printed."""
    environ = {k: v for k, v in os.environ.items() if k != autoload.SWITCH}
    environ |= options.pop("environ", {})
    return subprocess.run(
        [str(python), *arguments],
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=options.pop("check", True),
        **options,
    )


def pip(python: Path, *arguments: str) -> None:
    offline = ("--disable-pip-version-check", "--no-input", "-q")
    result = run(python, "-m", "pip", *arguments, *offline, check=False)
    assert result.returncode == 0, result.stderr


def copy_sources(folder: Path) -> Path:
    """The files that a wheel is built from, so that building leaves nothing in the repository."""
    files = ("pyproject.toml", "setup.cfg", "setup.py", "MANIFEST.in", "LICENSE", "README.md")
    for name in files:
        if (REPOSITORY / name).exists():
            shutil.copy(REPOSITORY / name, folder / name)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(
        REPOSITORY / "torchreid_magnifier", folder / "torchreid_magnifier", ignore=ignored
    )
    (folder / "weights").mkdir()
    shutil.copy(REPOSITORY / "weights" / "torchreid_zoo.csv", folder / "weights")
    (folder / "weights" / "manifest.yaml").write_text(WEIGHTS)
    (folder / "weights" / "stand-in.pth").write_bytes(b"weights")
    return folder


class Environment:
    """A virtual environment without pip of its own, which imports this one's libraries."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, symlinks=os.name != "nt")
        scripts, name = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
        self.python = folder / scripts / name
        paths = run(self.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
        self.packages = Path(paths.stdout.strip())
        # Site runs .pth files only in its own folders, not in those that such a file adds: a hook
        # that is installed in this environment is not active in the new one.
        libraries = [p for p in sys.path if Path(p).name in ("site-packages", "dist-packages")]
        (self.packages / "libraries.pth").write_text("\n".join(libraries) + "\n")

    def files(self) -> set[str]:
        return {path.name for path in self.packages.iterdir()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = copy_sources(tmp_path_factory.mktemp("sources"))
    pip(
        sys.executable, "wheel", str(folder), "--no-deps", "--no-build-isolation", "-w", str(folder)
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> Environment:
    environment = Environment(folder)
    # Forced: the same version may be installed among the libraries.
    pip(environment.python, "install", "--no-deps", "--no-index", "--force-reinstall", str(wheel))
    return environment


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Environment:
    return install(wheel, tmp_path_factory.mktemp("installed"))


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Environment:
    """The same without the wheel."""
    return Environment(tmp_path_factory.mktemp("bare"))


@pytest.fixture
def fakes(tmp_path) -> Path:
    """A torchreid and a plugin that only count, for tests of the mechanics."""
    (tmp_path / "torchreid").mkdir()
    (tmp_path / "torchreid" / "__init__.py").write_text("registered = 0\n")
    (tmp_path / "torchreid" / "utils.py").write_text("")
    (tmp_path / "torchreid_magnifier.py").write_text(
        "import torchreid\n\ndef register():\n    torchreid.registered += 1\n\nregister()\n"
    )
    return tmp_path


def run_hooked(fakes: Path, code: str, *flags: str, **options) -> subprocess.CompletedProcess[str]:
    """Runs code in an interpreter that has the hook, the two fakes and the standard library."""
    shutil.copy(autoload.__file__, fakes / f"{HOOK}.py")
    # A torchreid on PYTHONPATH would stand in for an absent one.
    options["environ"] = {"PYTHONPATH": "", **options.get("environ", {})}
    prelude = f"import sys; sys.path.insert(0, {str(fakes)!r}); import {HOOK}; {HOOK}.install()\n"
    return run(sys.executable, "-S", *flags, "-c", prelude + code, cwd=fakes, **options)


# ---------------------------------------------------------------------- installed


def test_importing_torchreid_is_enough(installed, tmp_path):
    code = (
        "import torchreid; "
        "model = torchreid.models.build_model('magnifiernet_r18_g', 9, pretrained=False); "
        "print(type(model).__module__, type(torchreid.__loader__).__name__, "
        "torchreid.__spec__.loader is torchreid.__loader__)"
    )
    result = run(installed.python, "-c", code, cwd=tmp_path)
    expected = "torchreid_magnifier.models.magnifiernet.model SourceFileLoader True\n"
    assert result.stdout == expected
    assert "torchreid-magnifier" not in result.stderr


def test_the_switch_turns_it_off_and_an_import_registers_then(installed, tmp_path):
    code = (
        "import sys, torchreid; factory = vars(torchreid.models)['__model_factory']; "
        "print('magnifiernet' in factory, 'torchreid_magnifier' in sys.modules); "
        "import torchreid_magnifier; print('magnifiernet' in factory)"
    )
    result = run(installed.python, "-c", code, cwd=tmp_path, environ={autoload.SWITCH: "0"})
    assert result.stdout == "False False\nTrue\n"


def test_nothing_but_the_hook_is_loaded_at_the_start(installed, bare, tmp_path):
    code = "import sys; print('\\n'.join(sys.modules))"
    with_hook, without = (
        set(run(environment.python, "-c", code, cwd=tmp_path).stdout.split())
        for environment in (installed, bare)
    )
    assert with_hook - without == {HOOK}


def test_the_hook_takes_less_than_five_milliseconds_of_the_start(installed, tmp_path):
    for name in (f"{HOOK}.pth", f"{HOOK}.py"):
        shutil.copy(installed.packages / name, tmp_path)
    code = (
        "import site, sys, time; start = time.perf_counter(); "
        f"site.addsitedir({str(tmp_path)!r}); print(time.perf_counter() - start); "
        f"assert {HOOK!r} in sys.modules"
    )
    # The fastest of some: what other processes take away only adds.
    assert min(float(run(sys.executable, "-S", "-c", code).stdout) for _ in range(10)) < 0.005


@pytest.mark.parametrize(("flag", "hooked"), [("-I", True), ("-E", True), ("-S", False)])
def test_interpreter_flags(flag, hooked, installed, tmp_path):
    code = f"import sys; print({HOOK!r} in sys.modules)"
    result = run(installed.python, flag, "-c", code, cwd=tmp_path)
    assert (result.stdout, result.stderr) == (f"{hooked}\n", "")


@pytest.mark.parametrize("content", [None, "raise RuntimeError", "not python"])
def test_a_hook_that_is_gone_or_broken_is_silent(content, installed, tmp_path):
    shutil.copy(installed.packages / f"{HOOK}.pth", tmp_path)
    if content is not None:
        (tmp_path / f"{HOOK}.py").write_text(content)
    code = f"import site; site.addsitedir({str(tmp_path)!r}); print('started')"
    result = run(sys.executable, "-S", "-c", code, cwd=tmp_path)
    assert (result.stdout, result.stderr) == ("started\n", "")


def test_uninstalling_leaves_nothing(wheel, tmp_path):
    environment = install(wheel, tmp_path / "environment")
    before = {f"{HOOK}.py", f"{HOOK}.pth", "torchreid_magnifier"}
    assert before <= environment.files()
    run(environment.python, "-c", f"import {HOOK}")  # leaves compiled code behind
    pip(environment.python, "uninstall", "-y", "torchreid-magnifier")
    assert not [name for name in environment.files() if "magnifier" in name]
    result = run(environment.python, "-c", f"import sys; print({HOOK!r} in sys.modules)")
    assert (result.stdout, result.stderr) == ("False\n", "")


def test_an_editable_install_has_the_hook(tmp_path):
    (tmp_path / "sources").mkdir()
    sources = copy_sources(tmp_path / "sources")
    environment = Environment(tmp_path / "environment")
    pip(
        environment.python,
        *("install", "--no-deps", "--no-index", "--no-build-isolation", "--force-reinstall"),
        *("-e", str(sources)),
    )
    assert "torchreid_magnifier" not in environment.files()  # no copy: the sources are used
    result = run(environment.python, "-c", f"import sys; print({HOOK!r} in sys.modules)")
    assert (result.stdout, result.stderr) == ("True\n", "")


def where_weights_are(python: Path | str, folder: Path, **options) -> str:
    command = ("-m", "torchreid_magnifier", "weights", "download", "stand-in")
    return run(python, *command, cwd=folder, **options).stdout


def test_the_weights_are_installed_with_the_package(installed, tmp_path):
    shipped = installed.packages / "torchreid_magnifier" / "hub" / "shipped"
    assert where_weights_are(installed.python, tmp_path) == f"{shipped / 'stand-in.pth'}\n"


def test_the_weights_of_a_source_tree(tmp_path):
    copy_sources(tmp_path)
    environ = {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    shipped = tmp_path / "weights" / "stand-in.pth"
    assert where_weights_are(sys.executable, tmp_path, environ=environ) == f"{shipped}\n"


def test_the_source_distribution_has_the_weights(tmp_path):
    code = "from setuptools import build_meta; print(build_meta.build_sdist('.'))"
    built = run(sys.executable, "-c", code, cwd=copy_sources(tmp_path)).stdout.split()[-1]
    with tarfile.open(tmp_path / built) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"weights/manifest.yaml", "weights/stand-in.pth", "setup.py"} <= names


def test_the_wheel_lists_the_hook_and_the_type_marker(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (record,) = (name for name in archive.namelist() if name.endswith("RECORD"))
        listed = {line.split(",")[0] for line in archive.read(record).decode().splitlines()}
        (line,) = archive.read(f"{HOOK}.pth").decode().splitlines()
    assert {f"{HOOK}.py", f"{HOOK}.pth", "torchreid_magnifier/py.typed"} <= listed
    shipped = {
        f"torchreid_magnifier/hub/shipped/{n}" for n in ("stand-in.pth", "torchreid_zoo.csv")
    }
    assert shipped <= listed
    assert line.startswith("import ")


# ---------------------------------------------------------------------- mechanics


def test_the_plugin_is_imported_with_torchreid_and_not_before(fakes):
    code = (
        "print('torchreid' in sys.modules, 'torchreid_magnifier' in sys.modules)\n"
        "import torchreid\n"
        "print('torchreid_magnifier' in sys.modules, torchreid.registered > 0)"
    )
    assert run_hooked(fakes, code).stdout == "False False\nTrue True\n"


@pytest.mark.parametrize(
    "statement", ["import torchreid.utils", "from torchreid import utils", "import torchreid as t"]
)
def test_every_way_to_import_torchreid(statement, fakes):
    code = f"{statement}\nprint(sys.modules['torchreid'].registered > 0)"
    assert run_hooked(fakes, code).stdout == "True\n"


def test_importing_the_plugin_first_registers_once(fakes):
    code = "import torchreid_magnifier\nprint(sys.modules['torchreid'].registered)"
    assert run_hooked(fakes, code).stdout == "1\n"


def test_reloading_torchreid_registers_again(fakes):
    code = (
        "import importlib, torchreid\n"
        "importlib.reload(torchreid)\n"
        "print(torchreid.registered, type(torchreid.__loader__).__name__)"
    )
    assert run_hooked(fakes, code).stdout == "1 SourceFileLoader\n"


def test_looking_for_torchreid_does_not_import_it(fakes):
    code = (
        "import importlib.util\n"
        "spec = importlib.util.find_spec('torchreid')\n"
        "print(spec.origin == spec.loader.get_filename('torchreid') != None)\n"
        "print('torchreid' in sys.modules, 'torchreid_magnifier' in sys.modules)"
    )
    assert run_hooked(fakes, code).stdout == "True\nFalse False\n"


def test_no_torchreid(fakes):
    shutil.rmtree(fakes / "torchreid")
    result = run_hooked(fakes, "import torchreid", check=False)
    assert result.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'torchreid'"


def test_a_torchreid_that_fails_to_import_fails_with_its_own_error(fakes):
    (fakes / "torchreid" / "__init__.py").write_text("import no_such_dependency\n")
    result = run_hooked(fakes, "import torchreid", check=False)
    lines = result.stderr.splitlines()
    assert lines[-1] == "ModuleNotFoundError: No module named 'no_such_dependency'"
    assert "torchreid-magnifier" not in result.stderr


def test_a_folder_that_is_no_package_is_left_alone(fakes):
    """As in the folder above a clone of torchreid's repository, were it called torchreid."""
    (fakes / "torchreid" / "__init__.py").unlink()
    code = "import torchreid\nprint('torchreid_magnifier' in sys.modules)"
    result = run_hooked(fakes, code)
    assert (result.stdout, result.stderr) == ("False\n", "")


def test_a_zipped_torchreid(fakes):
    archive = shutil.make_archive(str(fakes / "zipped"), "zip", fakes, "torchreid")
    shutil.rmtree(fakes / "torchreid")
    code = (
        f"sys.path.append({archive!r})\n"
        "import torchreid.utils\n"
        "print(torchreid.registered > 0, type(torchreid.__loader__).__name__)"
    )
    assert run_hooked(fakes, code).stdout == "True zipimporter\n"


def test_two_copies_of_the_hook_set_one_finder(fakes):
    shutil.copy(autoload.__file__, fakes / "another_copy.py")
    code = (
        "import another_copy\n"
        "another_copy.install()\n"
        f"sys.modules[{HOOK!r}].install()\n"
        "print(sum('Torchreid' in type(finder).__name__ for finder in sys.meta_path))"
    )
    assert run_hooked(fakes, code).stdout == "1\n"


@pytest.mark.parametrize("value", ["", "1", "0"])
def test_only_zero_switches_it_off(value, fakes):
    code = "import torchreid\nprint(torchreid.registered > 0)"
    result = run_hooked(fakes, code, environ={autoload.SWITCH: value})
    assert result.stdout == f"{value != '0'}\n"


def test_spawned_processes_have_it_too(installed, fakes):
    (fakes / "script.py").write_text(
        "import multiprocessing\n\n"
        "def work():\n"
        "    import torchreid\n"
        "    print(torchreid.registered > 0)\n\n"
        "if __name__ == '__main__':\n"
        "    process = multiprocessing.get_context('spawn').Process(target=work)\n"
        "    process.start()\n"
        "    process.join()\n"
    )
    result = run(installed.python, "script.py", cwd=fakes)
    assert (result.stdout, result.stderr) == ("True\n", "")


FAILURE = (
    "torchreid-magnifier did not add its models to torchreid: ImportError: no GPU today. "
    "Torchreid itself works. `python -c 'import torchreid_magnifier'` shows the whole error; "
    "TORCHREID_MAGNIFIER_AUTOLOAD=0 turns the attempt off."
)


@pytest.mark.parametrize("place", ["at import", "at registering"])
def test_a_failure_is_a_warning_and_torchreid_works(place, fakes):
    problem = "raise ImportError('no GPU today')"
    if place == "at registering":
        problem = f"def register():\n    {problem}"
    (fakes / "torchreid_magnifier.py").write_text(problem + "\n")
    result = run_hooked(fakes, "import torchreid\nprint(torchreid.registered)")
    assert result.stdout == "0\n"
    assert f"RuntimeWarning: {FAILURE}\n" in result.stderr


def test_a_failure_does_not_stop_torchreid_where_warnings_are_errors(fakes):
    (fakes / "torchreid_magnifier.py").write_text("raise ImportError('no GPU today')\n")
    result = run_hooked(fakes, "import torchreid\nprint(torchreid.registered)", "-W", "error")
    assert (result.stdout, result.stderr) == ("0\n", FAILURE + "\n")
