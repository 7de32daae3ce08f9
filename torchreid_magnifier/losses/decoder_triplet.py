"""Triplet re-ID constraints on the decoder's feature maps (SAN)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

NUM_INSTANCES = 4  # images of an identity that follow each other in a batch

# Of the four levels: anchor and positive, then another anchor and the negative, as offsets from
# the first image of an identity; the next identity begins at NUM_INSTANCES.
_OFFSETS = (
    ((0, 1), (0, 4)),
    ((1, 2), (1, 5)),
    ((2, 3), (2, 6)),
    ((0, 3), (3, 4)),
)


class DecoderTripletLoss(nn.Module):
    """Maps of one person's images nearer to each other than to the next person's, at each level.

    For every identity of the batch but the last, and every level of the decoder,
    ``max(d(a, p) - d(b, n) + margin, 0)`` with the mean squared difference d of two images' maps;
    all of them are summed. One positive and one negative an identity, no mining: a, p and b are
    images of the identity, n is one of the identity that follows it in the batch.

    Source: Jin et al., AAAI 2020 ("Triplet ReID constraints"); which images, and the sum in place
    of a mean, as in the reference implementation, ``main.py``.

    Args:
        margin: of the hinge.
    """

    def __init__(self, margin: float = 0.3) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """A scalar.

        Args:
            maps: of the four levels, ``(N, C, h, w)`` each; the images of an identity are
                consecutive, four each, as torchreid's RandomIdentitySampler gives them.

        Raises:
            ValueError: if N is not a multiple of four, or below eight.
        """
        if len(maps) != len(_OFFSETS):
            raise ValueError(f"expected the maps of {len(_OFFSETS)} levels, got {len(maps)}.")
        num_images = len(maps[0])
        if num_images % NUM_INSTANCES or num_images < 2 * NUM_INSTANCES:
            raise ValueError(
                f"SAN's triplet constraints need batches of {NUM_INSTANCES} consecutive images an "
                f"identity and at least two identities, got {num_images} images: set "
                "sampler.train_sampler RandomIdentitySampler, sampler.num_instances "
                f"{NUM_INSTANCES} and a train.batch_size that is a multiple of it."
            )
        first = torch.arange(0, num_images - NUM_INSTANCES, NUM_INSTANCES, device=maps[0].device)
        terms = []
        for level, ((a, p), (b, n)) in zip(maps, _OFFSETS):
            positive = _distance(level[first + a], level[first + p])
            negative = _distance(level[first + b], level[first + n])
            terms.append((positive - negative + self.margin).clamp_min(0).sum())
        return torch.stack(terms).sum()


def _distance(left: Tensor, right: Tensor) -> Tensor:
    """Mean squared difference of each pair: ``(M, C, h, w)`` twice -> ``(M,)``."""
    return (left - right).square().flatten(1).mean(1)
