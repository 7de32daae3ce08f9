"""Trained weights by name: what there is (manifests), getting the files, and networks from them."""

from .. import models
from ..checkpoint import restore
from .cache import fetch
from .card import Result, Weights, WeightsError, entries, find

__all__ = ["Result", "Weights", "WeightsError", "entries", "fetch", "find", "load_pretrained"]


def load_pretrained(name: str) -> models.ReIDModel:
    """The network that the weights ``name`` belong to, trained, in evaluation mode, on the CPU.

    It takes images ``(N, 3, H, W)``, normalised as ``find(name)`` says, and gives embeddings
    ``(N, D)``. Its classifiers are not trained: the files do not hold them. See ``open_network``
    for a network that prepares pictures itself.

    Raises:
        WeightsError: as ``find`` and ``fetch``.
        CheckpointError: the file does not fit its model.
    """
    weights = find(name)
    model = models.build(weights.model, weights.num_classes)
    restore(model, fetch(weights))
    return model.eval()
