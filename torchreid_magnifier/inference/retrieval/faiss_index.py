"""Search by FAISS (Johnson et al., "Billion-scale similarity search with GPUs", 2017)."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ...files import replacing
from .errors import RetrievalError, missing_extra
from .exact import as_float, blocks

KINDS = ("flat", "hnsw", "ivf")
APPROXIMATE = ("hnsw", "ivf")

# HNSW (Malkov and Yashunin, 2016): neighbours of a node, nodes looked at to build and to search.
_NEIGHBOURS, _BUILD_BREADTH, _SEARCH_BREADTH = 32, 80, 128
# IVF: a list of the embeddings around each of so many centres, of which the nearest are searched.
_CENTRES_FACTOR = 4  # times the square root of the number of embeddings, as FAISS advises
_PER_CENTRE = 39  # embeddings to train each centre on, as FAISS advises
_SEARCHED_SHARE = 1 / 16  # of the lists
_SAMPLE = 64  # rows of a gallery that a kept index is compared with


class FaissIndex:
    """An index over the embeddings of a gallery, in memory as float32.

    :meth:`build` or :meth:`load` makes one.
    """

    def __init__(self, index: Any) -> None:
        self._index = index

    @classmethod
    def build(cls, kind: str, vectors: np.ndarray, metric: str) -> "FaissIndex":
        """Builds an index.

        Args:
            kind: ``flat`` (exact), ``hnsw`` or ``ivf`` (approximate).
            vectors: float32 or float16 (N, D), read a block at a time.
            metric: ``cosine`` or ``euclidean``.

        Raises:
            RetrievalError: FAISS is not installed, or the memory is too small.
        """
        try:
            return cls(cls._built(_faiss(), kind, vectors, metric))
        except MemoryError as error:
            raise RetrievalError(
                f"the memory is too small for the index {kind}: {len(vectors)} embeddings take "
                f"{4 * vectors.size / 2**30:.1f} GiB in it; exact search reads them from the file"
            ) from error

    @staticmethod
    def _built(faiss: Any, kind: str, vectors: np.ndarray, metric: str) -> Any:
        rows, size = vectors.shape
        cosine = metric == "cosine"
        measure = faiss.METRIC_INNER_PRODUCT if cosine else faiss.METRIC_L2
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
            index.train(_sample(vectors, centres * _PER_CENTRE, cosine)[1])
        with tqdm(desc=f"building the index {kind}", total=rows, unit="embedding") as bar:
            for _, block in blocks(vectors):
                index.add(as_float(block, normalise=cosine).numpy())
                bar.update(len(block))
        return index

    @classmethod
    def load(cls, path: Path, kind: str, vectors: np.ndarray, metric: str) -> "FaissIndex":
        """Reads an index that :meth:`save` wrote, and sees that it is of these embeddings.

        Raises:
            RetrievalError: the file cannot be read, FAISS is not installed, or the index is of
                another kind, another metric or other embeddings.
        """
        faiss = _faiss()
        try:
            index = faiss.read_index(os.fspath(path))
        except RuntimeError as error:
            raise RetrievalError(f"{path} is not an index of FAISS: give another name") from error
        cosine = metric == "cosine"
        classes = {"flat": faiss.IndexFlat, "hnsw": faiss.IndexHNSWFlat, "ivf": faiss.IndexIVFFlat}
        measure = faiss.METRIC_INNER_PRODUCT if cosine else faiss.METRIC_L2
        if not isinstance(index, classes[kind]) or index.metric_type != measure:
            raise RetrievalError(
                f"{path} is not an index {kind} for the metric {metric}: give those that it was "
                "built with, or another file"
            )
        if (index.ntotal, index.d) != vectors.shape or not _holds(index, vectors, cosine):
            raise RetrievalError(
                f"{path} is an index of another gallery: delete it to build it anew, or give "
                "another file"
            )
        return cls(index)

    def save(self, path: Path) -> None:
        """Writes the index, complete or not at all.

        Raises:
            OSError: it cannot be written.
        """
        with replacing(path) as temporary:
            try:
                _faiss().write_index(self._index, os.fspath(temporary))
            except RuntimeError as error:
                raise OSError(f"{path} cannot be written: {error}") from error

    def nearest(self, queries: np.ndarray, count: int) -> np.ndarray:
        """As ``ExactIndex.nearest``; -1 where an approximate index finds fewer."""
        return self._index.search(queries, count)[1]


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise missing_extra("faiss-cpu", "this index") from error
    return faiss


def _reserve(index: Any, rows: int) -> None:
    """Makes room for all rows: growing by doubling, an index would need twice the memory."""
    index.codes.resize(rows * index.code_size)
    index.codes.resize(0)


def _sample(vectors: np.ndarray, count: int, normalise: bool) -> tuple[np.ndarray, np.ndarray]:
    """Rows at equal distances, ``count`` at most, and their embeddings as float32."""
    rows = np.linspace(0, len(vectors) - 1, min(count, len(vectors))).astype(np.int64)
    return rows, as_float(vectors[rows], normalise).numpy()


def _holds(index: Any, vectors: np.ndarray, normalised: bool) -> bool:
    """Whether a sample of the rows is in the index as it is in the gallery."""
    if hasattr(index, "make_direct_map"):
        index.make_direct_map()
    rows, sample = _sample(vectors, _SAMPLE, normalised)
    kept = np.stack([index.reconstruct(int(row)) for row in rows])
    return np.allclose(kept, sample, atol=1e-5)
