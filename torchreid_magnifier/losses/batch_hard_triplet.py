"""Batch-hard triplet loss: torchreid's ``TripletLoss`` without its loop over the batch."""

import torch
from torch import Tensor, nn

from .precision import widened


def require_two_identities(targets: Tensor) -> None:
    """Looks through the identities of a batch.

    Args:
        targets: ``(N,)``; on the CPU, or the look waits for their device.

    Raises:
        ValueError: if all are the same, or there are none: no anchor has a negative.
    """
    if targets.numel() == 0 or bool((targets == targets[0]).all()):
        found = f"only identity {int(targets[0])}" if targets.numel() else "no image"
        raise ValueError(
            "The triplet loss compares people: expected a batch of at least two identities, found "
            f"{found}. Take larger batches, or a sampler that mixes identities "
            "(RandomIdentitySampler)."
        )


class BatchHardTripletLoss(nn.Module):
    """Every anchor's farthest positive and nearest negative, ``max(0, d_ap - d_an + margin)``.

    Value and gradient are those of torchreid's ``TripletLoss``: Euclidean distances of at least
    1e-6, mean over the anchors, and a gradient that equally far images share. An anchor is its own
    positive if its identity has no other image in the batch. Nothing here waits for a device.

    Half-precision features are computed in float32.

    Source: Hermans et al., "In Defense of the Triplet Loss for Person Re-Identification", 2017;
    torchreid, ``losses/hard_mine_triplet_loss.py``.

    Args:
        margin: of the hinge, >= 0.

    Raises:
        ValueError: if features are not ``(N, C)`` or targets not ``(N,)``, or if targets on the CPU
            are all the same. On another device, where looking would wait for it, such a batch has
            the loss NaN, with a zero gradient; ``require_two_identities`` looks beforehand.
    """

    def __init__(self, margin: float = 0.3) -> None:
        super().__init__()
        if not margin >= 0:
            raise ValueError(f"BatchHardTripletLoss: margin must not be negative, got {margin}.")
        self.margin = margin

    def forward(self, features: Tensor, targets: Tensor) -> Tensor:
        """``(N, C)`` features and their ``(N,)`` identities -> non-negative scalar."""
        if features.dim() != 2 or targets.shape != features.shape[:1]:
            raise ValueError(
                "BatchHardTripletLoss: expected features (N, C) and targets (N,) of the same N, "
                f"got {tuple(features.shape)} and {tuple(targets.shape)}."
            )
        if targets.device.type == "cpu":
            require_two_identities(targets)
        same = targets[:, None] == targets
        with torch.autocast(features.device.type, enabled=False):
            features = widened(features)
            squares = features.square().sum(1)
            distances = torch.addmm(squares[:, None] + squares, features, features.T, alpha=-2)
            distances = distances.clamp_min(1e-12).sqrt()
            # amax and amin share the gradient between equals, as max and min of all values do.
            positive = distances.masked_fill(~same, -torch.inf).amax(1)
            negative = distances.masked_fill(same, torch.inf).amin(1)
            loss = (positive - negative + self.margin).clamp_min(0).mean()
            return loss.masked_fill(same.all(), torch.nan)
