"""Kill a command at random moments and see that the rerun's result is that of an undisturbed run.

    python tests/kill/training.py train ablate --times 10

Each command is started and killed (SIGKILL) as often as is asked for, at moments drawn between its
start and half the time that it takes undisturbed, then run to its end. Its result must be equal,
nothing may be half written, and what the user has put into the folder must stay. Prints a table.

A command is an entry of ``COMMANDS``: what it is given, and what its result is.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))
from noise_data import write_noise  # noqa: E402

REPOSITORY = Path(__file__).parents[2]
MINE = "notes of the user.txt"


class Command(NamedTuple):
    """What is killed.

    Attributes:
        arguments: of the command, by the folder of its input and that of its output.
        result: of the output, comparable.
    """

    arguments: Callable[[Path, Path], list[str]]
    result: Callable[[Path], Any]


# ------------------------------------------------------------------ train and ablate


def stages(data: Path) -> list[str]:
    """Write two stages of MagnifierNet, small ones."""
    tree = {
        "model": {"name": "magnifiernet_r18", "pretrained": False},
        "data": {"sources": ["market1501_masks"], "root": str(data), "height": 64, "width": 32},
        "sampler": {"train_sampler": "RandomIdentitySampler"},
        "train": {"max_epoch": 4, "batch_size": 8, "stepsize": [2], "optim": "amsgrad"},
        "loss": {"triplet": {"weight_x": 1.0}},
        "test": {"ranks": [1], "eval_freq": 1},
        "use_gpu": False,
    }
    tree["data"] |= {"workers": 1, "transforms": ["random_flip", "random_crop", "random_patch"]}
    paths = []
    for loss in ("triplet", "triplet_sd"):
        tree["loss"]["name"] = loss
        paths.append(data / f"{loss}.yaml")
        paths[-1].write_text(yaml.safe_dump(tree))
    return [str(path) for path in paths]


def train(data: Path, out: Path) -> list[str]:
    return ["train", "--stages", *stages(data), "data.save_dir", str(out)]


def ablate(data: Path, out: Path) -> list[str]:
    options = ["--cells", "G", "all+SD", "--seeds", "1", "--out", str(out)]
    return ["ablate", "table2", "--stages", *stages(data), *options]


def trained(out: Path) -> dict[str, Any]:
    """Digest all checkpoints that are left, and what was found with them.

    Times differ. An earlier epoch's rank-1 is missing where the kill met its test.
    """
    found: dict[str, Any] = {}
    for path in sorted(out.rglob("model.pth.tar-*")):
        state = torch.load(path, weights_only=True)
        kept = {k: state[k] for k in state if k not in ("scheduler", "rank1")}
        found[str(path.relative_to(out))] = digest(kept)
    for path in sorted(out.rglob("results.json")):
        for result in (tree := json.loads(path.read_text())).values():
            result.pop("minutes")
        found[str(path.relative_to(out))] = tree
    return found


COMMANDS = {"train": Command(train, trained), "ablate": Command(ablate, trained)}

# ------------------------------------------------------------------ killing


def digest(value: Any) -> str:
    """Return a hash of tensors, dicts, lists and plain values, to the last bit."""
    hasher = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            hasher.update(value.contiguous().view(-1).numpy().tobytes())
        elif isinstance(value, dict):
            for key in value:
                add(key)
                add(value[key])
        elif isinstance(value, list | tuple):
            for item in value:
                add(item)
        else:
            hasher.update(repr(value).encode())

    add(value)
    return hasher.hexdigest()


def start(arguments: list[str]) -> subprocess.Popen:
    command = [sys.executable, "-W", "ignore", "-m", "torchreid_magnifier", *arguments]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment, start_new_session=True, **quiet)


def finish(arguments: list[str]) -> None:
    process = start(arguments)
    _, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"ended with status {process.returncode}: {errors.decode()}")


def kill(arguments: list[str], moment: float) -> bool:
    """Start the command and kill it, with its workers. Returns whether it was still there."""
    process = start(arguments)
    try:
        process.wait(moment)
        return False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return True


def check(name: str, times: int, seed: int, work: Path) -> str:
    """Kill one command. Returns a line of the table; raises AssertionError for what is wrong."""
    command, chance = COMMANDS[name], random.Random(seed)
    data, whole, out = (work / folder for folder in ("data", "whole", "killed"))
    write_noise(data)
    begun = time.monotonic()
    finish(command.arguments(data, whole))
    length = time.monotonic() - begun
    expected = command.result(whole)
    assert expected, "an undisturbed run has a result"
    shutil.copytree(data, before := work / "before")
    out.mkdir()
    (out / MINE).write_text("mine")
    killed = sum(
        kill(command.arguments(data, out), chance.uniform(0, length / 2)) for _ in range(times)
    )
    finish(command.arguments(data, out))
    found = command.result(out)
    differ = [key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key)]
    assert not differ, f"differ from an undisturbed run: {differ}"
    assert (out / MINE).read_text() == "mine"
    assert not list(out.rglob("*.partial")), "half written"
    for path in (p for p in before.rglob("*") if p.is_file()):
        assert path.read_bytes() == (data / path.relative_to(before)).read_bytes(), path
    return f"| {name} | {length:.0f} s | {killed} of {times} | equal to the last bit |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commands", nargs="+", choices=COMMANDS)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    print("| command | undisturbed | kills that met it | result of the rerun |\n|---|---|---|---|")
    for name in args.commands:
        with tempfile.TemporaryDirectory() as work:
            print(check(name, args.times, args.seed, Path(work)), flush=True)


if __name__ == "__main__":
    np.seterr(all="raise")
    main()
