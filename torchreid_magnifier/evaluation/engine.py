"""torchreid's engines with this evaluation in place of their own."""

import os
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader
from torchreid import engine as torchreid_engine
from torchreid import utils as torchreid_utils

from .distances import Distances, PairwiseDistances, whole
from .ranking import evaluate_rank
from .reranking import RerankedDistances

_MAX_RANK = 50  # torchreid's


class Features(NamedTuple):
    """Embeddings of the N images of a query set, or of a gallery.

    Attributes:
        embeddings: (N, D), on the CPU.
        pids, camids: people and cameras, whole numbers (N,).
    """

    embeddings: Tensor
    pids: np.ndarray
    camids: np.ndarray


class Evaluating(torchreid_engine.Engine):  # type: ignore[misc]  # torchreid has no types
    """Put before one of torchreid's engines: its ``test`` prints and returns the same, sooner.

    A rank beyond the end of the gallery is that of the whole gallery; torchreid breaks off there.
    """

    @torch.no_grad()
    def _evaluate(
        self,
        dataset_name: str,
        query_loader: DataLoader[Any],
        gallery_loader: DataLoader[Any],
        *args: Any,
        **kwargs: Any,
    ) -> tuple[float, float]:
        """Take torchreid's arguments and return its result: rank-1 and mAP, 0..1.

        Args:
            args, kwargs: see ``_rank``.

        Raises:
            EvaluationError: embeddings that are not numbers, or a dataset with nobody to find.
        """
        batch_time = torchreid_utils.AverageMeter()
        query = self._extract("query", query_loader, batch_time)
        gallery = self._extract("gallery", gallery_loader, batch_time)
        print(f"Speed: {batch_time.avg:.4f} sec/batch")
        return self._rank(dataset_name, query, gallery, *args, **kwargs)

    def _rank(
        self,
        dataset_name: str,
        query: Features,
        gallery: Features,
        dist_metric: str = "euclidean",
        normalize_feature: bool = False,
        visrank: bool = False,
        visrank_topk: int = 10,
        save_dir: str = "",
        use_metric_cuhk03: bool = False,
        ranks: Sequence[int] = (1, 5, 10, 20),
        rerank: bool = False,
    ) -> tuple[float, float]:
        """Return rank-1 and mAP of features, 0..1; print them, and draw with ``visrank``."""
        distances = distances_between(query, gallery, dist_metric, normalize_feature, rerank)
        if visrank:  # which needs all of them
            distances = whole(distances)
        found = report(distances, query, gallery, use_metric_cuhk03, ranks)
        if visrank:
            torchreid_utils.visualize_ranked_results(
                distances,
                self.datamanager.fetch_test_loaders(dataset_name),
                self.datamanager.data_type,
                width=self.datamanager.width,
                height=self.datamanager.height,
                save_dir=os.path.join(save_dir, f"visrank_{dataset_name}"),
                topk=visrank_topk,
            )
        return found

    def _extract(
        self, name: str, loader: DataLoader[Any], batch_time: torchreid_utils.AverageMeter
    ) -> Features:
        """Return the features of a query set or gallery; ``name`` is for what is printed."""
        print(f"Extracting features from {name} set ...")
        embeddings, pids, camids = [], [], []
        for batch in loader:
            images, batch_pids, batch_camids = self.parse_data_for_eval(batch)
            if self.use_gpu:
                images = images.cuda()
            begun = time.time()
            features = self.extract_features(images)
            batch_time.update(time.time() - begun)
            embeddings.append(features.cpu())
            pids.extend(batch_pids.tolist())
            camids.extend(batch_camids.tolist())
        found = Features(torch.cat(embeddings), np.array(pids), np.array(camids))
        print("Done, obtained {}-by-{} matrix".format(*found.embeddings.shape))
        return found


def distances_between(
    query: Features, gallery: Features, metric: str, normalised: bool, reranked: bool
) -> Distances:
    """Return distances of queries to a gallery, computed row by row; print what is done."""
    q, g = query.embeddings, gallery.embeddings
    if normalised:
        print("Normalzing features with L2 norm ...")
        q, g = F.normalize(q), F.normalize(g)
    print(f"Computing distance matrix with metric={metric} ...")
    if not reranked:
        return PairwiseDistances(q, g, metric)
    print("Applying person re-ranking ...")
    return RerankedDistances(q, g, metric)


def report(
    distances: Distances,
    query: Features,
    gallery: Features,
    use_metric_cuhk03: bool,
    ranks: Sequence[int],
) -> tuple[float, float]:
    """Print the mAP and the CMC at some ranks. Return rank-1 and mAP, 0..1."""
    print("Computing CMC and mAP ...")
    if len(gallery.pids) < _MAX_RANK:
        print(f"Note: number of gallery samples is quite small, got {len(gallery.pids)}")
    cmc, mean_ap = evaluate_rank(
        distances,
        query.pids,
        gallery.pids,
        query.camids,
        gallery.camids,
        max(_MAX_RANK, *ranks),
        use_metric_cuhk03,
    )
    print("** Results **")
    print(f"mAP: {mean_ap:.1%}")
    print("CMC curve")
    for rank in ranks:
        print(f"Rank-{rank:<3}: {cmc[min(rank, len(cmc)) - 1]:.1%}")
    return cmc[0], mean_ap
