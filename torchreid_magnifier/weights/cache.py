"""From an entry of a manifest to a verified file on this machine."""

from pathlib import Path

from ..files import sha256
from .manifest import Weights, WeightsError


def fetch(weights: Weights) -> Path:
    """The path of the file, which has the size and the hash of the manifest.

    Raises:
        WeightsError: it cannot be had.
    """
    if weights.file is not None and weights.file.is_file():
        if weights.file.stat().st_size == weights.size and sha256(weights.file) == weights.sha256:
            return weights.file
    raise WeightsError(f"the weights {weights.name!r} are not here")
