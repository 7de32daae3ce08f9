"""Whom a network finds in a dataset, and which regions of them resemble the query's."""

import contextlib
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchreid import data as torchreid_data
from torchreid import metrics as torchreid_metrics

from ...data.datasets import plain_name
from ...evaluation import evaluate_rank
from ...models import Embedding
from ...registry import dataset_folder, trains_only
from . import ExplainError


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
        """Of the query images, then of the gallery images."""
        return [sample.path for sample in (*self.query, *self.gallery)]

    def answerable(self) -> list[int]:
        """The queries whose person is in the gallery by another camera: those that count."""
        cameras: dict[int, set[int]] = {}
        for sample in self.gallery:
            cameras.setdefault(sample.pid, set()).add(sample.camid)
        return [i for i, q in enumerate(self.query) if cameras.get(q.pid, set()) - {q.camid}]


def read_evaluation_set(dataset: str, root: str) -> EvaluationSet:
    """The queries and gallery of a registered dataset; a generated one is made at first use.

    Raises:
        ExplainError: the dataset cannot be read from ``root``, or no query has anyone to find.
    """
    name = plain_name(dataset)
    if trains_only(name):
        raise ExplainError(f"{dataset} has images to train on only, no queries and no gallery")
    folder = os.path.join(root, dataset_folder(name) or "")
    was_there = os.path.isdir(folder)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what torchreid tells of a download
            images = torchreid_data.datasets.init_image_dataset(
                name, root=root, mode="query", verbose=False
            )
    except (OSError, RuntimeError, ValueError) as error:
        known = was_there or folder in str(error)
        hint = "" if known else f" (there is no folder {folder})"
        if not was_there:  # torchreid tries to download into it: leave no empty one
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        raise ExplainError(f"cannot read dataset {dataset} in {root}: {error}{hint}") from error
    found = EvaluationSet([Sample(*s) for s in images.query], [Sample(*s) for s in images.gallery])
    if not found.answerable():
        raise ExplainError(
            f"{dataset} in {root}: no query's person is in the gallery by another camera"
        )
    return found


@dataclass(frozen=True)
class Search:
    """What a network makes of an evaluation set: how far every gallery image is from every query.

    Attributes:
        distances: (Q, G), cosine.
        query, gallery: the Q and G images.
    """

    distances: np.ndarray
    query: list[Sample]
    gallery: list[Sample]

    def rank1_and_map(self, chosen: np.ndarray | None = None) -> tuple[float, float]:
        """torchreid's evaluation, of the ``chosen`` queries ((Q,), boolean) or of all."""
        rows = slice(None) if chosen is None else chosen
        q_pids, q_camids = (np.array([getattr(q, k) for q in self.query]) for k in ("pid", "camid"))
        cmc, mean_ap = evaluate_rank(
            self.distances[rows],
            q_pids[rows],
            self._gallery_pids,
            q_camids[rows],
            self._gallery_camids,
            max_rank=1,
        )
        return float(cmc[0]), float(mean_ap)

    def ranking(self, query: int) -> np.ndarray:
        """Indices of the gallery images, nearest first.

        The query's person seen by the query's own camera is left out, as in the evaluation.
        """
        asked = self.query[query]
        order = np.argsort(self.distances[query], kind="stable")
        left_out = (self._gallery_pids == asked.pid) & (self._gallery_camids == asked.camid)
        return order[~left_out[order]]

    def is_right(self, query: int, found: int) -> bool:
        """Whether a gallery image shows the query's person."""
        return self.gallery[found].pid == self.query[query].pid

    @cached_property
    def _gallery_pids(self) -> np.ndarray:
        return np.array([sample.pid for sample in self.gallery])

    @cached_property
    def _gallery_camids(self) -> np.ndarray:
        return np.array([sample.camid for sample in self.gallery])


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
    """Ranks the gallery for every query.

    Args:
        images: the evaluation set.
        seen: what a network saw of ``images.paths``, in this order, in batches.
        with_regions: keep the features of regions, which a network with the Semantic Fusion Branch
            has.
    """
    embeddings, regions = [], []
    for batch in seen:
        embeddings.append(batch.vector)
        if with_regions:
            assert batch.regions is not None, "the network has no Semantic Fusion Branch"
            regions.append(batch.regions.half())
    sizes = [len(images.query), len(images.gallery)]
    query, gallery = torch.cat(embeddings).split(sizes)
    distances = torchreid_metrics.compute_distance_matrix(query, gallery, "cosine").numpy()
    of_regions = torch.cat(regions).split(sizes) if regions else (None, None)
    return SeenSet(Search(distances, images.query, images.gallery), *of_regions)


def region_standings(query: Tensor, gallery: Tensor) -> Tensor:
    """How much each region of a gallery image resembles the query's, among the whole gallery.

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
