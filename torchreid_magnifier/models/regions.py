"""Body regions on feature maps: the Semantic Aligned Representation of the paper, section 3.1.

The first version of the paper calls the pooling over a region "semantic aligned pooling".
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..losses.batch import mean_over_processes
from ..losses.precision import widened
from ..parts import NUM_PARTS


def shrink_labels(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Integer labels ``(N, H, W)`` -> ``(N, *size)``: the label at the centre of each cell.

    Labels are picked, never interpolated: between head (1) and upper arm (3) lies no torso (2).
    """
    shrunk = F.interpolate(labels.unsqueeze(1).float(), size=size, mode="nearest-exact")
    return shrunk.squeeze(1).long()


SCALINGS = ("bilinear", "nearest")


def region_maps(labels: Tensor, size: tuple[int, int], dtype: torch.dtype, scaling: str) -> Tensor:
    """Integer labels ``(N, H, W)`` -> one map a region ``(N, K, *size)``, values in [0, 1] (Eq. 1).

    Over the K regions, background included, they sum to one everywhere. With ``bilinear`` scaling
    they are the paper's, binary maps that were interpolated. With ``nearest`` they stay binary:
    each cell takes the label at its upper left corner, as in the reference implementation (even
    rows and columns at half the size).
    """
    binary = F.one_hot(labels, NUM_PARTS).permute(0, 3, 1, 2).to(dtype)
    if scaling == "nearest":
        return F.interpolate(binary, size=size, mode="nearest")
    return F.interpolate(binary, size=size, mode="bilinear", align_corners=False)


def region_max_pool(features: Tensor, maps: Tensor) -> Tensor:
    """Maximum over each region (Eq. 1 and GMP): ``(N, C, h, w), (N, K, h, w)`` -> ``(N, K, C)``.

    Equal to multiplying the features by each map and global max-pooling; a region that is absent
    gives zeros, with a zero gradient. Only the positions of the maxima are kept for the backward
    pass, not K masked copies of the features. The result is at least float32.
    """
    features, maps = features.flatten(2), maps.flatten(2)
    regions = maps.to(features.dtype).unbind(1)
    if not torch.is_grad_enabled():  # the maxima alone are found faster than their positions
        return torch.stack(
            [widened((features * region.unsqueeze(1)).amax(2)) for region in regions], dim=1
        )
    with torch.no_grad():
        where = torch.stack(
            [(features * region.unsqueeze(1)).argmax(2) for region in regions], dim=2
        )  # (N, C, K)
    maxima = widened(features.gather(2, where)) * maps.transpose(1, 2).gather(1, where)
    return maxima.transpose(1, 2)


def selection(kept: Sequence[int], maps: Tensor) -> Tensor:
    """1 for each region that is kept, else 0, ``(K,)``: on the maps' device, without waiting."""
    chosen = maps.new_zeros(NUM_PARTS)
    for region in kept:
        chosen[region] = 1.0
    return chosen


def keep_regions(features: Tensor, maps: Tensor, kept: Tensor) -> Tensor:
    """Zeroes the features outside the regions that are kept (the sum of Eq. 2).

    Args:
        features: ``(N, C, h, w)``, as is what is returned.
        maps: ``(N, K, h, w)``.
        kept: ``selection`` of regions, ``(K,)``.
    """
    return features * (maps * kept.view(-1, 1, 1)).sum(1, keepdim=True).to(features.dtype)


def region_shares(maps: Tensor) -> Tensor:
    """The share of a batch's area that each region has: ``(N, K, h, w)`` -> ``(K,)``, sum 1."""
    return mean_over_processes(widened(maps).mean((0, 2, 3)))
