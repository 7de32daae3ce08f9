"""The nearest embeddings of a gallery to those of queries."""

from typing import NamedTuple, Protocol

import numpy as np

from .embeddings import Embeddings
from .exact import ExactIndex, as_float

METRICS = ("cosine", "euclidean")
_SPARE = 16  # candidates beyond those asked for, as float32 may order the last ones wrongly


class Index(Protocol):
    """What finds candidates: ``ExactIndex`` or ``FaissIndex``."""

    def nearest(self, queries: np.ndarray, count: int) -> np.ndarray:
        """Rows of the gallery, int64 (Q, ``count``), -1 for none, for float32 (Q, D)."""


class Ranking(NamedTuple):
    """The nearest rows of a gallery to each of Q queries, nearest first.

    Attributes:
        rows: int64 (Q, K); -1 where an approximate index found fewer than K.
        scores: of these, float64 (Q, K): cosine similarity -1..1, or Euclidean distance; NaN where
            there is no row.
    """

    rows: np.ndarray
    scores: np.ndarray


def search(
    queries: Embeddings,
    gallery: Embeddings,
    top: int = 10,
    metric: str = "cosine",
    index: Index | None = None,
) -> Ranking:
    """Finds the nearest embeddings.

    An index finds candidates in float32, some more than are asked for; their similarities are then
    computed in float64, and of equal ones the lower row comes first. So the result depends neither
    on how the gallery is cut into blocks nor, with exact indexes, on which one it is.

    Args:
        queries: Q embeddings.
        gallery: N embeddings of the same network.
        top: K; N if that is smaller.
        metric: ``cosine``, by which these networks' embeddings are compared, or ``euclidean``, of
            the embeddings as they are, not normalised.
        index: of the gallery, for the same metric; exact search with torch on the CPU if None.

    Raises:
        RetrievalError: queries and gallery are of different networks.
        ValueError: an unknown metric, or ``top`` below 1.
    """
    gallery.metadata.require_comparable(queries.metadata)
    if metric not in METRICS or top < 1:
        raise ValueError(
            f"expected a metric of {', '.join(METRICS)} and a top of at least 1, found {metric!r} "
            f"and {top}"
        )
    if index is None:
        index = ExactIndex(gallery.vectors, metric)
    top = min(top, len(gallery))
    candidates = index.nearest(as_float(queries.vectors).numpy(), min(top + _SPARE, len(gallery)))
    ranking = Ranking(
        np.full((len(queries), top), -1, np.int64), np.full((len(queries), top), np.nan)
    )
    for number, (query, rows) in enumerate(zip(queries.vectors, candidates)):
        rows = np.sort(rows[rows >= 0])
        scores = _scores(query, gallery.vectors[rows], metric)
        best = np.argsort(-scores if metric == "cosine" else scores, kind="stable")[:top]
        ranking.rows[number, : len(best)] = rows[best]
        ranking.scores[number, : len(best)] = scores[best]
    return ranking


def recall(found: Ranking, exact: Ranking) -> float:
    """The share of the exactly nearest rows that were found, 0..1, over all queries."""
    shares = [np.isin(e, f).mean() for e, f in zip(exact.rows, found.rows)]
    return float(np.mean(shares))


def _scores(query: np.ndarray, vectors: np.ndarray, metric: str) -> np.ndarray:
    """(D,), (n, D) -> (n,) in float64; of zeros the cosine is 0."""
    one, many = query.astype(np.float64), vectors.astype(np.float64)
    if metric == "euclidean":
        return np.linalg.norm(many - one, axis=1)
    # Not by a matrix product, which may round equal rows differently.
    products = (many * one).sum(1)
    lengths = np.linalg.norm(many, axis=1) * np.linalg.norm(one)
    return np.divide(products, lengths, out=np.zeros(len(many)), where=lengths > 0)
