"""What a network must have for a picture of its parts or regions."""

from collections.abc import Iterable, Iterator

from torch import Tensor

from ...models import MagnifierNet
from ...models.embedding import Inspection
from ..network import Network
from . import ExplainError


def has_regions(network: Network) -> bool:
    """Whether the network has the Semantic Fusion Branch, and so features of regions."""
    return isinstance(network.model, MagnifierNet) and network.model.fusion_branch is not None


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
    if not isinstance(network.model, MagnifierNet) or network.model.mask_module is None:
        raise ExplainError(
            f"{network.name} has no mask module, so it predicts no parts: take a network with one, "
            "such as magnifiernet"
        )


def parts(seen: Iterable[Inspection]) -> Iterator[Tensor]:
    """The predicted labels of image after image, ``(h, w)``; of a network that has parts."""
    for batch in seen:
        assert batch.labels is not None
        yield from batch.labels


def regions(seen: Iterable[Inspection]) -> Iterator[Tensor]:
    """The region features of batch after batch, ``(N, K, C)``; of a network that has regions."""
    for batch in seen:
        assert batch.regions is not None
        yield batch.regions
