"""Kill ``masks make`` and ``textures make`` at random moments: python tests/kill/sidecars.py [50]

Each time a command is started on a small made data set, killed (SIGKILL, with all its children) at
a random moment, and looked at: every sidecar file is whole and is the undisturbed run's, and what
the user has there is as it was. At last the command runs to its end: the folder is the undisturbed
run's, with no temporary file left. Also: a full disk (a file size limit), a folder that cannot be
written, two runs at once.

Prints one line for each command; exits with 1 if anything is not so.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from torchreid_magnifier import models

IMAGES = 120
COMMAND = [sys.executable, "-W", "ignore", "-m", "torchreid_magnifier"]


def make_images(folder: Path) -> Path:
    """Images in two folders and keypoints of a person in each."""
    rng = np.random.default_rng(0)
    keypoints = {}
    for number in range(IMAGES):
        path = folder / f"cam{number % 2}" / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (64, 32, 3)).astype(np.uint8)).save(path)
        points = rng.uniform((2, 2, 1), (30, 62, 1.0001), (17, 3))
        keypoints[f"{path.parent.name}/{path.name}"] = points.tolist()
    file = folder.with_name("keypoints.json")
    file.write_text(json.dumps(keypoints))
    return file


def make_weights(path: Path) -> None:
    """A small network that decodes textures."""
    torch.manual_seed(0)
    model = models.build("san_r18", 4, loss="triplet", pretrained=False)
    torch.save({"state_dict": model.state_dict()}, path)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but locks, by its path."""
    files = (p for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def start(words: list[str], **options: object) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        [*COMMAND, *words], env=environment, start_new_session=True, **(quiet | options)
    )


def run(words: list[str], **options: object) -> tuple[int, str]:
    process = start(words, **options)
    error = process.communicate()[1].decode()
    return process.returncode, error


def small_files() -> None:
    """As a full disk does, but for this process alone: no file may grow beyond 64 bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))


def check(words: list[str], images: Path, target: Path, kills: int) -> list[str]:
    """Kill, go on, compare; return what is not as it should be."""
    wrong = []
    began = time.monotonic()
    status, error = run(words)
    whole, duration = contents(target), time.monotonic() - began
    if status or len(whole) != IMAGES + 1:
        return [f"the undisturbed run: status {status}, {len(whole)} files, {error[-200:]}"]
    users = contents(images)
    shutil.rmtree(target)
    done = 0
    for number in range(kills):
        process = start(words)
        # From the first files on, mostly: importing torch is most of the time.
        deadline = time.monotonic() + random.uniform(0.3, 1.05) * duration
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        there = contents(target) if target.exists() else {}
        kept = {name: data for name, data in there.items() if not name.endswith(".partial")}
        if any(whole.get(name) != data for name, data in kept.items()):
            wrong.append(f"kill {number}: a file is not the undisturbed run's")
        if contents(images) != users:
            wrong.append(f"kill {number}: the images changed")
        if len(kept) == IMAGES + 1 and number < kills - 1:  # begin again
            done += 1
            shutil.rmtree(target)
    status, error = run(words)
    if status or contents(target) != whole:
        wrong.append(f"the last run: status {status}, {error[-200:]}")
    shutil.rmtree(target)

    status, error = run(words, preexec_fn=small_files)
    if status != 1 or "File too large" not in error or "Traceback" in error:
        wrong.append(f"a full disk: status {status}, {error[-200:]}")
    if any(name.endswith(".partial") for name in contents(target)):
        wrong.append("a full disk: a temporary file is left")
    first, second = start(words), start(words)
    printed = [process.communicate()[1].decode() for process in (first, second)]
    statuses = sorted([first.returncode, second.returncode])
    if statuses not in ([0, 0], [0, 2]) or any("Traceback" in text for text in printed):
        wrong.append(f"two at once: statuses {statuses}, {printed}")
    if contents(target) != whole:
        wrong.append("two at once: the files are not the undisturbed run's")
    shutil.rmtree(target)
    target.write_text("the user's")  # a file in the place of the folder: cannot be written
    status, error = run(words)
    if status != 2 or "Traceback" in error or target.read_text() != "the user's":
        wrong.append(f"a folder that cannot be written: status {status}, {error[-200:]}")
    target.unlink()
    print(
        f"{' '.join(words[:2])}: {kills} kills, {done} of them after the last file, "
        f"{duration:.1f} s undisturbed, {len(wrong)} wrong"
    )
    return wrong


def main() -> int:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    random.seed(1)
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder, "images")
        keypoints = make_images(images)
        weights = Path(folder, "weights.pth")
        make_weights(weights)
        masks = ["masks", "make", "--images", str(images), "--parser", "keypoints"]
        masks += ["--keypoints", str(keypoints), "--workers", "2", "--batch-size", "4"]
        textures = ["textures", "make", "--images", str(images), "--weights", str(weights)]
        textures += ["--model", "san_r18", "--height", "32", "--width", "16", "--device", "cpu"]
        wrong = check(masks, images, Path(f"{images}_ps_label"), kills)
        wrong += check(textures, images, Path(f"{images}_texture"), kills)
    print(*wrong, sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
