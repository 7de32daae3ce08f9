"""Embedded data: drawn pedestrians with exact part labels and keypoints."""

from .dataset import SyntheticPedestrians, SyntheticPedestriansOccluded
from .generate import Settings, generate

__all__ = ["Settings", "SyntheticPedestrians", "SyntheticPedestriansOccluded", "generate"]
