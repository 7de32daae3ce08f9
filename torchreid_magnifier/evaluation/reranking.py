"""Re-ranking by k-reciprocal neighbours, in sparse matrices.

Zhong, Zheng, Cao, Li: Re-ranking person re-identification with k-reciprocal encoding, CVPR 2017.
"""

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from .distances import EvaluationError, PairwiseDistances, blocks


class RerankedDistances:
    """Distances as torchreid's ``re_ranking`` makes them, without a matrix of all pairs.

    As there, distances (the Euclidean ones squared already) are squared, and divided by an image's
    largest. Which ones of equally distant images are among the nearest is arbitrary, as there.

    Memory beyond that of the embeddings: a copy of them, two for ``cosine``; some blocks of 16 MB;
    and sparse neighbourhoods of at most ``k2 * (k1 + 1) * (k1 / 2 + 2)`` images for each image.

    Args:
        query, gallery: embeddings, (Q, D) and (G, D).
        metric: ``euclidean`` or ``cosine``.
        k1: neighbours that have to be mutual.
        k2: neighbours whose neighbourhoods are averaged.
        lambda_value: share of the first distance in the new one, 0..1.

    Attributes:
        shape: (Q, G).

    Raises:
        EvaluationError: other shapes, another metric, parameters out of their ranges.
    """

    def __init__(
        self,
        query: Tensor,
        gallery: Tensor,
        metric: str = "euclidean",
        k1: int = 20,
        k2: int = 6,
        lambda_value: float = 0.3,
    ) -> None:
        if k1 < 1 or k2 < 1 or not 0 <= lambda_value <= 1:
            raise EvaluationError(
                "expected k1 and k2 of at least 1 and a lambda_value of 0..1, found "
                f"{k1}, {k2} and {lambda_value}"
            )
        self.shape = (len(query), len(gallery))
        self._lambda = lambda_value
        everybody = torch.cat([query, gallery])
        distances = PairwiseDistances(everybody, everybody, metric)
        nearest, self._largest = _nearest(distances, max(k1 + 1, k2))
        weights = _weights(distances, _expanded(nearest, k1), self._largest)
        if k2 > 1:
            weights = _lists(nearest[:, :k2]) @ weights / np.float32(min(k2, len(nearest)))
        self._query_weights = weights[: len(query)]
        self._gallery_weights = weights[len(query) :].tocsc()
        self._distances = PairwiseDistances(query, gallery, metric)

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Return those of some queries: float32 (n, G)."""
        distances = self._distances[rows]
        _rescale(distances, self._largest[: self.shape[0]][rows, None])
        distances *= self._lambda
        for row, query in zip(distances, range(self.shape[0])[rows]):
            row += (1 - self._lambda) * self._jaccard(query)
        return distances

    def _jaccard(self, query: int) -> np.ndarray:
        """Return the Jaccard distances of a query's neighbourhood to the gallery's, (G,), 0..1.

        Both have a sum of 1, so the union is 2 - the intersection.
        """
        own, others = self._query_weights, self._gallery_weights
        entries = slice(own.indptr[query], own.indptr[query + 1])
        neighbours, weights = own.indices[entries], own.data[entries]
        first = others.indptr[neighbours]
        counts = others.indptr[neighbours + 1] - first
        # first[0], first[0] + 1, ..., first[1], first[1] + 1, ...
        sharing = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        common = np.minimum(np.repeat(weights, counts), others.data[sharing])
        shared = np.bincount(others.indices[sharing], common, minlength=self.shape[1])
        return 1 - shared / (2 - shared)


def _rescale(distances: np.ndarray, largest: np.ndarray) -> None:
    """Square distances and divide them by the largest squared one, in place."""
    np.square(distances, out=distances)
    distances /= largest


def _nearest(distances: PairwiseDistances, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return everybody's nearest, (N, ``count``), and the largest squared distances.

    ``count`` is N if that is smaller.
    """
    people = distances.shape[1]
    nearest = np.empty((people, min(count, people)), np.int32)
    largest = np.empty(people, np.float32)
    for start, block in blocks(distances):
        squared = torch.from_numpy(block).square_()
        rows = slice(start, start + len(block))
        nearest[rows] = squared.topk(nearest.shape[1], largest=False).indices
        largest[rows] = squared.amax(1)
    # All embeddings may be the same.
    return nearest, np.maximum(largest, np.finfo(np.float32).tiny)


def _lists(nearest: np.ndarray) -> csr_array:
    """Return (N, K) numbers as a matrix (N, N) of ones."""
    people, count = nearest.shape
    ends = np.arange(people + 1) * count
    return csr_array((np.ones(nearest.size, np.float32), nearest.ravel(), ends), (people, people))


def _reciprocal(nearest: np.ndarray) -> csr_array:
    """Return ones where two are in each other's list."""
    lists = _lists(nearest)
    return lists.multiply(lists.T).tocsr()


def _expanded(nearest: np.ndarray, k1: int) -> csr_array:
    """Return the paper's R*: nonzero at a row's reciprocal neighbours, and at their own ones.

    Those of a list half as long, where more than two thirds of them are the row's too.
    """
    mutual = _reciprocal(nearest[:, : k1 + 1])
    half = _reciprocal(nearest[:, : int(np.around(k1 / 2)) + 1])
    common = (mutual @ half.T).multiply(mutual).tocoo()
    sizes = half.sum(1, dtype=np.float64)
    joined = common.data > 2 / 3 * sizes[common.col]
    joins = csr_array(
        (common.data[joined], (common.row[joined], common.col[joined])), shape=mutual.shape
    )
    return (mutual + joins @ half).tocsr()


def _weights(distances: PairwiseDistances, neighbours: csr_array, largest: np.ndarray) -> csr_array:
    """Return neighbourhoods: nearer ones weigh more, and each row has a sum of 1."""
    pairs = neighbours.tocoo()
    rows, columns = pairs.row, pairs.col
    found = distances.pairs(rows, columns)
    _rescale(found, largest[rows])
    weights = np.exp(-found)
    sums = np.bincount(rows, weights, minlength=len(largest))
    values = (weights / sums[rows]).astype(np.float32)
    return csr_array((values, (rows, columns)), shape=neighbours.shape)
