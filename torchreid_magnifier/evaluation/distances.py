"""Matrices of distances whose rows are computed when they are asked for."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import MagnifierError

METRICS = ("euclidean", "cosine")
_BLOCK = 1 << 22  # distances that are there at once: 16 MB
_PAIRS = 1 << 20  # numbers of the embeddings whose pairs are compared at once


class EvaluationError(MagnifierError, ValueError):
    """Embeddings, distances or labels that cannot be evaluated."""

    exit_status = 1


class Distances(Protocol):
    """Distances of Q queries to G gallery images: a numpy array is one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(Q, G)."""

    def __getitem__(self, rows: slice, /) -> np.ndarray:
        """Return those of some queries, (n, G)."""


def blocks(distances: Distances) -> Iterator[tuple[int, np.ndarray]]:
    """Give all rows in blocks of bounded size, each with the number of its first row."""
    rows, columns = distances.shape
    step = max(1, _BLOCK // max(1, columns))
    for start in range(0, rows, step):
        yield start, distances[start : start + step]


def whole(distances: Distances) -> np.ndarray:
    """Return the matrix, float32 (Q, G)."""
    matrix = np.empty(distances.shape, np.float32)
    for start, block in blocks(distances):
        matrix[start : start + len(block)] = block
    return matrix


class PairwiseDistances:
    """Distances of every query to every gallery embedding, as torchreid's
    ``compute_distance_matrix`` has them up to the rounding of float32.

    Args:
        query, gallery: embeddings, (Q, D) and (G, D).
        metric: ``euclidean``, which is squared, or ``cosine``, 1 - similarity.

    Attributes:
        shape: (Q, G).

    Raises:
        EvaluationError: other shapes, another metric.
    """

    def __init__(self, query: Tensor, gallery: Tensor, metric: str = "euclidean") -> None:
        if metric not in METRICS:
            raise EvaluationError(
                f"expected a distance of {' or '.join(METRICS)}, found {metric!r}"
            )
        if query.dim() != 2 or gallery.dim() != 2 or query.shape[1] != gallery.shape[1]:
            raise EvaluationError(
                "expected embeddings (Q, D) of queries and (G, D) of a gallery, found "
                f"{tuple(query.shape)} and {tuple(gallery.shape)}"
            )
        self.shape = (len(query), len(gallery))
        query, gallery = query.float(), gallery.float()
        if metric == "cosine":
            one = F.normalize(query)
            query, gallery = one, one if gallery is query else F.normalize(gallery)
            self._constants, self._factor = (torch.ones(len(query)), torch.zeros(len(gallery))), -1
        else:
            self._constants, self._factor = (_squared_length(query), _squared_length(gallery)), -2
        self._embeddings = (query, gallery)

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Return those of some queries: float32 (n, G)."""
        (query, gallery), (of_query, of_gallery) = self._embeddings, self._constants
        distances = of_query[rows, None] + of_gallery
        return distances.addmm_(query[rows], gallery.T, alpha=self._factor).numpy()

    def pairs(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return those of single pairs: ``rows`` (n,) of queries, ``columns`` of the gallery."""
        (query, gallery), (of_query, of_gallery) = self._embeddings, self._constants
        distances = np.empty(len(rows), np.float32)
        step = max(1, _PAIRS // max(1, query.shape[1]))
        for start in range(0, len(rows), step):
            q, g = (torch.from_numpy(n[start : start + step]).long() for n in (rows, columns))
            products = (query[q] * gallery[g]).sum(1)
            found = of_query[q] + of_gallery[g] + self._factor * products
            distances[start : start + step] = found.numpy()
        return distances


def _squared_length(embeddings: Tensor) -> Tensor:
    return torch.einsum("nd,nd->n", embeddings, embeddings)  # no squares of all numbers at once
