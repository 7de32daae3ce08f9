"""Registers the models of this folder for as long as a test module needs them.

Users only import their file; here other test modules must not see its names.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torchreid

from torchreid_magnifier import models

FOLDER = Path(__file__).parent  # on Python's path by conftest.py, which imports slim.py
REGISTRIES = vars(torchreid.models)["__model_factory"], vars(models)["_ENTRIES"]


@contextmanager
def registered() -> Iterator[None]:
    """Import the files, and forget them and what they registered at the end."""
    before = [dict(registry) for registry in REGISTRIES]
    try:
        importlib.import_module("stripes")
        yield
    finally:
        sys.modules.pop("stripes", None)
        for registry, contents in zip(REGISTRIES, before):
            registry.clear()
            registry.update(contents)
