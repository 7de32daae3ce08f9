"""Asking with all images of a person by a camera instead of one."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .distances import EvaluationError

POOLINGS = ("mean", "max")


def multi_query(
    query: Tensor,
    gallery: Tensor,
    q_pids: np.ndarray,
    g_pids: np.ndarray,
    q_camids: np.ndarray,
    g_camids: np.ndarray,
    pooling: str = "mean",
) -> Tensor:
    """Return embeddings of queries, each of all images of its person by its own camera.

    These are the query's own and those of other queries and of the gallery, which a single query
    passes over. Embeddings get length 1 before. The protocol is that of Zheng et al., "Scalable
    Person Re-identification: A Benchmark", ICCV 2015, which has further images of its own
    (``gt_bbox``) where this takes the gallery's.

    Args:
        query, gallery: embeddings, (Q, D) and (G, D).
        q_pids, g_pids, q_camids, g_camids: see ``evaluate_rank``.
        pooling: ``mean`` or ``max`` over the images.

    Returns:
        (Q, D).

    Raises:
        EvaluationError: another pooling.
    """
    if pooling not in POOLINGS:
        raise EvaluationError(f"expected a pooling of {' or '.join(POOLINGS)}, found {pooling!r}")
    pids, camids = (np.concatenate(both) for both in ((q_pids, g_pids), (q_camids, g_camids)))
    groups = np.unique(np.stack([pids, camids]), axis=1, return_inverse=True)[1].ravel()
    asked, number = np.unique(groups[: len(q_pids)], return_inverse=True)
    rows = np.flatnonzero(np.isin(groups, asked))
    place = torch.from_numpy(np.searchsorted(asked, groups[rows]))
    unit = F.normalize(torch.cat([query, gallery])[torch.from_numpy(rows)].float())
    pooled = unit.new_zeros(len(asked), unit.shape[1])
    how = "amax" if pooling == "max" else "mean"
    pooled.scatter_reduce_(0, place[:, None].expand_as(unit), unit, how, include_self=False)
    return pooled[torch.from_numpy(number)]
