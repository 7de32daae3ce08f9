"""What happens first: threads of the command, forks of torchreid, paths that no code page has."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from torchreid_magnifier import _start, machine
from torchreid_magnifier.cli.arguments import Parser

REPOSITORY = Path(__file__).parents[1]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    found = {"PYTHONPATH": str(REPOSITORY)} | environment
    return subprocess.run(
        [sys.executable, *arguments], env=os.environ | found, capture_output=True, timeout=120
    )


# ------------------------------------------------------------------ cores


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, 3),
        ("0::/elsewhere\n", {"cpu.max": "50000 100000"}, 1),  # as a container sees its own
        (
            "2:cpuacct:/\n1:cpu:/q\n0::/\n",
            {"cpu/q/cpu.cfs_quota_us": "400000", "cpu/q/cpu.cfs_period_us": "100000"},
            4,
        ),
        (
            "4:cpu,cpuacct:/\n",
            {"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
            8,
        ),
        ("0::/\n", {"cpu.max": "nonsense"}, 8),
    ],
)
def test_cores_are_those_of_the_quota(tmp_path, monkeypatch, own, files, cores):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "own").write_text(own)
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path)
    monkeypatch.setattr(machine, "_OWN_CGROUP", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert machine.cores() == cores
    (tmp_path / "own").unlink()
    assert machine.cores() == 8


@pytest.fixture
def unset(monkeypatch):
    for name in ("OMP_WAIT_POLICY", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "")  # so that what is set below is taken back
        monkeypatch.delenv(name)


def set_by_start() -> tuple[str | None, str | None]:
    _start.start()
    return os.environ.get("OMP_WAIT_POLICY"), os.environ.get("OMP_NUM_THREADS")


def test_the_commands_threads_sleep_and_are_no_more_than_the_quota(unset, monkeypatch):
    monkeypatch.setattr(_start, "visible_cores", lambda: 8)
    monkeypatch.setattr(_start, "cores", lambda: 3)
    assert set_by_start() == (None, None)  # of a program that imports the package
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/torchreid-magnifier", "demo"])
    assert set_by_start() == ("PASSIVE", "3")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert set_by_start() == ("ACTIVE", "5")


def test_without_a_quota_torch_chooses_the_threads(unset, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["-m", "demo"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "-X", "dev", "-m", "torchreid_magnifier"])
    monkeypatch.setattr(_start, "cores", _start.visible_cores)
    assert set_by_start() == ("PASSIVE", None)


def test_they_are_set_before_torch_is_loaded():
    code = (
        "import os, sys; sys.argv = ['torchreid-magnifier']; sys.modules['torchreid'] = None\n"
        "try: import torchreid_magnifier\n"
        "except ImportError: print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    )
    done = run("-c", code, TORCHREID_MAGNIFIER_AUTOLOAD="0", OMP_WAIT_POLICY="passive")
    assert done.stdout == b"passive False\n", done.stderr


# ------------------------------------------------------------------ forks


@pytest.fixture
def fork(tmp_path):
    """A torchreid whose engine takes other arguments, as those of BPBReID and KPR do."""
    files = {
        "__init__.py": "from torchreid import engine, models",
        "engine.py": "class Engine:\n  def __init__(self, config, datamanager, writer): ...",
        "models.py": "__model_factory = {'osnet_x1_0': None, 'bpbreid': None}",
    }
    (tmp_path / "torchreid").mkdir()
    for name, text in files.items():
        (tmp_path / "torchreid" / name).write_text(text)
    return str(tmp_path)


def test_into_a_fork_nothing_is_registered(fork):
    path = os.pathsep.join([fork, str(REPOSITORY)])
    message = f"({fork}/torchreid) is BPBReID under the same name: its engine takes (config, data"
    done = run("-c", "import torchreid_magnifier", PYTHONPATH=path)
    assert "\nImportError: the torchreid that is installed " + message in done.stderr.decode()

    autoload = (
        f"import importlib.util as u; s = u.spec_from_file_location('hook', {str(REPOSITORY)!r} + "
        "'/torchreid_magnifier/_autoload.py'); a = u.module_from_spec(s); s.loader.exec_module(a); "
        "a.install(); import torchreid; import torchreid as again; "
        "print(list(vars(torchreid.models)['__model_factory']))"
    )
    done = run("-c", autoload, PYTHONPATH=path)
    assert done.stdout == b"['osnet_x1_0', 'bpbreid']\n", done.stderr
    assert done.stderr.decode().count(message) == 1  # a warning

    done = run("-m", "torchreid_magnifier", "train", PYTHONPATH=path)
    assert done.returncode == 2 and b"Traceback" not in done.stderr
    assert done.stderr.decode().startswith("torchreid-magnifier: error: the torchreid that is ")


# ------------------------------------------------------------------ code pages


def test_a_path_that_the_code_page_lacks_is_printed(tmp_path):
    name = "ŵ日本.yaml"
    (tmp_path / name).write_text("train:\n  lrr: 1\n")
    command = ("-m", "torchreid_magnifier", "train", "--config-file", str(tmp_path / name))
    done = run(*command, PYTHONUTF8="0", PYTHONIOENCODING="cp1252")
    printed = done.stderr.decode("cp1252")
    assert done.returncode == 2 and "Traceback" not in printed
    assert "\\u0175\\u65e5\\u672c.yaml: there is no option 'train.lrr'" in printed


# ------------------------------------------------------------------ arguments


def test_an_option_given_twice_is_refused(capsys):
    parser = Parser(prog="made")
    parser.add_argument("-t", "--targets", nargs="+")
    parser.add_argument("--again", action="append")
    parser.add_argument("words", nargs="*")
    found = parser.parse_intermixed_args(["-t", "a", "b", "--again", "1", "--again", "2"])
    assert found == argparse.Namespace(targets=["a", "b"], again=["1", "2"], words=[])
    parser = Parser(prog="made")
    parser.add_argument("-t", "--targets", nargs="+")
    with pytest.raises(SystemExit):
        parser.parse_args(["-t", "a", "key", "--targets", "b"])
    assert "argument -t/--targets: given twice: give all its values at once" in (
        capsys.readouterr().err
    )


def test_so_it_is_for_subcommands(capsys):
    parser = Parser(prog="made")
    made = parser.add_subparsers().add_parser("sub")
    made.add_argument("--out")
    with pytest.raises(SystemExit):
        parser.parse_args(["sub", "--out", "a", "--out", "b"])
    assert "argument --out: given twice" in capsys.readouterr().err
