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
from torchreid_magnifier.models import backbones

FOLDER = Path(__file__).parent
REGISTRIES = (
    vars(torchreid.models)["__model_factory"],
    vars(models)["_ENTRIES"],
    vars(backbones)["_BUILDERS"],
)
FILES = ("slim", "orthogonality", "stripes")


@contextmanager
def registered() -> Iterator[None]:
    """Import the files, and forget them and what they registered at the end."""
    before = [dict(registry) for registry in REGISTRIES]
    sys.path.insert(0, str(FOLDER))
    try:
        importlib.import_module("stripes")
        yield
    finally:
        sys.path.remove(str(FOLDER))
        for name in FILES:
            sys.modules.pop(name, None)
        for registry, contents in zip(REGISTRIES, before):
            registry.clear()
            registry.update(contents)
