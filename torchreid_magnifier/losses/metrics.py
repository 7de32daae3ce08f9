"""Measures that torchreid does not have."""

import torch
from torch import Tensor

from ..parts import NUM_PARTS


def confusion(predicted: Tensor, target: Tensor) -> Tensor:
    """Counts of (target, predicted) part labels, ``(K, K)`` int64; both tensors of one shape."""
    if predicted.shape != target.shape:
        raise ValueError(
            "Predicted and target labels must have one shape, got "
            f"{tuple(predicted.shape)} and {tuple(target.shape)}."
        )
    pairs = target.flatten().long() * NUM_PARTS + predicted.flatten().long()
    counts = pairs.new_zeros(NUM_PARTS**2)  # bincount would wait for the device
    return counts.scatter_add_(0, pairs, torch.ones_like(pairs)).view(NUM_PARTS, NUM_PARTS)


def iou_per_part(counts: Tensor) -> Tensor:
    """Intersection over union of each part from ``confusion`` counts; NaN if nowhere at all."""
    counts = counts.double()
    hits = counts.diagonal()
    return hits / (counts.sum(0) + counts.sum(1) - hits)


def mean_iou(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean intersection over union of the parts that occur in either; scalar float64 in [0, 1]."""
    return torch.nanmean(iou_per_part(confusion(predicted, target)))
