"""The first things: what must be set before torch is loaded, and which torchreid is there."""

import inspect
import os
import sys
from pathlib import Path

from .machine import cores, visible_cores

_FORKS = {"kpr": "KPR", "bpbreid": "BPBReID"}  # name of a model -> whose it is


def start() -> None:
    """Prepare the command's own processes, and see that torchreid is one that can be extended.

    Raises:
        ImportError: for a fork of torchreid with another engine; the command ends there.
    """
    if command := _is_command():
        _prepare_threads()
    if problem := _problem_of_torchreid():
        if command:
            print(f"torchreid-magnifier: error: {problem}", file=sys.stderr)
            sys.exit(2)
        raise ImportError(problem)


def _is_command() -> bool:
    name = Path(sys.argv[0]).stem if sys.argv else ""
    module = ("-m", __package__) in zip(sys.orig_argv, sys.orig_argv[1:])
    return name == "torchreid-magnifier" or module


def _prepare_threads() -> None:
    """Set how many threads compute, and how they wait, where the environment does not say it.

    OpenMP's threads spin while they wait for each other: where another process or a quota holds one
    of them up, the others burn the time that it needs, and a step took 20 to 50 times as long.
    Passive ones sleep. Programs that import this package are left as they are.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if cores() < visible_cores():  # which is as many threads as there would be
        os.environ.setdefault("OMP_NUM_THREADS", str(cores()))


def _problem_of_torchreid() -> str:
    """Return what keeps this package from extending the torchreid that is installed, or nothing."""
    import torchreid

    parameters = list(inspect.signature(torchreid.engine.Engine).parameters)
    if parameters[:2] == ["datamanager", "use_gpu"]:
        return ""
    models = vars(torchreid.models).get("__model_factory", {})
    found = next((fork for model, fork in _FORKS.items() if model in models), "a fork")
    return (
        f"the torchreid that is installed ({Path(torchreid.__file__).parent}) is {found} under the "
        f"same name: its engine takes ({', '.join(parameters)}) and cannot train or test what this "
        "package adds, so nothing is added. Install torchreid itself (pip install torchreid) in "
        "another environment"
    )
