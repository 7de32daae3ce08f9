"""torchreid's evaluation, faster and in less memory.

``evaluate_rank`` takes a matrix of distances, or one of the classes that compute its rows when
they are asked for::

    distances = PairwiseDistances(query, gallery, "cosine")
    cmc, mean_ap = evaluate_rank(distances, q_pids, g_pids, q_camids, g_camids)

``engine`` puts it into torchreid's engines.
"""

from .distances import EvaluationError, PairwiseDistances
from .multi_query import multi_query
from .open_set import OpenSet, open_set
from .ranking import RankedQueries, evaluate_rank, rank_queries
from .reassociation import Reassociation, reassociate
from .reranking import RerankedDistances
from .shared_parts import PartFeatures, SharedPartDistances

__all__ = [
    "EvaluationError",
    "OpenSet",
    "PairwiseDistances",
    "PartFeatures",
    "RankedQueries",
    "Reassociation",
    "RerankedDistances",
    "SharedPartDistances",
    "evaluate_rank",
    "multi_query",
    "open_set",
    "rank_queries",
    "reassociate",
]
