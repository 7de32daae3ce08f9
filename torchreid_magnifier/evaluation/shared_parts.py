"""Distances over the body parts that both pictures show."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..parts import BACKGROUND
from .distances import EvaluationError

SHARE = 0.5

_NUMBERS = 1 << 22  # of the gallery's regions that are float32 at once: 16 MB


class PartFeatures(NamedTuple):
    """N pictures as the distance takes them.

    Attributes:
        vectors: embeddings, (N, D).
        regions: features of the K parts, (N, K, C) or (N, K * C), float16 or float32, perhaps
            mapped from a file; see ``Embedding.regions``.
        visibility: share of the picture that each part takes, background first, (N, K).
    """

    vectors: np.ndarray
    regions: np.ndarray
    visibility: np.ndarray


class SharedPartDistances:
    """Distances of queries to a gallery over the parts that both pictures show.

    The distance of a query q and a gallery picture g is, with s the ``share``::

        d(q, g) = (1 - s) (1 - cos(e_q, e_g))
                  + s sum_k v_qk v_gk (1 - cos(r_qk, r_gk)) / sum_k v_qk v_gk

    e are the embeddings, r_k the features that SFB pools over part k, and the sums go over the
    body parts, without the background. The visibility v_k is min(1, a_k / m_k): a_k is the share of
    the picture that the mask head gives to the part, m_k the mean share in the gallery. So a part
    that either picture hides counts less, or not at all; where no part is in both, the first term
    counts alone. The idea is that of Sun et al., "Perceive Where to Focus: Learning
    Visibility-aware Part-level Features for Partial Person Re-identification", CVPR 2019, section
    3.3, with products of visibilities in place of its predicted ones.

    As the weights are products, both sums are inner products of a query's and a gallery picture's
    numbers: two matrix products, and no loop over pairs. The gallery is read in blocks.

    Args:
        query, gallery: of Q and G pictures.
        share: s, 0..1; 0 is the cosine distance of the embeddings.

    Attributes:
        shape: (Q, G).

    Raises:
        EvaluationError: arrays that do not fit together, or a share out of its range.
    """

    def __init__(self, query: PartFeatures, gallery: PartFeatures, share: float = SHARE) -> None:
        if not 0 <= share <= 1:
            raise EvaluationError(f"expected a share of the parts of 0..1, found {share}")
        for side in (query, gallery):
            _check(side)
        ours, theirs = (
            (side.vectors.shape[1], int(np.prod(side.regions.shape[1:])))
            for side in (query, gallery)
        )
        if ours != theirs:
            raise EvaluationError(
                "expected embeddings and parts of one network, found sizes "
                f"{ours} of queries and {theirs} of the gallery"
            )
        self.shape = (len(query.vectors), len(gallery.vectors))
        self._query, self._gallery, self._share = query, gallery, share
        usual = gallery.visibility.mean(0, dtype=np.float64) if len(gallery.visibility) else 1.0
        self._usual = torch.as_tensor(usual, dtype=torch.float32).clamp_min(1e-6)

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Return those of some queries: float32 (n, G)."""
        unit, parts, seen = self._prepared(self._query, rows)
        distances = np.empty((len(unit), self.shape[1]), np.float32)
        step = max(1, _NUMBERS // max(1, parts.shape[1]))
        for start in range(0, self.shape[1], step):
            block = slice(start, start + step)
            others, other_parts, other_seen = self._prepared(self._gallery, block)
            whole = 1 - unit @ others.T
            both = seen @ other_seen.T
            # Where no part is in both, the parts say what the whole says.
            apart = torch.where(both > 0, 1 - parts @ other_parts.T / both.clamp_min(1e-12), whole)
            distances[:, block] = torch.lerp(whole, apart, self._share).numpy()
        return distances

    def pairs(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return those of single pairs: ``rows`` (n,) of queries, ``columns`` of the gallery."""
        distances = np.empty(len(rows), np.float32)
        step = max(1, _NUMBERS // max(1, int(np.prod(self._gallery.regions.shape[1:]))))
        for start in range(0, len(rows), step):
            chosen = slice(start, start + step)
            unit, parts, seen = self._prepared(self._query, rows[chosen])
            others, other_parts, other_seen = self._prepared(self._gallery, columns[chosen])
            whole, both = 1 - (unit * others).sum(1), (seen * other_seen).sum(1)
            apart = 1 - (parts * other_parts).sum(1) / both.clamp_min(1e-12)
            apart = torch.where(both > 0, apart, whole)
            distances[chosen] = torch.lerp(whole, apart, self._share).numpy()
        return distances

    def _prepared(
        self, side: PartFeatures, rows: slice | np.ndarray
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Embeddings of length 1; parts of length 1 times their visibility; the visibilities."""
        seen = torch.from_numpy(np.array(side.visibility[rows], np.float32))
        parts = torch.from_numpy(np.array(side.regions[rows], np.float32))
        parts = F.normalize(parts.reshape(len(seen), seen.shape[1], -1), dim=2)
        seen = (seen / self._usual).clamp(max=1)
        seen[:, BACKGROUND] = 0
        unit = F.normalize(torch.from_numpy(np.array(side.vectors[rows], np.float32)))
        return unit, (parts * seen.unsqueeze(2)).flatten(1), seen


def _check(side: PartFeatures) -> None:
    vectors, regions, visibility = side
    counts = {len(vectors), len(regions), len(visibility)}
    numbers = int(np.prod(regions.shape[1:]))
    fit = vectors.ndim == visibility.ndim == 2 and len(counts) == 1
    if not fit or numbers % visibility.shape[1]:
        raise EvaluationError(
            "expected embeddings (N, D), features of parts (N, K, C) and visibilities (N, K), "
            f"found {vectors.shape}, {regions.shape} and {visibility.shape}"
        )
