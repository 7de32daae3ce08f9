"""Rankings of a dataset by a network, and which regions of it resemble the query's."""

import contextlib
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...data.datasets import plain_name
from ...data.reading import answerable, read_dataset
from ...errors import closest
from ...evaluation import PairwiseDistances, evaluate_rank
from ...evaluation.distances import whole
from ...models.base import Embedding
from ...registry import trains_only
from ..errors import ExplainError


class Sample(NamedTuple):
    """An image of a torchreid dataset."""

    path: str
    pid: int
    camid: int
    dsetid: int


class EvaluationSet(NamedTuple):
    """The images of a dataset that are asked with, and those that are searched."""

    query: list[Sample]
    gallery: list[Sample]

    @property
    def paths(self) -> list[str]:
        """Return those of the query images, then of the gallery images."""
        return [sample.path for sample in (*self.query, *self.gallery)]

    def labels(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return people of queries and gallery, (Q,) and (G,), then the cameras of both."""
        sides = (self.query, self.gallery)
        pids = [np.array([sample.pid for sample in side]) for side in sides]
        camids = [np.array([sample.camid for sample in side]) for side in sides]
        return pids[0], pids[1], camids[0], camids[1]

    def answerable(self) -> list[int]:
        """Return the queries whose person is in the gallery by another camera: those that count."""
        return answerable(*([s[1:3] for s in side] for side in (self.query, self.gallery)))

    def named(self, names: Sequence[str]) -> list[int]:
        """Return the queries of these paths, or with these names of files.

        Raises:
            ExplainError: there is none of a name, or more than one.
        """
        places: dict[str, list[int]] = {}
        for index, sample in enumerate(self.query):
            path = os.path.abspath(sample.path)
            for key in (path, os.path.basename(path)):
                places.setdefault(key, []).append(index)
        chosen = []
        for name in names:
            base = os.path.basename(name)
            found = places.get(os.path.abspath(name)) or places.get(base, [])
            if not found:
                known = [os.path.basename(sample.path) for sample in self.query]
                raise ExplainError(f"--query: no query is called {name}{closest(base, known)}")
            if len(found) > 1:
                raise ExplainError(
                    f"--query: {len(found)} queries are called {name}: give the path"
                )
            chosen += found
        return chosen


def read_evaluation_set(dataset: str, root: str) -> EvaluationSet:
    """Return the queries and gallery of a registered dataset; a generated one is made at first use.

    Raises:
        DatasetError: the dataset cannot be read from ``root``.
        ExplainError: no query has anyone to find.
    """
    if trains_only(plain_name(dataset)):
        raise ExplainError(f"{dataset} has images to train on only, no queries and no gallery")
    images = _read_dataset(dataset, root)
    found = EvaluationSet([Sample(*s) for s in images.query], [Sample(*s) for s in images.gallery])
    if not found.answerable():
        raise ExplainError(
            f"{dataset} in {root}: no query's person is in the gallery by another camera"
        )
    return found


def columns(samples: Sequence[Sample]) -> tuple[list[str], list[int], list[int]]:
    """Return paths, people and cameras of samples."""
    return [s.path for s in samples], [s.pid for s in samples], [s.camid for s in samples]


def read_people(dataset: str, root: str, split: str) -> list[Sample]:
    """Return images of known people of a registered dataset.

    Args:
        dataset: its name.
        root: the folder that holds the datasets.
        split: ``train``; or ``test``, the queries and those gallery images whose person is asked
            for: of distractors nobody knows who they are.

    Raises:
        DatasetError: the dataset cannot be read from ``root``.
        ExplainError: no query has anyone to find.
    """
    if split == "train":
        return [Sample(*sample) for sample in _read_dataset(dataset, root).train]
    found = read_evaluation_set(dataset, root)
    asked = {sample.pid for sample in found.query}
    return [*found.query, *(sample for sample in found.gallery if sample.pid in asked)]


def _read_dataset(dataset: str, root: str) -> Any:
    with contextlib.redirect_stdout(sys.stderr):  # what torchreid says of a download
        return read_dataset(plain_name(dataset), root, mode="query")


@dataclass(frozen=True)
class Search:
    """Distances of every gallery image from every query.

    Attributes:
        distances: (Q, G), cosine.
        images: the Q queries and the G gallery images.
    """

    distances: np.ndarray
    images: EvaluationSet

    def rank1_and_map(self, chosen: np.ndarray | None = None) -> tuple[float, float]:
        """Return torchreid's measures of the ``chosen`` queries ((Q,), boolean) or of all."""
        rows = slice(None) if chosen is None else chosen
        q_pids, g_pids, q_camids, g_camids = self._labels
        cmc, mean_ap = evaluate_rank(
            self.distances[rows], q_pids[rows], g_pids, q_camids[rows], g_camids, max_rank=1
        )
        return float(cmc[0]), float(mean_ap)

    def ranking(self, query: int) -> np.ndarray:
        """Return the indices of the gallery images, nearest first.

        The query's person seen by the query's own camera is left out, as in the evaluation.
        """
        q_pids, g_pids, q_camids, g_camids = self._labels
        order = np.argsort(self.distances[query], kind="stable")
        left_out = (g_pids == q_pids[query]) & (g_camids == q_camids[query])
        return np.asarray(order[~left_out[order]])

    def is_right(self, query: int, found: int) -> bool:
        """Return whether a gallery image shows the query's person."""
        return self.images.gallery[found].pid == self.images.query[query].pid

    def finds(self, query: int) -> bool:
        """Return whether the nearest gallery image shows the query's person."""
        return self.is_right(query, self.ranking(query)[0])

    @cached_property
    def _labels(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return self.images.labels()


class SeenSet(NamedTuple):
    """An evaluation set as a network sees it.

    Attributes:
        search: the ranking of everybody.
        query_regions, gallery_regions: region features in half precision, ``(Q, K, C)`` and
            ``(G, K, C)``, if they were asked for.
    """

    search: Search
    query_regions: Tensor | None
    gallery_regions: Tensor | None


def see_evaluation_set(
    images: EvaluationSet, seen: Iterable[Embedding], with_regions: bool = False
) -> SeenSet:
    """Rank the gallery for every query.

    Args:
        images: the evaluation set.
        seen: a network's answers to ``images.paths``, in this order, in batches.
        with_regions: keep the features of regions, which a network with ``has_regions`` gives.
    """
    embeddings, regions = [], []
    for batch in seen:
        embeddings.append(batch.vector)
        if with_regions:
            assert batch.regions is not None, "the network has no features of regions"
            regions.append(batch.regions.half())
    count, vectors = len(images.query), torch.cat(embeddings)
    distances = whole(PairwiseDistances(vectors[:count], vectors[count:], "cosine"))
    found = Search(distances, images)
    if not with_regions:
        return SeenSet(found, None, None)
    of_regions = torch.cat(regions)
    return SeenSet(found, of_regions[:count], of_regions[count:])


def draw_queries(
    images: EvaluationSet, seen: Sequence[SeenSet], count: int, seed: int, differing: bool = False
) -> tuple[list[int], str]:
    """Choose queries at random, each of another person.

    Args:
        images: the evaluation set.
        seen: as each network sees it.
        count: of the queries, at most.
        seed: of the choice.
        differing: draw from those whose nearest image is right for one of two networks only.

    Returns:
        The queries, and a sentence that says how they were drawn.

    Raises:
        ExplainError: there are no differing ones.
    """
    candidates = np.array(images.answerable())
    how = "Queries drawn at random. "
    if differing:
        left, right = (np.array([s.search.finds(q) for q in candidates]) for s in seen)
        how = (
            f"Drawn from the {(left != right).sum()} of {len(candidates)} queries whose nearest "
            f"image is right for one network only (left {(left & ~right).sum()}, right "
            f"{(right & ~left).sum()}).\n"
        )
        candidates = candidates[left != right]
        if not candidates.size:
            raise ExplainError(
                "--differing: the nearest images are right or wrong for both networks alike"
            )
    people: dict[int, int] = {}
    for query in np.random.default_rng(seed).permutation(candidates):
        people.setdefault(images.query[query].pid, int(query))
    return list(people.values())[:count], how


def region_standings(query: Tensor, gallery: Tensor) -> Tensor:
    """Return how much each region of gallery images resembles the query's, among all of them.

    The cosine similarities of different regions do not compare (heads may be more alike than
    legs, always). What compares is their standing: the share of the gallery whose region
    resembles the query's less.

    Args:
        query: region features, ``(K, C)``, zero where a region is absent.
        gallery: region features, ``(G, K, C)``.

    Returns:
        ``(G, K)`` in [0, 1]: 0 for the least alike, 1 for the most alike, only gallery images with
        the region counted; NaN where the query or the gallery image lacks it.
    """
    standings = torch.full(gallery.shape[:2], torch.nan)
    for region, asked in enumerate(query.float()):
        having = gallery[:, region].any(1) & asked.any()
        found = gallery[having, region].float()
        cosines = torch.cosine_similarity(found, asked.unsqueeze(0), dim=1)
        below = torch.searchsorted(cosines.sort().values, cosines)
        standings[having, region] = below.float() / max(len(cosines) - 1, 1)
    return standings
