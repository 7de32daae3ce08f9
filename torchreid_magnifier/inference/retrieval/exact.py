"""Exact search with torch: every query is compared with every embedding, a block at a time."""

import warnings
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_BLOCK = 1 << 21  # numbers of the gallery that are float32 at once: 8 MB, which caches hold
_QUERIES = 1024  # that are compared with a block at once
_ROW_BITS = 32


def blocks(vectors: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Embeddings (N, D) in blocks of bounded size, each with the number of its first row.

    A mapped file is not read before the numbers of a block are used.
    """
    step = max(1, _BLOCK // vectors.shape[1])
    for start in range(0, len(vectors), step):
        yield start, vectors[start : start + step]


def as_float(vectors: np.ndarray, normalise: bool = False) -> Tensor:
    """Embeddings (n, D) as float32, on request of length 1 (those of zeros stay)."""
    with warnings.catch_warnings():  # nobody writes into the tensor
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        # What others wrote may lie at odd places in its file.
        rows = torch.from_numpy(np.require(vectors, requirements=["C", "A"])).float()
    return F.normalize(rows, dim=1) if normalise else rows


class ExactIndex:
    """Finds the nearest embeddings by comparing with all of them.

    Memory beyond that of ``vectors`` is bounded, whatever their number.

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
        """The rows of the ``count`` nearest embeddings to each query, nearest first.

        Args:
            queries: float32 (Q, D).
            count: at most N.

        Returns:
            int64 (Q, ``count``); of equally near ones the lower row first.
        """
        parts = torch.from_numpy(queries).to(self._device).split(_QUERIES)
        return torch.cat([self._nearest(part, count) for part in parts]).cpu().numpy()

    def _nearest(self, queries: Tensor, count: int) -> Tensor:
        best = torch.empty(len(queries), 0, dtype=torch.int64, device=self._device)
        for start, block in blocks(self._vectors):
            nearness = self._nearness(queries, as_float(block).to(self._device))
            keys = _keys(nearness, start)
            best = torch.cat([best, keys.topk(min(count, keys.shape[1])).values], 1)
            best = best.topk(min(count, best.shape[1])).values
        return (1 << _ROW_BITS) - 1 - (best & ((1 << _ROW_BITS) - 1))

    def _nearness(self, queries: Tensor, block: Tensor) -> Tensor:
        """``(Q, D), (n, D)`` -> (Q, n), larger for nearer ones; comparable within a query."""
        products = queries @ block.T
        if self._metric == "cosine":
            lengths = torch.linalg.vector_norm(block, dim=1)
            return products / lengths.clamp_min(torch.finfo(torch.float32).tiny)
        return 2 * products - block.square().sum(1)  # |q|^2 - |q - g|^2


def _keys(nearness: Tensor, start: int) -> Tensor:
    """Whole numbers in the order of nearness, of equal ones the lower row first.

    The upper half is the float's bits, whose order as a whole number is the float's own once those
    of negative ones are flipped; the lower half is the row, counted down.
    """
    bits = (nearness + 0.0).view(torch.int32)  # -0.0 becomes 0.0
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()
    rows = torch.arange(start, start + nearness.shape[1], device=nearness.device)
    return (ordered << _ROW_BITS) | ((1 << _ROW_BITS) - 1 - rows)
