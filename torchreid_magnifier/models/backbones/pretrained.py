"""Torchvision's trained weights, where they cannot be downloaded."""

import os
from typing import Any
from urllib.parse import urlparse

import torch


def advice(weights: Any) -> str:
    """What to do about weights that could not be loaded, for an error message.

    Args:
        weights: member of a torchvision ``WeightsEnum``.
    """
    name = os.path.basename(urlparse(weights.url).path)
    path = os.path.join(torch.hub.get_dir(), "checkpoints", name)
    return (
        f"Download {weights.url} and put it at {path} (replace a file that is already there: it "
        "may be damaged)"
    )
