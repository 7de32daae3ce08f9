"""Maps of where a network is active, and how alike the features of body regions are."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from ...images import open_image
from ...losses.semantic_diversity import mean_pairwise_cosine, pairwise_cosines
from ...models.base import Embedding
from ...parts import FOREGROUND
from ..errors import ExplainError
from ..open import Network

JOINT = "joint"
_NEEDED = {
    "parts": ("predicts no body parts", "mask module"),
    "regions": ("has no features of regions", "Semantic Fusion Branch"),
}


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


@torch.no_grad()
def inspect_images(
    network: Network, paths: Sequence[str], batch_size: int = 32
) -> Iterator[Embedding]:
    """Show images to a network; a bar moves on if somebody looks.

    Args:
        network: from ``open_network``.
        paths: of the images.
        batch_size: images at once.

    Yields:
        The network's answer to each batch, on the CPU.

    Raises:
        ImageError: an image cannot be read.
    """
    with tqdm(total=len(paths), unit="image", disable=None, leave=False) as bar:
        for start in range(0, len(paths), batch_size):
            images = [network.preprocessing(open_image(p)) for p in paths[start:][:batch_size]]
            seen = network.model.inspect(torch.stack(images).to(network.device))
            yield _on_cpu(seen)
            bar.update(len(images))


def require(network: Network, what: Literal["parts", "regions"]) -> None:
    """Check that the network predicts body ``parts``, or has features of body ``regions``.

    Raises:
        ExplainError: it does not.
    """
    if not getattr(network.model, f"has_{what}"):
        lacking, having = _NEEDED[what]
        raise ExplainError(
            f"{network.card.model} {lacking}: take a network with a {having}, such as magnifiernet"
        )


def activation_map(activation: Tensor) -> Tensor:
    """Return how active each position is: the sum over the channels of their squares, scaled.

    As torchreid's ``tools/visualize_actmap.py`` has it (Zagoruyko and Komodakis, 2017); each image
    is scaled by itself, so that maps say places within an image, not strengths between images.

    Args:
        activation: a feature map, ``(N, C, h, w)``.

    Returns:
        ``(N, h, w)`` with minimum 0 and maximum 1; 0 everywhere if all positions are alike.
    """
    return _scaled(activation.square().sum(1))


def branch_maps(seen: Embedding) -> dict[str, Tensor]:
    """Return the activation map of each branch, and of all together, ``(N, h, w)`` in [0, 1].

    The embedding holds the branches side by side, so the joint map (``JOINT``) is the mean of their
    maps, scaled again. The paper shows a "joint-representation" (Fig. 2) and gives no formula.
    """
    if not seen.maps:
        raise ExplainError(
            "this network gives no feature maps: take one of this package, by its weights"
        )
    maps = {branch: activation_map(found) for branch, found in seen.maps.items()}
    return {**maps, JOINT: _scaled(torch.stack(list(maps.values())).mean(0))}


def region_activation_maps(seen: Embedding) -> Tensor:
    """Return where a network is active within each region: what Eq. 1 pools its feature from.

    Args:
        seen: of a network with features of regions, which are of its last branch.

    Returns:
        ``(N, K, h, w)`` in [0, 1], 0 outside the region. The regions of the body have one scale in
        each image, on which the most active position of all is 1; the background, which may be
        much more active, has its own.
    """
    if seen.region_maps is None:
        raise ValueError("Only a network with features of regions has maps of regions.")
    # (x_c m)^2 summed over c is m^2 times the sum of x_c^2.
    activation = list(seen.maps.values())[-1]
    energy = activation.square().sum(1, keepdim=True) * seen.region_maps.square()
    highest = energy.amax((2, 3), keepdim=True)
    highest[:, list(FOREGROUND)] = highest[:, list(FOREGROUND)].amax(1, keepdim=True)
    return energy / highest.clamp_min(torch.finfo(energy.dtype).tiny)


def region_similarity(batches: Iterable[Tensor]) -> RegionSimilarity:
    """Return the mean similarity of every two regions.

    Args:
        batches: region features, each ``(N, K, C)``, zero where a region is absent
            (``Embedding.regions``).

    Raises:
        ValueError: there is no batch.
    """
    totals: list[Tensor] = []
    counts: list[Tensor] = []
    loss, images = 0.0, 0
    for regions in batches:
        regions = regions.double()
        present = regions.any(2).double()
        totals.append(pairwise_cosines(regions).sum(0))  # 0 where either is absent
        counts.append(present.T @ present)
        loss += float(mean_pairwise_cosine(regions)) * len(regions)
        images += len(regions)
    if not images:
        raise ValueError("region_similarity needs at least one image.")
    matrix = torch.stack(totals).sum(0) / torch.stack(counts).sum(0)
    return RegionSimilarity(matrix, loss / images, images)


def _on_cpu(seen: Embedding) -> Embedding:
    def moved(value: object) -> object:
        if isinstance(value, dict):
            return {key: moved(one) for key, one in value.items()}
        return value.cpu() if isinstance(value, Tensor) else value

    return Embedding(*map(moved, seen))  # type: ignore[arg-type]


def _scaled(maps: Tensor) -> Tensor:
    lowest, highest = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - lowest) / (highest - lowest).clamp_min(torch.finfo(maps.dtype).tiny)
