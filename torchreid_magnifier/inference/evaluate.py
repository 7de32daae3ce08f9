"""Measures of how well networks find the people of datasets' queries in their galleries."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..distributed.processes import ALONE, Processes
from ..evaluation import (
    PairwiseDistances,
    PartFeatures,
    RankedQueries,
    Reassociation,
    RerankedDistances,
    SharedPartDistances,
    multi_query,
    open_set,
    rank_queries,
    reassociate,
)
from ..evaluation.distances import Distances
from ..evaluation.open_set import FALSE_ALARMS
from ..models.base import Embedding
from .embeddings import Embeddings
from .errors import RetrievalError
from .explain.rankings import EvaluationSet, read_evaluation_set
from .extract import embed
from .open import Network, open_network
from .sources import NO_TRACK, sequence_of

RANKS = (1, 5, 10)
_CURVE = 50  # ranks of a CMC that is drawn


@dataclass(frozen=True)
class Measures:
    """Measures of how well queries find their people, in percent.

    Attributes:
        queries: how many count.
        cmc: rank -> share of the queries whose person is found up to it.
        mAP: mean average precision.
        mINP: mean inverse negative penalty (Ye et al., 2021): how early the last image is found.
        cameras: the same of the queries by each camera; none of those of one camera.
        cmc_curve: of the ranks 1 to 50.
        precision_curve: at recalls of 0, 5, … 100 %, interpolated, mean over the queries.
    """

    queries: int
    cmc: dict[int, float]
    mAP: float
    mINP: float
    cameras: dict[int, "Measures"] = field(default_factory=dict)
    cmc_curve: tuple[float, ...] = ()
    precision_curve: tuple[float, ...] = ()


@dataclass(frozen=True)
class OpenSetMeasures:
    """Share of known people who are found where half of the people are strangers, in percent.

    Attributes:
        false_alarms: share of the strangers who are taken for somebody.
        found: detection and identification rate, DIR: mean over the draws, with its standard
            deviation ``spread``; None where there are too few queries of strangers for the rate.
        draws: of who is a stranger.
    """

    false_alarms: float
    found: float | None
    spread: float | None
    draws: int


@dataclass(frozen=True)
class Evaluation:
    """A network on a dataset.

    Attributes:
        network: the source of the weights, as it was given.
        model: its name.
        trained_on: dataset of the training, by the network's card.
        dataset: that it was measured on.
        queries, gallery: how many images there are.
        measures: ``embedding`` and what else was asked for, such as ``re-ranked``.
        open_set: by rising rate of false alarms; none unless asked for.
    """

    network: str
    model: str
    trained_on: str
    dataset: str
    queries: int
    gallery: int
    measures: dict[str, Measures]
    open_set: tuple[OpenSetMeasures, ...] = ()


def evaluate_networks(
    sources: Iterable[str | os.PathLike[str]],
    datasets: Sequence[str],
    root: str = "reid-data",
    **options: Any,
) -> list[Evaluation]:
    """Measure several networks on several datasets.

    Args:
        sources: of networks: see ``open_network``.
        datasets: names of registered datasets.
        root: the folder that holds them.
        options: of ``evaluate``.

    Returns:
        Network by network, in the order given.

    Raises:
        DatasetError, ExplainError: a dataset cannot be read, or has nobody to find.
        WeightsError, CheckpointError, RetrievalError: as ``open_network`` and ``evaluate``.
    """
    images = {name: read_evaluation_set(name, root) for name in datasets}
    networks = [open_network(source) for source in sources]
    return [evaluate(n, found, name, **options) for n in networks for name, found in images.items()]


def evaluate(
    network: Network,
    images: EvaluationSet,
    dataset: str = "",
    *,
    ranks: Sequence[int] = RANKS,
    flip: bool = False,
    rerank: bool = False,
    branches: bool = False,
    pooling: str | None = None,
    strangers: bool = False,
    draws: int = 10,
    shared_parts: bool = False,
    batch_size: int = 64,
    workers: int = 4,
    bar: bool = False,
    processes: Processes = ALONE,
) -> Evaluation:
    """Measure a network on the queries and gallery of a dataset, by the cosine distance.

    The protocol is torchreid's: one query at a time, and images of its person by its own camera do
    not count.

    Args:
        network: from ``open_network``.
        images: from ``read_evaluation_set``.
        dataset: its name.
        ranks: of the CMC.
        flip: embed each image and its mirror image, and take the mean of both, each of length 1.
        rerank: also with re-ranking (Zhong et al., 2017).
        branches: also each branch's part of the embedding by itself.
        pooling: also with all images of the query's person by its own camera: ``mean`` or ``max``
            of their embeddings, see ``multi_query``.
        strangers: also with half of the people out of the gallery, see ``open_set``.
        draws: of these people.
        shared_parts: also over the parts that both pictures show, see ``SharedPartDistances``.
        batch_size, workers: as for ``extract``.
        bar: show how far it is.
        processes: that share the images out; all have the measures in the end.

    Raises:
        RetrievalError: images that cannot be read, embeddings that are not finite, or branches of
            a file that has none.
        FailedElsewhere: another process has failed, and says why.
        EvaluationError: too few queries for an open set.
    """
    parts = _branches(network) if branches else {}
    given = replace(network, model=_WithMirror(network.model)) if flip else network  # type: ignore[arg-type]
    found, problems = embed(
        given,
        images.paths,
        batch_size=batch_size,
        workers=workers,
        bar=bar,
        parts=shared_parts,
        processes=processes,
    )
    if problems:
        raise RetrievalError("\n  ".join(["images that cannot be read:", *problems]))

    def measured() -> Evaluation:
        count = len(images.query)
        vectors = torch.from_numpy(found.vectors)
        query, gallery = vectors[:count], vectors[count:]
        halves = slice(count), slice(count, None)
        labels = images.labels()
        distances = PairwiseDistances(query, gallery, "cosine")
        results = {"embedding": measure(distances, *labels, ranks)}
        if rerank:
            reranked = RerankedDistances(query, gallery, "cosine")
            results["re-ranked"] = measure(reranked, *labels, ranks)
        if pooling:
            pooled = multi_query(query, gallery, *labels, pooling)
            several = PairwiseDistances(pooled, gallery, "cosine")
            results[f"multi-query, {pooling}"] = measure(several, *labels, ranks)
        if shared_parts:
            sides = found.parts(network.card.name)
            ours, theirs = (PartFeatures(*(x[s] for x in sides)) for s in halves)
            results["shared parts"] = measure(SharedPartDistances(ours, theirs), *labels, ranks)
        for name, part in parts.items():
            alone = PairwiseDistances(query[:, part], gallery[:, part], "cosine")
            results[name] = measure(alone, *labels, ranks)
        rates: tuple[OpenSetMeasures, ...] = ()
        if strangers:
            opened = open_set(distances, *labels, FALSE_ALARMS, draws=draws)
            rates = tuple(
                _open_set(100 * rate, 100 * values)
                for rate, values in zip(opened.rates.tolist(), opened.found.T)
            )
        card = network.card
        return Evaluation(
            card.name, card.model, card.dataset, dataset, count, len(gallery), results, rates
        )

    return processes.from_main(measured)


def measure(
    distances: Distances,
    q_pids: np.ndarray,
    g_pids: np.ndarray,
    q_camids: np.ndarray,
    g_camids: np.ndarray,
    ranks: Sequence[int] = RANKS,
) -> Measures:
    """Return the measures of distances; the arguments are those of ``evaluate_rank``."""
    found = rank_queries(distances, q_pids, g_pids, q_camids, g_camids)
    cameras = np.asarray(q_camids)[found.queries]
    by_camera = {
        int(camera): _measures(found.of(cameras == camera), ranks) for camera in np.unique(cameras)
    }
    curves = (100 * found.cmc(_CURVE), 100 * found.curve.mean(0))
    cmc, precision = (tuple(curve.astype(float).round(4).tolist()) for curve in curves)
    return replace(
        _measures(found, ranks), cameras=by_camera, cmc_curve=cmc, precision_curve=precision
    )


def _measures(found: RankedQueries, ranks: Sequence[int]) -> Measures:
    cmc = found.cmc(max(ranks))
    return Measures(
        len(found.queries),
        {rank: 100 * float(cmc[min(rank, len(cmc)) - 1]) for rank in ranks},
        100 * float(found.precision.mean()),
        100 * float(found.penalty.mean()),
    )


def _open_set(false_alarms: float, found: np.ndarray) -> OpenSetMeasures:
    if np.isnan(found).any():
        return OpenSetMeasures(false_alarms, None, None, len(found))
    spread = float(found.std(ddof=len(found) > 1))
    return OpenSetMeasures(false_alarms, float(found.mean()), spread, len(found))


def reassociate_tracks(embeddings: Embeddings, gap: int, stride: int = 1) -> Reassociation:
    """Return how well people are found again ``gap`` frames later, by a tracker's numbers.

    Args:
        embeddings: of ``extract`` with boxes and tracks; those of no track are left out. Tracks of
            two videos, or folders of frames, are of different people.
        gap, stride: see ``reassociate``.

    Raises:
        RetrievalError: there are no tracks.
        EvaluationError: no box counts.
    """
    if embeddings.tracks is None or not (tracked := embeddings.tracks != NO_TRACK).any():
        raise RetrievalError(
            "expected embeddings of boxes with tracks, found none: extract them with --detections "
            "and the file of a tracker, or a gt.txt"
        )
    sequences = np.array([sequence_of(path) for path in embeddings.paths[tracked].tolist()])
    rows = np.flatnonzero(tracked)
    return reassociate(
        np.array(embeddings.vectors[rows], np.float32),
        embeddings.tracks[rows],
        embeddings.frames[rows],
        gap,
        stride=stride,
        sequences=sequences,
    )


def crossed(found: Sequence[Evaluation]) -> tuple[list[str], list[tuple[str, str, list[str]]]]:
    """Arrange evaluations as a table: what was trained on in rows, what was tested on in columns.

    Returns:
        The datasets; and for each network its name, what it was trained on, and ``rank-1 / mAP``
        on each dataset, empty where it was not measured.
    """
    datasets = list(dict.fromkeys(one.dataset for one in found))
    rows: dict[str, tuple[str, str, list[str]]] = {}
    for one in found:
        name, trained = os.path.basename(one.network), one.trained_on or "not recorded"
        cells = rows.setdefault(one.network, (name, trained, [""] * len(datasets)))[2]
        measures = one.measures["embedding"]
        first = next(iter(measures.cmc.values()))
        cells[datasets.index(one.dataset)] = f"{first:.1f} / {measures.mAP:.1f}"
    return datasets, list(rows.values())


@torch.no_grad()
def _branches(network: Network) -> dict[str, slice]:
    card = network.card
    image = torch.zeros(1, 3, card.height, card.width, device=network.device)
    found = network.model.inspect(image).branches
    if not found:
        raise RetrievalError(
            f"{card.name}: nothing says which values are of which branch: leave out the branches, "
            "or give the weights that the file was made of"
        )
    return found


class _WithMirror(nn.Module):
    """A model that sees each image and its mirror image, and gives the mean embedding."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.embedding_size, self.has_parts = model.embedding_size, model.has_parts
        self.has_regions = model.has_regions

    def optimize_for_inference(self) -> "_WithMirror":
        return _WithMirror(self.model.optimize_for_inference())

    def inspect(self, images: Tensor) -> Embedding:
        seen: Embedding = self.model.inspect(images)
        mirrored: Embedding = self.model.inspect(images.flip(3))
        return seen._replace(vector=F.normalize(seen.vector) + F.normalize(mirrored.vector))
