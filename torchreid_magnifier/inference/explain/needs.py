"""What a network must have for a picture of its parts or regions."""

from collections.abc import Iterable, Iterator

from torch import Tensor

from ...models import Embedding
from ..network import Network
from . import ExplainError


def has_regions(network: Network) -> bool:
    """Whether the network has the Semantic Fusion Branch, and so features of regions."""
    return network.model.has_regions


def require_regions(network: Network) -> None:
    """Sees that the network has features of regions.

    Raises:
        ExplainError: it has not.
    """
    if not has_regions(network):
        raise ExplainError(
            f"{network.name} has no Semantic Fusion Branch, so there are no features of regions: "
            "take a network with the branch, such as magnifiernet"
        )


def require_parts(network: Network) -> None:
    """Sees that the network predicts part labels.

    Raises:
        ExplainError: it does not.
    """
    if not network.model.has_parts:
        raise ExplainError(
            f"{network.name} has no mask module, so it predicts no parts: take a network with one, "
            "such as magnifiernet"
        )


def parts(seen: Iterable[Embedding]) -> Iterator[Tensor]:
    """The predicted labels of image after image, ``(h, w)``; of a network that has parts."""
    for batch in seen:
        assert batch.part_labels is not None
        yield from batch.part_labels


def regions(seen: Iterable[Embedding]) -> Iterator[Tensor]:
    """The region features of batch after batch, ``(N, K, C)``; of a network that has regions."""
    for batch in seen:
        assert batch.regions is not None
        yield batch.regions
