"""Part segmentation loss: cross-entropy in which every body part weighs the same."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .batch import mean_over_processes
from .forward_pass import BatchRatio, mean_ratio
from .precision import widened


class PartSegmentationLoss(nn.Module):
    """Class-size-normalised cross-entropy, the mask loss of Eq. 4.

    The cross-entropy is averaged over the pixels of each part first and then over the parts that
    occur in the batch, so that a foot counts as much as the background.

    Source: MagnifierNet paper, section 3.1 and Eq. 4 (the loss itself is EANet's, which the
    reference implementation uses).

    Half-precision logits are computed in float32. Where several processes share a batch, sizes and
    parts are those of the whole batch, and the mean of the processes' losses is its loss.

    Raises:
        ValueError: if logits are not ``(N, K, H, W)`` or labels not integers ``(N, H, W)``, or a
            label lies outside ``0..K-1`` (looked up on the CPU only: there it costs no
            synchronisation with a device).
    """

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits ``(N, K, H, W)`` and integer labels ``(N, H, W)`` -> non-negative scalar."""
        if logits.dim() != 4 or labels.shape != (logits.shape[0], *logits.shape[2:]):
            raise ValueError(
                "PartSegmentationLoss: expected logits (N, K, H, W) and labels (N, H, W) of the "
                f"same N, H and W, got {tuple(logits.shape)} and {tuple(labels.shape)}."
            )
        if labels.is_floating_point() or labels.dtype == torch.bool:
            raise ValueError(
                f"PartSegmentationLoss: expected integer labels, got {labels.dtype}; "
                "convert them with .long()."
            )
        num_parts = logits.shape[1]
        labels = labels.long()
        if labels.device.type == "cpu" and labels.numel() and not _is_compiling():
            low, high = int(labels.min()), int(labels.max())
            if low < 0 or high >= num_parts:
                raise ValueError(
                    f"PartSegmentationLoss: expected labels in 0..{num_parts - 1}, "
                    f"got values from {low} to {high}."
                )
        return mean_ratio(*part_cross_entropy(logits, labels))


def _is_compiling() -> bool:
    """Return whether torch.compile traces; torch 2.2 cannot be asked, and breaks the graph."""
    return hasattr(torch.compiler, "is_compiling") and torch.compiler.is_compiling()


def part_cross_entropy(logits: Tensor, labels: Tensor) -> BatchRatio:
    """Return the cross-entropy summed over the pixels of each part, and the parts' sizes.

    Args:
        logits: ``(N, K, H, W)``; half precision is computed in float32.
        labels: ``(N, H, W)`` int64. Where several processes share a batch, the sizes are the mean
            of theirs.
    """
    num_parts = logits.shape[1]
    with torch.autocast(logits.device.type, enabled=False):
        logits = widened(logits)
        pixel_loss = F.cross_entropy(logits, labels, reduction="none").flatten()
        part = labels.flatten()
        sums = pixel_loss.new_zeros(num_parts).index_add(0, part, pixel_loss)
        sizes = pixel_loss.new_zeros(num_parts).index_add(0, part, torch.ones_like(pixel_loss))
        return BatchRatio(sums, mean_over_processes(sizes))
