"""Settings of every test: small tensors gain nothing from threads, and no window is opened.

And the data of those that train.
"""

import importlib.util
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Before the first import of torch and matplotlib.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.parallel import replicate

torch.set_num_threads(1)

# The backbone ``slim``, on which networks are built in milliseconds (see ``networks.py``).
sys.path.insert(0, str(Path(__file__).parent / "contract"))
importlib.import_module("slim")

# What a shell starts in the background ignores Ctrl-C, and so do its children; tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    spec = importlib.util.find_spec("torchreid")
    return f"torchreid: {spec.origin if spec else 'not installed'}"


@pytest.fixture
def interrupted_after(monkeypatch):
    """``with interrupted_after(2):`` Ctrl-C is pressed once two files are in place."""

    @contextmanager
    def interrupted(files: int) -> Iterator[None]:
        replace, done = os.replace, []

        def press(source, target):
            if len(done) == files:
                raise KeyboardInterrupt  # the file is written under its temporary name only
            done.append(target)
            replace(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", press)
            yield

    return interrupted


@pytest.fixture
def replicas_on_cpu(monkeypatch):
    """nn.DataParallel's own replication, with copies in place of its broadcasts between GPUs."""
    module = sys.modules[replicate.__module__]

    def copies(tensors, devices, detach=False):
        return [[t.detach() if detach else t * 1 for t in tensors] for _ in devices]

    monkeypatch.setattr(module, "_broadcast_coalesced_reshape", copies)
    monkeypatch.setattr(module, "_get_device_index", lambda device, optional: device)
    return lambda model, count: replicate(model, list(range(count)))


@pytest.fixture(scope="session")
def noise_root(tmp_path_factory) -> Path:
    """Noise in Market-1501's layout with masks: 4 identities to train on, 2 to search for."""
    root = tmp_path_factory.mktemp("data")
    images = root / "market1501" / "Market-1501-v15.09.15"
    generator = np.random.default_rng(0)
    for folder, pids, cameras in (
        ("bounding_box_train", (1, 2, 3, 4), (1, 2, 3, 4)),
        ("query", (5, 6), (1,)),
        ("bounding_box_test", (5, 6), (2, 3)),
    ):
        for pid in pids:
            colour = generator.integers(0, 255, 3)
            for camera in cameras:
                name = f"{folder}/{pid:04d}_c{camera}s1_{camera:06d}_00"
                noise = generator.integers(0, 60, (64, 32, 3)) + colour
                masks = images.with_name(images.name + "_ps_label")
                for path, pixels in (
                    (images / f"{name}.jpg", noise.clip(0, 255)),
                    (masks / f"{name}.png", generator.integers(0, 8, (64, 32))),
                ):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return root
