"""Trained weights by name: what there is (manifests), getting the files, and networks from them."""

from .cache import fetch
from .manifest import Result, Weights, WeightsError, entries, find

__all__ = ["Result", "Weights", "WeightsError", "entries", "fetch", "find"]
