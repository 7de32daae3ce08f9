"""Measures of how well a network finds the people of a dataset's queries in its gallery."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..evaluation import PairwiseDistances, RerankedDistances, evaluate_rank
from ..evaluation.distances import Distances
from ..evaluation.ranking import mean_inverse_negative_penalty
from ..models.base import Embedding
from .errors import RetrievalError
from .explain.rankings import EvaluationSet
from .extract import embed
from .open import Network

RANKS = (1, 5, 10)


@dataclass(frozen=True)
class Measures:
    """Measures of how well queries find their people, in percent.

    Attributes:
        cmc: rank -> share of the queries whose person is found up to it.
        mAP: mean average precision.
        mINP: mean inverse negative penalty (Ye et al., 2021): how early the last image is found.
    """

    cmc: dict[int, float]
    mAP: float
    mINP: float


def evaluate(
    network: Network,
    images: EvaluationSet,
    *,
    ranks: Sequence[int] = RANKS,
    flip: bool = False,
    rerank: bool = False,
    branches: bool = False,
    batch_size: int = 64,
    workers: int = 4,
    bar: bool = False,
) -> dict[str, Measures]:
    """Measure a network on the queries and gallery of a dataset, by the cosine distance.

    The protocol is torchreid's: one query at a time, and images of its person by its own camera do
    not count.

    Args:
        network: from ``open_network``.
        images: from ``read_evaluation_set``.
        ranks: of the CMC.
        flip: embed each image and its mirror image, and take the mean of both, each of length 1.
        rerank: also with re-ranking (Zhong et al., 2017).
        branches: also each branch's part of the embedding by itself.
        batch_size, workers: as for ``extract``.
        bar: show how far it is.

    Returns:
        ``embedding`` and, as asked for, ``re-ranked`` and the names of branches -> measures.

    Raises:
        RetrievalError: images that cannot be read, or embeddings that are not finite.
    """
    given = replace(network, model=_WithMirror(network.model)) if flip else network  # type: ignore[arg-type]
    found, problems = embed(given, images.paths, batch_size=batch_size, workers=workers, bar=bar)
    if problems:
        raise RetrievalError("\n  ".join(["images that cannot be read:", *problems]))
    vectors = torch.from_numpy(found.vectors)
    count = len(images.query)
    query, gallery = (
        [np.array([getattr(sample, key) for sample in samples]) for key in ("pid", "camid")]
        for samples in (images.query, images.gallery)
    )

    def measured(kind: Any, part: slice) -> Measures:
        distances = kind(vectors[:count, part], vectors[count:, part], "cosine")
        return measure(distances, query[0], gallery[0], query[1], gallery[1], ranks)

    everything = slice(None)
    results = {"embedding": measured(PairwiseDistances, everything)}
    if rerank:
        results["re-ranked"] = measured(RerankedDistances, everything)
    if branches:
        parts = _branches(network)
        results |= {name: measured(PairwiseDistances, part) for name, part in parts.items()}
    return results


def measure(
    distances: Distances,
    q_pids: np.ndarray,
    g_pids: np.ndarray,
    q_camids: np.ndarray,
    g_camids: np.ndarray,
    ranks: Sequence[int] = RANKS,
) -> Measures:
    """Return the measures of distances; the arguments are those of ``evaluate_rank``."""
    people = (q_pids, g_pids, q_camids, g_camids)
    cmc, mean_ap = evaluate_rank(distances, *people, max_rank=max(ranks))
    return Measures(
        {rank: 100 * float(cmc[min(rank, len(cmc)) - 1]) for rank in ranks},
        100 * float(mean_ap),
        100 * mean_inverse_negative_penalty(distances, *people),
    )


def table(found: dict[str, Measures]) -> str:
    """Return the measures as lines of text, in percent."""
    ranks = [f"rank-{rank}" for rank in next(iter(found.values())).cmc]
    lines = [f"{'':12}" + "".join(f"{name:>9}" for name in (*ranks, "mAP", "mINP"))]
    for name, measures in found.items():
        numbers = (*measures.cmc.values(), measures.mAP, measures.mINP)
        lines.append(f"{name:12}" + "".join(f"{number:9.1f}" for number in numbers))
    return "\n".join(lines)


@torch.no_grad()
def _branches(network: Network) -> dict[str, slice]:
    card = network.card
    image = torch.zeros(1, 3, card.height, card.width, device=network.device)
    return network.model.inspect(image).branches


class _WithMirror(nn.Module):
    """A model that sees each image and its mirror image, and gives the mean embedding."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.embedding_size, self.has_parts = model.embedding_size, model.has_parts

    def optimize_for_inference(self) -> "_WithMirror":
        return _WithMirror(self.model.optimize_for_inference())

    def inspect(self, images: Tensor) -> Embedding:
        seen: Embedding = self.model.inspect(images)
        mirrored: Embedding = self.model.inspect(images.flip(3))
        return seen._replace(vector=F.normalize(seen.vector) + F.normalize(mirrored.vector))
