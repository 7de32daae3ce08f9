"""Registers the models of this folder for as long as a test module needs them.

Users only import their file; here other test modules must not see its names.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torchreid

from torchreid_magnifier import MagnifierNet, models, register_model

# What no registered name stands for.
VARIANTS = {
    "own_gru": {"fusion": "gru", "region_scaling": "bilinear"},
    "own_mean": {"fusion": "mean", "normalize_branches": True},
    "own_baseline": {"sampling": "baseline", "num_kept_regions": 3, "adversarial_triplet": True},
}
FOLDER = Path(__file__).parent  # on Python's path by conftest.py, which imports slim.py
REGISTRIES = vars(torchreid.models)["__model_factory"], vars(models)["_ENTRIES"]


@contextmanager
def registered() -> Iterator[None]:
    """Import the files, and forget them and what they registered at the end."""
    before = [dict(registry) for registry in REGISTRIES]
    try:
        importlib.import_module("stripes")
        for name, options in VARIANTS.items():
            register_model(name, MagnifierNet, **options)
        yield
    finally:
        sys.modules.pop("stripes", None)
        for registry, contents in zip(REGISTRIES, before):
            registry.clear()
            registry.update(contents)
