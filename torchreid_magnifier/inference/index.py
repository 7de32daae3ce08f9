"""Indexes of a gallery: exact by torch, and those of FAISS."""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from ..errors import needing
from ..files import replacing
from .errors import RetrievalError

METRICS = ("cosine", "euclidean")
KINDS = ("flat", "hnsw", "ivf")  # of FAISS
APPROXIMATE = ("hnsw", "ivf")

_BLOCK = 1 << 21  # numbers of the gallery that are float32 at once: 8 MB, which caches hold
_QUERIES = 1024  # that are compared with a block at once

# HNSW (Malkov and Yashunin, 2016): neighbours of a node, nodes looked at to build and to search.
_NEIGHBOURS, _BUILD_BREADTH, _SEARCH_BREADTH = 32, 80, 128
# IVF: a list of the embeddings around each of so many centres, of which the nearest are searched.
_CENTRES_FACTOR = 4  # times the square root of the number of embeddings, as FAISS advises
_PER_CENTRE = 39  # embeddings to train each centre on, as FAISS advises
_SEARCHED_SHARE = 1 / 16  # of the lists
_SAMPLE = 64  # rows of a gallery that a kept index is compared with


class Index(Protocol):
    """Finds candidates: ``ExactIndex`` or ``FaissIndex``."""

    def nearest(self, queries: np.ndarray, count: int) -> np.ndarray:
        """Return the rows of the ``count`` nearest embeddings to each query, in any order.

        Args:
            queries: float32 (Q, D).
            count: at most N.

        Returns:
            int64 (Q, ``count``); -1 where an approximate index finds fewer.
        """


def blocks(vectors: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield embeddings (N, D) in blocks of bounded size, each with the number of its first row.

    A mapped file is not read before the numbers of a block are used.
    """
    step = max(1, _BLOCK // vectors.shape[1])
    for start in range(0, len(vectors), step):
        yield start, vectors[start : start + step]


def as_float(vectors: np.ndarray, normalise: bool = False) -> Tensor:
    """Return embeddings (n, D) as float32, on request of length 1 (those of zeros stay)."""
    with warnings.catch_warnings():  # nobody writes into the tensor
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        # What others wrote may lie at odd places in its file.
        rows = torch.from_numpy(np.require(vectors, requirements=["C", "A"])).float()
    return F.normalize(rows, dim=1) if normalise else rows


class ExactIndex:
    """Finds the nearest embeddings by comparing with all of them.

    Of equally near ones it takes the lower rows. Memory beyond that of ``vectors`` is bounded,
    whatever their number.

    Args:
        vectors: float32 or float16 (N, D), perhaps mapped from a file.
        metric: ``cosine`` or ``euclidean``.
        device: where the numbers are multiplied.
    """

    def __init__(
        self, vectors: np.ndarray, metric: str, device: str | torch.device = "cpu"
    ) -> None:
        self._vectors, self._metric, self._device = vectors, metric, device

    @torch.inference_mode()
    def nearest(self, queries: np.ndarray, count: int) -> np.ndarray:
        """Return the nearest rows as `Index.nearest` does, in ascending order."""
        asked = torch.from_numpy(queries).to(self._device)
        parts = [asked[start:][:_QUERIES] for start in range(0, len(asked), _QUERIES)]
        return torch.cat([self._nearest(part, count) for part in parts]).cpu().numpy()

    def _nearest(self, queries: Tensor, count: int) -> Tensor:
        best = queries.new_empty(len(queries), 0)
        rows = best.long()
        for start, block in blocks(self._vectors):
            nearness = self._nearness(queries, as_float(block).to(self._device))
            nearness = nearness.nan_to_num(nan=-torch.inf)  # topk takes them for the largest
            chosen = _topmost(nearness, count)
            # The rows stay in ascending order, so the left one of equal numbers is the lower row.
            best = torch.cat([best, nearness.gather(1, chosen)], 1)
            rows = torch.cat([rows, chosen + start], 1)
            chosen = _topmost(best, count)
            best, rows = best.gather(1, chosen), rows.gather(1, chosen)
        return rows

    def _nearness(self, queries: Tensor, block: Tensor) -> Tensor:
        """``(Q, D), (n, D)`` -> (Q, n), larger for nearer ones; comparable within a query."""
        products = queries @ block.T
        if self._metric == "cosine":
            lengths: Tensor = torch.linalg.vector_norm(block, dim=1)
            return products / lengths.clamp_min(torch.finfo(torch.float32).tiny)
        return 2 * products - block.square().sum(1)  # |q|^2 - |q - g|^2


def _topmost(numbers: Tensor, count: int) -> Tensor:
    """The columns of each row's largest numbers, of equal ones the left one, in ascending order."""
    values, columns = numbers.topk(min(count, numbers.shape[1]))
    # topk says nothing about the order of equal numbers, which matters if some are left out.
    tied = (numbers >= values[:, -1:]).sum(1) > columns.shape[1]
    if tied.any():
        ordered = numbers[tied].sort(descending=True, stable=True).indices
        columns[tied] = ordered[:, : columns.shape[1]]
    return columns.sort().values


class FaissIndex:
    """An index of FAISS over a gallery's embeddings, in memory as float32.

    Johnson et al., "Billion-scale similarity search with GPUs", 2017. :meth:`build` or
    :meth:`load` makes one.
    """

    def __init__(self, index: Any) -> None:
        self._index = index

    @classmethod
    def build(cls, kind: str, vectors: np.ndarray, metric: str) -> "FaissIndex":
        """Build an index.

        Args:
            kind: ``flat`` (exact), ``hnsw`` or ``ivf`` (approximate).
            vectors: float32 or float16 (N, D), read a block at a time.
            metric: ``cosine`` or ``euclidean``.

        Raises:
            RetrievalError: FAISS is not installed, or the memory is too small.
        """
        try:
            return cls(_built(_faiss(), kind, vectors, metric))
        except MemoryError as error:
            raise RetrievalError(
                f"the memory is too small for the index {kind}: {len(vectors)} embeddings take "
                f"{4 * vectors.size / 2**30:.1f} GiB in it; exact search reads them from the file"
            ) from error

    @classmethod
    def load(cls, path: Path, kind: str, vectors: np.ndarray, metric: str) -> "FaissIndex":
        """Read an index that :meth:`save` wrote, and see that it is of these embeddings.

        Raises:
            RetrievalError: the file cannot be read, FAISS is not installed, or the index is of
                another kind, another metric or other embeddings.
        """
        faiss = _faiss()
        try:
            index = faiss.read_index(os.fspath(path))
        except RuntimeError as error:
            raise RetrievalError(f"{path} is not an index of FAISS: give another name") from error
        classes = {"flat": faiss.IndexFlat, "hnsw": faiss.IndexHNSWFlat, "ivf": faiss.IndexIVFFlat}
        if not isinstance(index, classes[kind]) or index.metric_type != _measure(faiss, metric):
            raise RetrievalError(
                f"{path} is not an index {kind} for the metric {metric}: give those that it was "
                "built with, or another file"
            )
        if (index.ntotal, index.d) != vectors.shape or not _holds(index, vectors, metric):
            raise RetrievalError(
                f"{path} is an index of another gallery: delete it to build it anew, or give "
                "another file"
            )
        return cls(index)

    def save(self, path: Path) -> None:
        """Write the index, complete or not at all.

        Raises:
            OSError: it cannot be written.
        """
        with replacing(path) as temporary:
            try:
                _faiss().write_index(self._index, os.fspath(temporary))
            except RuntimeError as error:
                raise OSError(f"{path} cannot be written: {error}") from error

    def nearest(self, queries: np.ndarray, count: int) -> np.ndarray:
        """Return the nearest rows as `Index.nearest` does."""
        rows: np.ndarray = self._index.search(queries, count)[1]
        return rows


def _faiss() -> Any:
    with needing("this index needs faiss-cpu", "search", RetrievalError):
        import faiss
    return faiss


def _measure(faiss: Any, metric: str) -> Any:
    return faiss.METRIC_INNER_PRODUCT if metric == "cosine" else faiss.METRIC_L2


def _built(faiss: Any, kind: str, vectors: np.ndarray, metric: str) -> Any:
    rows, size = vectors.shape
    measure = _measure(faiss, metric)
    if kind == "flat":
        index = faiss.IndexFlat(size, measure)
        _reserve(index, rows)
    elif kind == "hnsw":
        index = faiss.IndexHNSWFlat(size, _NEIGHBOURS, measure)
        index.hnsw.efConstruction = _BUILD_BREADTH
        index.hnsw.efSearch = _SEARCH_BREADTH
        _reserve(faiss.downcast_index(index.storage), rows)
    else:
        centres = min(int(_CENTRES_FACTOR * rows**0.5), max(1, rows // _PER_CENTRE))
        index = faiss.IndexIVFFlat(faiss.IndexFlat(size, measure), size, centres, measure)
        index.cp.min_points_per_centroid = 1  # no warning of a gallery that has few
        index.nprobe = max(1, round(centres * _SEARCHED_SHARE))
        index.train(_sample(vectors, centres * _PER_CENTRE, metric)[1])
    with tqdm(desc=f"building the index {kind}", total=rows, unit="embedding") as bar:
        for _, block in blocks(vectors):
            index.add(as_float(block, normalise=metric == "cosine").numpy())
            bar.update(len(block))
    return index


def _reserve(index: Any, rows: int) -> None:
    """Makes room for all rows: growing by doubling, an index would need twice the memory."""
    index.codes.resize(rows * index.code_size)
    index.codes.resize(0)


def _sample(vectors: np.ndarray, count: int, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows at equal distances, ``count`` at most, and their embeddings as they are in an index."""
    rows = np.linspace(0, len(vectors) - 1, min(count, len(vectors))).astype(np.int64)
    return rows, as_float(vectors[rows], normalise=metric == "cosine").numpy()


def _holds(index: Any, vectors: np.ndarray, metric: str) -> bool:
    """Return whether a sample of the rows is in the index as it is in the gallery."""
    if hasattr(index, "make_direct_map"):
        index.make_direct_map()
    rows, sample = _sample(vectors, _SAMPLE, metric)
    kept = np.stack([index.reconstruct(int(row)) for row in rows])
    return np.allclose(kept, sample, atol=1e-5)
