"""Losses of MagnifierNet, and how they join the losses of torchreid's engine."""

from .attach import attach_losses, scale_gradient
from .batch_hard_triplet import BatchHardTripletLoss
from .part_segmentation import PartSegmentationLoss
from .semantic_diversity import SemanticDiversityLoss

__all__ = [
    "BatchHardTripletLoss",
    "PartSegmentationLoss",
    "SemanticDiversityLoss",
    "attach_losses",
    "scale_gradient",
]
