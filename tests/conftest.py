"""Settings of every test: small tensors gain nothing from threads, and no window is opened."""

import importlib.util
import os

# Before the first import of torch and matplotlib.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import torch

torch.set_num_threads(1)


def pytest_report_header() -> str:
    spec = importlib.util.find_spec("torchreid")
    return f"torchreid: {spec.origin if spec else 'not installed'}"
