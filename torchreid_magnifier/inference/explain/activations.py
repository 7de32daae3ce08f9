"""Where a network is active: maps of its branches, of the branches together, and of regions."""

import torch
from torch import Tensor

from ...models import Embedding
from ...parts import FOREGROUND

JOINT = "joint"


def activation_map(activation: Tensor) -> Tensor:
    """How active each position is: the sum over the channels of their squares, scaled.

    As torchreid's ``tools/visualize_actmap.py`` has it (Zagoruyko and Komodakis, 2017); each image
    is scaled by itself, so that maps tell places within an image, not strengths between images.

    Args:
        activation: a feature map, ``(N, C, h, w)``.

    Returns:
        ``(N, h, w)`` with minimum 0 and maximum 1; 0 everywhere if all positions are alike.
    """
    return _scaled(activation.square().sum(1))


def branch_maps(seen: Embedding) -> dict[str, Tensor]:
    """The activation map of each branch, and of all together (``JOINT``), ``(N, h, w)`` in [0, 1].

    The embedding holds the branches side by side, so the joint map is the mean of their maps,
    scaled again. The paper shows a "joint-representation" (Fig. 2) and gives no formula of it.
    """
    maps = {branch: activation_map(found) for branch, found in seen.maps.items()}
    return {**maps, JOINT: _scaled(torch.stack(list(maps.values())).mean(0))}


def region_activation_maps(seen: Embedding) -> Tensor:
    """Where SFB is active within each region: what it pools the region's feature from (Eq. 1).

    Args:
        seen: of a network with the Semantic Fusion Branch.

    Returns:
        ``(N, K, h, w)`` in [0, 1], 0 outside the region. The regions of the body have one scale in
        each image, on which the most active position of all is 1; the background, which may be
        much more active, has its own.
    """
    if seen.region_maps is None:
        raise ValueError("Only a network with the Semantic Fusion Branch has maps of regions.")
    # (x_c m)^2 summed over c is m^2 times the sum of x_c^2.
    energy = seen.maps["fusion"].square().sum(1, keepdim=True) * seen.region_maps.square()
    highest = energy.amax((2, 3), keepdim=True)
    highest[:, list(FOREGROUND)] = highest[:, list(FOREGROUND)].amax(1, keepdim=True)
    return energy / highest.clamp_min(torch.finfo(energy.dtype).tiny)


def _scaled(maps: Tensor) -> Tensor:
    lowest, highest = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - lowest) / (highest - lowest).clamp_min(torch.finfo(maps.dtype).tiny)
