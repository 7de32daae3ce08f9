"""What a network makes of images on its way to the embedding: for pictures, search, and export."""

from typing import NamedTuple

import torch
from torch import Tensor


class Inspection(NamedTuple):
    """A batch of N images seen from inside, in evaluation.

    The keys of the two dicts are the branches that the variant has, in the embedding's order:
    ``global`` (G), ``adversarial`` (SAB), ``fusion`` (SFB).

    Attributes:
        embeddings: of each branch, after its BNNeck: ``(N, D_branch)``.
        activations: the feature map that each branch pools: stage 4 of the trunk for G, the
            branch's own bottleneck on stage 3 for SAB and SFB; ``(N, C, h, w)``, not negative.
        labels: part labels 0..7 that the mask module predicts, ``(N, 2h, 2w)``; None without one.
        region_maps: what SFB multiplies its feature map by, ``(N, K, h, w)`` in [0, 1] (Eq. 1);
            None without SFB.
        regions: features of SFB's K regions before their fusion, ``(N, K, C)``, zero where a
            region is absent; None without SFB.
    """

    embeddings: dict[str, Tensor]
    activations: dict[str, Tensor]
    labels: Tensor | None
    region_maps: Tensor | None
    regions: Tensor | None

    @property
    def embedding(self) -> Tensor:
        """All branches concatenated, ``(N, D)``: what the network returns in evaluation."""
        return torch.cat(list(self.embeddings.values()), 1)
