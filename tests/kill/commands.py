"""Kill a command at random moments and see that the rerun's result is that of an undisturbed run.

    python tests/kill/commands.py [train ablate download pack npz parquet] [--kills 50] [--seed 1]

Each command is started again and again on what the kills before have left, and killed (SIGKILL,
with its workers) at a random moment; where it came to its end, its result must be equal to an
undisturbed run's, to the last bit, and it begins anew. Nothing may be half written, and nothing of
the user's may change. Each run is a process of its own, forked when everything is imported, so that
the moments fall into the work. Then: a disk that is full (a small tmpfs, which takes root; else
no file may grow), a target that cannot be written, two at once. Prints a table; ends with an
AssertionError for what is wrong.
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
import yaml
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from noise_data import write_noise  # noqa: E402

from torchreid_magnifier.cli import COMMANDS as SUBCOMMANDS  # noqa: E402
from torchreid_magnifier.cli import importlib, main  # noqa: E402
from torchreid_magnifier.hub.card import OWN_MANIFESTS  # noqa: E402
from torchreid_magnifier.inference import extract  # noqa: E402
from torchreid_magnifier.models import build  # noqa: E402
from torchreid_magnifier.training import run as training  # noqa: E402

MINE = "notes of the user.txt"
NETWORK = "magnifiernet_osnet_x0_25"


class Command(NamedTuple):
    """What is killed.

    Attributes:
        arguments: of the command, by the folder of its input and that of its output.
        result: of the output, comparable; what is there must be whole.
        room: bytes of a disk that is too small for the whole output.
        second: whether a second run at once ends well, too.
        once: whether an output that is there is refused.
    """

    arguments: Callable[[Path, Path], list[str]]
    result: Callable[[Path], dict[str, Any]]
    room: int
    second: bool = False
    once: bool = False


# ------------------------------------------------------------------ train and ablate


def stages(data: Path) -> list[str]:
    """Write two stages of MagnifierNet, small ones."""
    tree = {
        "model": {"name": NETWORK, "pretrained": False},
        "data": {"sources": ["market1501_masks"], "root": str(data), "height": 64, "width": 32},
        "sampler": {"train_sampler": "RandomIdentitySampler"},
        "train": {"max_epoch": 2, "batch_size": 8, "stepsize": [1], "optim": "amsgrad"},
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
    """Digest all checkpoints that are there, and what was found with them.

    Times differ. An earlier epoch's rank-1 is missing where the kill met its test.
    """
    found: dict[str, Any] = {}
    for path in sorted(out.rglob("model.pth.tar-*")):
        if path.name.endswith(".partial"):
            continue
        state = torch.load(path, weights_only=True)
        kept = {k: state[k] for k in state if k not in ("scheduler", "rank1")}
        found[str(path.relative_to(out))] = digest(kept)
    for path in sorted(out.rglob("results.json")):
        for result in (tree := json.loads(path.read_text())).values():
            result.pop("minutes")
        found[str(path.relative_to(out))] = tree
    return found


# ------------------------------------------------------------------ weights


def checkpoint(data: Path) -> Path:
    """Write a checkpoint of a network."""
    path = data / "model.pth.tar-1"
    if not path.exists():
        torch.manual_seed(0)
        network = build("magnifiernet_r18", num_classes=4, loss="triplet", pretrained=False)
        torch.save({"state_dict": network.state_dict()}, path)
        card = {"model": "magnifiernet_r18", "height": 64, "width": 32}
        (data / "card.yaml").write_text(yaml.safe_dump(card))
    return path


def pack(data: Path, out: Path) -> list[str]:
    source = str(checkpoint(data))
    return ["weights", "pack", source, str(out / "w.safetensors"), "--card", f"{data}/card.yaml"]


def download(data: Path, out: Path) -> list[str]:
    """Write a manifest with a link to this process; the file comes slowly."""
    content = checkpoint(data).read_bytes()
    entry = {
        "name": "killed",
        "model": "magnifiernet_r18",
        "dataset": "noise",
        "url": f"{serve(data)}/model.pth.tar-1",
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "height": 64,
        "width": 32,
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
        "num_classes": 4,
        "results": [],
        "command": "none",
        "licence": "MIT",
    }
    (data / "manifest.yaml").write_text(yaml.safe_dump([entry]))
    os.environ[OWN_MANIFESTS] = str(data / "manifest.yaml")
    os.environ["TORCH_HOME"] = str(out)
    return ["weights", "download", "killed"]


def serve(data: Path) -> str:
    """Serve the folder, with ranges; return the address."""

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            content = (data / self.path.strip("/")).read_bytes()
            begin = int((self.headers["Range"] or "bytes=0-")[6:].partition("-")[0])
            self.send_response(206 if begin else 200)
            self.send_header("Content-Length", str(len(content) - begin))
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
            self.send_header("Accept-Ranges", "bytes")
            self.end_headers()
            with contextlib.suppress(OSError):
                for at in range(begin, len(content), 1 << 20):
                    self.wfile.write(content[at : at + (1 << 20)])
                    time.sleep(0.02)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def files(out: Path) -> dict[str, Any]:
    """Digest the finished files."""
    paths = (p for p in out.rglob("*") if p.is_file() and not unfinished(p.relative_to(out)))
    return {
        str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(paths)
        if p.name != MINE
    }


def unfinished(path: Path) -> bool:
    return any(part.startswith(".") or part.endswith(".partial") for part in path.parts)


# ------------------------------------------------------------------ extract


def extracting(ending: str) -> Callable[[Path, Path], list[str]]:
    def arguments(data: Path, out: Path) -> list[str]:
        """Write images and a video."""
        if not (crops := data / "crops").exists():
            crops.mkdir()
            generator = np.random.default_rng(0)
            for number in range(60):
                pixels = generator.integers(0, 256, (70, 35, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(crops / f"{number:02}.png")
            form = cv2.VideoWriter_fourcc(*"MJPG")
            video = cv2.VideoWriter(str(data / "walk.avi"), form, 25, (48, 96))
            for number in range(30):
                video.write(np.full((96, 48, 3), 8 * number, np.uint8))
            video.release()
        extract.CHUNK = 4  # pictures: many moments between two of them
        network = ["--weights", str(checkpoint(data)), "--model", "magnifiernet_r18"]
        size = ["--height", "64", "--width", "32", "--batch-size", "2"]
        sources = [str(crops), str(data / "walk.avi")]
        return ["extract", *sources, "--out", str(out / f"gallery.{ending}"), *network, *size]

    return arguments


COMMANDS = {
    "npz": Command(extracting("npz"), files, room=100 << 10, once=True),
    "parquet": Command(extracting("parquet"), files, room=100 << 10, once=True),
    "train": Command(train, trained, room=40 << 20),
    "ablate": Command(ablate, trained, room=40 << 20),
    "download": Command(download, files, room=20 << 20, second=True),
    "pack": Command(pack, files, room=20 << 20, once=True),
}

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


def start(arguments: list[str], errors: Path, before: Callable[[], None] = lambda: None) -> int:
    """Begin a run in a process of its own, in a group of its own, and return its id."""
    if child := os.fork():
        return child
    os.setsid()
    with open(os.devnull, "w") as nowhere, errors.open("w") as log:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(log.fileno(), 2)
    before()
    torch.set_num_threads(1)
    status = 70
    try:
        status = main(arguments)
    except SystemExit as error:
        status = int(error.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def finish(child: int) -> int:
    """Wait for the end of a run. Returns its status."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill(child: int, moment: float) -> int:
    """Kill a run with its workers at a moment, or let it end before. Returns its status."""
    deadline = time.monotonic() + moment
    while time.monotonic() < deadline:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            break
        time.sleep(0.02)
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)
        os.kill(child, signal.SIGKILL)  # where it had no group yet
    return finish(child)


def clear(out: Path) -> None:
    for path in out.iterdir():
        if path.name != MINE:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def check(name: str, kills: int, seed: int, work: Path) -> str:
    """Kill one command. Returns a line of the table; raises AssertionError for what is wrong."""
    command, chance, errors = COMMANDS[name], random.Random(seed), work / "errors"
    data, whole, out = (work / folder for folder in ("data", "whole", "killed"))
    for folder in (data, whole, out):
        folder.mkdir()
    write_noise(data)
    arguments = command.arguments(data, whole)
    begun = time.monotonic()
    status = finish(start(arguments, errors))
    length = time.monotonic() - begun
    assert status == 0, errors.read_text()
    expected = command.result(whole)
    assert expected, "an undisturbed run has a result"
    (out / MINE).write_text("mine")
    arguments = command.arguments(data, out)
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}

    def compare(complete: bool) -> dict[str, Any]:
        found = command.result(out)
        differ = [key for key in found if found[key] != expected.get(key)]
        differ += [key for key in expected if complete and key not in found]
        assert not differ, f"differ from an undisturbed run: {differ}"
        assert (out / MINE).read_text() == "mine"
        assert before == {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
        return found

    met = continued = ends = 0
    while met < kills or not ends:
        there = any(path.is_file() and path.name != MINE for path in out.rglob("*"))
        child = start(arguments, errors)
        status = kill(child, chance.uniform(0, 0.6 * length) if met < kills else 1e9)
        met += status < 0
        continued += status < 0 and there
        found = compare(complete=status == 0)
        if command.once and status < 0 and found:
            clear(out)
        if status >= 0:
            assert status == 0, errors.read_text()
            partial = list(out.rglob("*.partial"))
            assert not partial, f"half written: {partial}"
            ends += 1
            clear(out)
    more = [full(command, data, work), unwritable(command, data, work), twice(command, data, work)]
    return f"| {name} | {length:.0f} s | {met} | {continued} | {ends} | {' | '.join(more)} |"


def full(command: Command, data: Path, work: Path) -> str:
    """See that a full disk is an error, after which nothing is half written."""
    with disk(work / "disk", command.room) as (out, before):
        status = finish(start(command.arguments(data, out), work / "errors", before))
        error = (work / "errors").read_text()
        assert status in (1, 2) and "Traceback" not in error, (status, error)
        assert "No space left" in error or "File too large" in error, error
        left = [path for path in out.rglob("*.partial") if path.is_file()]
        assert not left, left
        command.result(out)
    return "error, nothing half written"


@contextlib.contextmanager
def disk(folder: Path, size: int) -> Iterator[tuple[Path, Callable[[], None]]]:
    """Give a folder with little room, and what a process is to do that writes there."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if subprocess.run(mount, stderr=subprocess.DEVNULL, check=False).returncode == 0:
        try:
            yield folder, lambda: None
        finally:
            subprocess.run(["umount", str(folder)], check=True)
        return

    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    yield folder, small_files


def unwritable(command: Command, data: Path, work: Path) -> str:
    """See that a target that cannot be written is an error at once: a file is in its place."""
    target = work / "a file"
    target.write_text("mine")
    status = finish(start(command.arguments(data, target / "out"), work / "errors"))
    error = (work / "errors").read_text()
    assert status in (1, 2) and "Traceback" not in error, (status, error)
    assert target.read_text() == "mine"
    return "error"


def twice(command: Command, data: Path, work: Path) -> str:
    """See that of two runs at once one ends well, and the other waits for it or is refused."""
    (out := work / "twice").mkdir()
    arguments = command.arguments(data, out)
    children = [start(arguments, work / f"errors {i}") for i in range(2)]
    statuses = sorted(map(finish, children))
    printed = "".join((work / f"errors {i}").read_text() for i in range(2))
    assert "Traceback" not in printed, printed
    assert statuses[0] == 0, printed
    if not command.once:  # else it depends on which came first
        assert (statuses[1] == 0) == command.second, printed
    expected = command.result(work / "whole")
    assert command.result(out) == expected
    if command.second:
        return "one download"
    return "one file" if command.once else "the second is refused"


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("commands", nargs="*", metavar="COMMAND", help=f"of {', '.join(COMMANDS)}")
    parser.add_argument("--kills", type=int, default=50, help="of each command")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in SUBCOMMANDS:
        importlib.import_module(f"torchreid_magnifier.cli.{name}")
    training._environment()  # it starts pip and waits for it
    print(
        "| command | undisturbed | killed | with work to go on from | ends, all equal "
        "| full disk | target a file | two at once |\n|---|---:|---:|---:|---:|---|---|---|"
    )
    for name in args.commands or COMMANDS:
        with tempfile.TemporaryDirectory() as work:
            print(check(name, args.kills, args.seed, Path(work)), flush=True)


if __name__ == "__main__":
    run()
