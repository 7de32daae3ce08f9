"""Trained weights by name: what there is (manifests), getting the files, and networks from them."""

from ..models import ALL_MODELS, SAN, MagnifierNet
from .cache import fetch
from .card import Result, Weights, WeightsError, entries, find

__all__ = ["Result", "Weights", "WeightsError", "entries", "fetch", "find", "load_pretrained"]


def load_pretrained(name: str) -> MagnifierNet | SAN:
    """The network that the weights ``name`` belong to, trained, in evaluation mode, on the CPU.

    It takes images ``(N, 3, H, W)``, normalised as ``find(name)`` says, and gives embeddings
    ``(N, D)``. Its classifiers are not trained: the files do not hold them. See ``open_network``
    for a network that prepares pictures itself.

    Raises:
        WeightsError: as ``find`` and ``fetch``.
        CheckpointError: the file does not fit its model.
    """
    weights = find(name)
    return ALL_MODELS[weights.model](weights.num_classes, pretrained=name).eval()
