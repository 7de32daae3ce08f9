"""Embedded data: drawn pedestrians with exact part labels and keypoints."""

from .dataset import SyntheticPedestrians, SyntheticPedestriansOccluded
from .generate import generate
from .plan import Settings

__all__ = ["Settings", "SyntheticPedestrians", "SyntheticPedestriansOccluded", "generate"]
