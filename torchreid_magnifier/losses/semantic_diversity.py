"""Semantic Diversity (SD) loss: body regions of one image should not describe the same thing."""

import torch
from torch import Tensor, nn

from .batch import mean_over_processes
from .precision import widened


def pairwise_cosines(features: Tensor, eps: float = 1e-6) -> Tensor:
    """Cosine similarity of every two regions of an image.

    A region that is absent from an image has a zero feature; its cosines are zero, with a zero
    gradient, never NaN.

    Args:
        features: pooled region features, ``(N, K, C)``.
        eps: smallest denominator, the epsilon of Eq. 3.

    Returns:
        ``(N, K, K)`` in [-1, 1].
    """
    gram = features @ features.transpose(1, 2)
    norms = torch.linalg.vector_norm(features, dim=2)
    return gram / (norms.unsqueeze(2) * norms.unsqueeze(1)).clamp_min(eps)


def mean_pairwise_cosine(features: Tensor, eps: float = 1e-6) -> Tensor:
    """Mean of ``pairwise_cosines`` over all pairs of regions ``i < j`` and all images (Eq. 3).

    Args:
        features: pooled region features, ``(N, K, C)`` with ``K >= 2``.
        eps: smallest denominator, the epsilon of Eq. 3.

    Returns:
        Scalar in [-1, 1].
    """
    num_regions = features.shape[1]
    first, second = torch.triu_indices(num_regions, num_regions, 1, device=features.device)
    return pairwise_cosines(features, eps)[:, first, second].mean()


class SemanticDiversityLoss(nn.Module):
    """Mean pairwise cosine similarity of the region features of each image.

    Source: MagnifierNet paper, section 3.4, Eq. 3, over the pairs ``i < j``: a pair of a region
    with itself is constant 1 and has no gradient.

    Half-precision input is computed in float32.

    Args:
        eps: smallest denominator of a cosine. Default 1e-6.
        positive_only: a constant 0 once the mean is not positive, as in the reference: regions
            that are unlike each other already are not driven further apart.

    Raises:
        ValueError: if the features are not ``(N, K, C)`` with at least two regions, or N is 0.
    """

    def __init__(self, eps: float = 1e-6, positive_only: bool = False) -> None:
        super().__init__()
        if not eps > 0:
            raise ValueError(f"SemanticDiversityLoss: eps must be positive, got {eps}.")
        self.eps = eps
        self.positive_only = positive_only

    def forward(self, features: Tensor) -> Tensor:
        """``(N, K, C)`` region features -> scalar loss in [-1, 1], or [0, 1].

        Where several processes share a batch, its loss is the mean of theirs.
        """
        if features.dim() != 3 or features.shape[0] == 0 or features.shape[1] < 2:
            raise ValueError(
                "SemanticDiversityLoss: expected region features of shape (N, K, C) with N >= 1 "
                f"and K >= 2, got {tuple(features.shape)}."
            )
        with torch.autocast(features.device.type, enabled=False):
            features = widened(features)
            loss = mean_pairwise_cosine(features, self.eps)
            if not self.positive_only:
                return loss
            return loss * (mean_over_processes(loss.detach()) > 0)
