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

import pytest
import torch
from noise_data import write_noise
from torch.nn.parallel import replicate

torch.set_num_threads(1)

importlib.import_module("networks")  # registers the backbone ``slim``

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
    write_noise(root)
    return root
