"""Kills ``extract`` at random moments, again and again, until its file is there.

    python tests/kill/extract.py [--kills 50] [--seed 0]

Whatever the moments, the file must be that of an undisturbed run, and nothing else may remain or be
gone. Each run is a process of its own, forked when everything is imported, so that the moments fall
into the work and not into the imports.
"""

import argparse
import hashlib
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml
from PIL import Image

from torchreid_magnifier.cli import main
from torchreid_magnifier.inference import extract
from torchreid_magnifier.models import build

IMAGES, FRAMES = 60, 30


def prepare(folder: Path) -> str:
    """Write images, a video and a network; return the checkpoint's path."""
    generator = np.random.default_rng(0)
    (folder / "crops").mkdir()
    for number in range(IMAGES):
        pixels = generator.integers(0, 256, (70, 35, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "crops" / f"{number:02}.png")
    (folder / "crops" / "broken.jpg").write_bytes(b"no image")
    video = cv2.VideoWriter(str(folder / "walk.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 25, (48, 96))
    for number in range(FRAMES):
        video.write(np.full((96, 48, 3), 8 * number, np.uint8))
    video.release()
    (folder / "run" / "model").mkdir(parents=True)
    checkpoint = folder / "run" / "model" / "model.pth.tar-1"
    network = build("magnifiernet_r18", num_classes=2, loss="triplet")
    torch.save({"state_dict": network.state_dict()}, checkpoint)
    config = {
        "model": {"name": "magnifiernet_r18"},
        "data": {"height": 64, "width": 32, "norm_mean": [0.5] * 3, "norm_std": [0.25] * 3},
    }
    (folder / "run" / "config.yaml").write_text(yaml.safe_dump(config))
    return str(checkpoint)


def start(weights: str, out: str) -> int:
    """Begin a run in a process of its own and return its id."""
    if child := os.fork():
        return child
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    torch.set_num_threads(1)
    words = ["crops", "walk.avi", "--batch-size", "2", "--weights", weights, "--out", out]
    os._exit(main(["extract", *words]))


def digests(folder: Path, but: str) -> dict[str, str]:
    """Return the hash of every file below a folder, but of those whose path begins with ``but``."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not str(path.relative_to(folder)).startswith(but)
    }


def run(kills: int, seed: int, out: str) -> str:
    """Run the test for one format and return a line of the table."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        os.chdir(folder)
        weights = prepare(folder)
        began = time.monotonic()
        _, status = os.waitpid(start(weights, f"whole-{out}"), 0)
        duration = time.monotonic() - began
        assert os.waitstatus_to_exitcode(status) == 1  # of the broken image
        before = digests(folder, but=out)
        done = files = continued = 0
        while done < kills:
            child = start(weights, out)
            time.sleep(chance.uniform(0, 0.6 * duration))
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            killed = os.WIFSIGNALED(status)
            done += killed
            continued += killed and any(Path(f"{out}.partial").glob("*.npz"))
            if Path(out).exists():  # complete, or not at all
                assert Path(out).read_bytes() == Path(f"whole-{out}").read_bytes()
            if not killed:
                assert os.waitstatus_to_exitcode(status) == 1
                files += 1
                os.unlink(out)
            assert digests(folder, but=out) == before
            if killed and Path(out).exists():
                os.unlink(out)
        _, status = os.waitpid(start(weights, out), 0)
        assert os.waitstatus_to_exitcode(status) == 1
        assert Path(out).read_bytes() == Path(f"whole-{out}").read_bytes()
        remains = [
            name for name in os.listdir() if name.startswith((out, f".{out}")) and name != out
        ]
        assert not remains, remains
        os.chdir("/")
    return f"| {out} | {done} | {continued} | {files + 1} | equal |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="of each format")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    extract.CHUNK = 4
    print("| file | killed | with work to go on from | files in the end | against undisturbed |")
    print("|---|---|---|---|---|")
    for ending in ("npz", "parquet"):
        print(run(args.kills, args.seed, f"gallery.{ending}"))
        sys.stdout.flush()
