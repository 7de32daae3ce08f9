"""Embedded data: drawn pedestrians with exact part labels, keypoints and textures."""

from .dataset import SyntheticPedestrians, SyntheticPedestriansOccluded
from .generate import generate
from .plan import Settings

__all__ = ["Settings", "SyntheticPedestrians", "SyntheticPedestriansOccluded", "generate"]
