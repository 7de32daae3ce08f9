"""How alike the features of the body regions of an image are: what the SD loss is to lower."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from ...losses.semantic_diversity import mean_pairwise_cosine, pairwise_cosines


class RegionSimilarity(NamedTuple):
    """Cosine similarities of region features, averaged over images.

    Attributes:
        matrix: ``(K, K)``, float64: the mean over the images that have both regions; NaN where
            none has.
        loss: L_SD of Eq. 3 over the images: the mean over the pairs i < j, in which regions that
            are absent count as 0.
        images: how many images.
    """

    matrix: Tensor
    loss: float
    images: int


def region_similarity(batches: Iterable[Tensor]) -> RegionSimilarity:
    """The mean similarity of every two regions.

    Args:
        batches: region features before their fusion, each ``(N, K, C)``, zero where a region is
            absent (``Embedding.regions``).

    Raises:
        ValueError: there is no batch.
    """
    totals: list[Tensor] = []
    counts: list[Tensor] = []
    losses: list[Tensor] = []
    images = 0
    for regions in batches:
        regions = regions.double()
        present = regions.any(2).double()
        totals.append(pairwise_cosines(regions).sum(0))  # 0 where either is absent
        counts.append(present.T @ present)
        losses.append(mean_pairwise_cosine(regions) * len(regions))
        images += len(regions)
    if not images:
        raise ValueError("region_similarity needs at least one image.")
    matrix = torch.stack(totals).sum(0) / torch.stack(counts).sum(0)
    return RegionSimilarity(matrix, float(torch.stack(losses).sum() / images), images)
