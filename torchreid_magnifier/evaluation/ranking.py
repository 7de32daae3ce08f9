"""CMC and mAP, without sorting the gallery: only where the right images stand is needed."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .distances import Distances, EvaluationError, blocks

RECALLS = np.linspace(0, 1, 21)  # of the precision-recall curve

_DRAWS = 10  # of CUHK03's first protocol


def evaluate_rank(
    distances: Distances,
    q_pids: np.ndarray,
    g_pids: np.ndarray,
    q_camids: np.ndarray,
    g_camids: np.ndarray,
    max_rank: int = 50,
    use_metric_cuhk03: bool = False,
) -> tuple[np.ndarray, float]:
    """Return the numbers of torchreid's function of this name (``metrics/rank.py``, in Python).

    A query is compared with the whole gallery but the images of its own person by its own camera.
    Queries for whom this leaves nobody to find do not count. Of equally distant gallery images the
    one with the lower number is nearer; torchreid leaves their order to numpy's unstable sort.

    The CMC is equal to the last bit, the mAP but for the order in which float64 are added up
    (1e-12). CUHK03's metric draws from numpy's global generator exactly as torchreid does.

    Args:
        distances: of Q queries to G gallery images, (Q, G): a numpy array, or what computes rows.
        q_pids, g_pids: people, whole numbers (Q,) and (G,). None of them is special here:
            torchreid's Market-1501 has dropped its junk images (-1) before, and keeps its
            distractors (0), whom no query looks for.
        q_camids, g_camids: cameras, (Q,) and (G,).
        max_rank: length of the CMC; shorter if there are fewer images to rank.
        use_metric_cuhk03: CUHK03's metric with its first split: the CMC is the mean of ten draws of
            one image of each person in the gallery. The mAP is that of the whole gallery.

    Returns:
        The CMC, float32 (``max_rank``,), 0..1: for each rank the share of the queries that count
        whose person is found up to it; and the mAP, 0..1.

    Raises:
        EvaluationError: arrays that do not fit together, distances that are not numbers, or no
            query that counts.
    """
    if max_rank < 1:
        raise EvaluationError(f"expected a max_rank of at least 1, found {max_rank}")
    labels = (q_pids, g_pids, q_camids, g_camids)
    if not use_metric_cuhk03:
        found = rank_queries(distances, *labels)
        return found.cmc(max_rank), np.mean(found.precision)
    people = _People(distances.shape, *labels)
    curves, precisions = [], []
    for _, row, matches, left_out in _queries(distances, people):
        ranks = _ranks(row, matches, left_out)
        precisions.append(np.mean(np.arange(1, len(ranks) + 1) / (ranks + 1)))
        kept = np.delete(np.arange(len(row)), left_out)
        person = people.gallery[matches[0]]
        curves.append(_single_shot_cmc(row[kept], people.gallery[kept], person, max_rank))
    if not curves:
        raise EvaluationError(people.nobody())
    return _mean(curves), np.mean(precisions)


class RankedQueries(NamedTuple):
    """Where the images of each query's person stand in the gallery, of the n queries that count.

    Attributes:
        queries: their numbers, (n,).
        first: how many images are nearer than the nearest right one, (n,).
        images: how many count for each, (n,).
        precision: average precision, 0..1, (n,).
        penalty: inverse negative penalty, 0..1, (n,): the person's images over the rank of the
            last of them. Source of its mean, mINP: Ye et al., "Deep Learning for Person
            Re-identification: A Survey and Outlook", TPAMI 2021, section 4.2.
        curve: precision at ``RECALLS``, 0..1, (n, 21), interpolated: the largest one at this
            recall or a higher one.
    """

    queries: np.ndarray
    first: np.ndarray
    images: np.ndarray
    precision: np.ndarray
    penalty: np.ndarray
    curve: np.ndarray

    def cmc(self, max_rank: int = 50) -> np.ndarray:
        """Return the share of queries whose person is found up to each rank, float32."""
        ranks = np.arange(min(max_rank, self.images.max()))
        hits = (ranks >= self.first[:, None]).astype(np.float32)
        return np.asarray(hits.sum(0) / np.float32(len(hits)))

    def of(self, chosen: np.ndarray) -> "RankedQueries":
        """Return some of the queries: their rows, or a boolean each."""
        return RankedQueries(*(values[chosen] for values in self))


def rank_queries(
    distances: Distances,
    q_pids: np.ndarray,
    g_pids: np.ndarray,
    q_camids: np.ndarray,
    g_camids: np.ndarray,
) -> RankedQueries:
    """Rank the gallery for every query; arguments, queries that count, errors: `evaluate_rank`."""
    people = _People(distances.shape, q_pids, g_pids, q_camids, g_camids)
    found: list[tuple[Any, ...]] = []
    for query, row, matches, left_out in _queries(distances, people):
        ranks = _ranks(row, matches, left_out)
        count = len(ranks)
        precision = np.arange(1, count + 1) / (ranks + 1)
        best = np.maximum.accumulate(precision[::-1])[::-1]
        curve = best[np.maximum(np.ceil(RECALLS * count - 1e-9).astype(int) - 1, 0)]
        images = len(row) - len(left_out)
        found.append((query, ranks[0], images, np.mean(precision), precision[-1], curve))
    if not found:
        raise EvaluationError(people.nobody())
    return RankedQueries(*(np.array(values) for values in zip(*found)))


def _queries(distances: Distances, people: "_People") -> Iterator[tuple[int, Any, Any, Any]]:
    """Yield the queries that count: number, distances, rows of right images, of left out ones."""
    for start, block in blocks(distances):
        if np.isnan(np.min(block, initial=0)):
            raise EvaluationError(
                "some distances are not numbers (NaN): see whether the embeddings are; those of a "
                "network that diverged in training are not"
            )
        for query, row in enumerate(block, start):
            matches, left_out = people.in_gallery(query)
            if len(matches):
                yield query, row, matches, left_out


class _People:
    """The right answers of each query, and those that do not count.

    Attributes:
        gallery: people on the gallery images, (G,), numbered from 0.
    """

    def __init__(self, shape: tuple[int, ...], *labels: np.ndarray) -> None:
        expected = [(n,) for n in shape] * 2
        if len(shape) != 2 or [np.shape(x) for x in labels] != expected:
            raise EvaluationError(
                "expected distances (Q, G), people (Q,) and (G,), and cameras (Q,) and (G,), found "
                f"{shape}, {', '.join(str(np.shape(x)) for x in labels)}"
            )
        query, gallery, self._query_cameras, self._cameras = map(np.asarray, labels)
        self._asked = query
        names, numbers = np.unique(gallery, return_inverse=True)
        self.gallery = numbers.astype(np.min_scalar_type(len(names)))  # small ones sort faster
        self._by_person = np.argsort(self.gallery, kind="stable")
        self._first = np.searchsorted(gallery[self._by_person], query)
        self._end = np.searchsorted(gallery[self._by_person], query, "right")

    def in_gallery(self, query: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the images of a query's person by other cameras, and by its own."""
        images = self._by_person[self._first[query] : self._end[query]]
        own = self._cameras[images] == self._query_cameras[query]
        return images[~own], images[own]

    def nobody(self) -> str:
        """Say that no query counts, and what there is."""
        cameras = np.union1d(self._query_cameras, self._cameras)
        return (
            "no query's person is in the gallery by another camera: there is nothing to find; "
            f"found {len(self._asked)} queries of {len(np.unique(self._asked))} people, a gallery "
            f"of {len(self.gallery)} images, {len(cameras)} cameras in all"
        )


def _ranks(row: np.ndarray, matches: np.ndarray, left_out: np.ndarray) -> np.ndarray:
    """Return how many gallery images are nearer than each of the ``matches``, ascending, from 0.

    Args:
        row: distances of a query to the gallery, (G,).
        matches: numbers of the images of its person, at least one.
        left_out: numbers of the images that do not count.
    """
    near = np.sort(row[row <= row[matches].max()])  # the rest is not nearer than any of them
    places, places_left_out = _places(row, near, matches), _places(row, near, left_out)
    return places - np.searchsorted(places_left_out, places)


def _places(row: np.ndarray, near: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return where images stand in the gallery, ascending; ``near``: its smallest distances."""
    distances = row[images]
    places = np.searchsorted(near, distances)
    for tied in np.flatnonzero(np.searchsorted(near, distances, "right") - places > 1):
        places[tied] += np.count_nonzero(row[: images[tied]] == distances[tied])
    return np.sort(places)


def _mean(curves: list[np.ndarray]) -> np.ndarray:
    """Return the mean of CMCs; one that ends before the longest stays at 1."""
    table = np.ones((len(curves), max(map(len, curves))), np.float32)
    for row, curve in zip(table, curves):
        row[: len(curve)] = curve
    return np.asarray(table.sum(0) / np.float32(len(curves)))


def _single_shot_cmc(row: np.ndarray, people: np.ndarray, own: int, max_rank: int) -> np.ndarray:
    """Return the mean CMC of a query over ten draws of one gallery image of each person.

    The draws are torchreid's, which calls ``np.random.choice`` for one person after the other,
    nearest first: here they are one call, which takes the same numbers from numpy's generator.

    Args:
        row: distances to the gallery images that count, (G,).
        people: on these images, (G,), numbered from 0; each number below the largest is there.
        own: number of the query's person.
        max_rank: length of the CMC; the number of people if that is smaller.

    Returns:
        Shares in 0..1, float32.
    """
    ranked = people[np.argsort(row, kind="stable")]
    places = np.argsort(ranked, kind="stable")  # person by person, ascending
    counts = np.bincount(ranked)
    first = np.cumsum(counts) - counts
    nearest = np.argsort(places[first])
    draws = np.random.randint(0, np.tile(counts[nearest], (_DRAWS, 1)))
    drawn = places[first[nearest] + draws]  # where each person's image stands, (draws, people)
    ranks = (drawn < drawn[:, nearest == own]).sum(1)
    hits = np.arange(min(max_rank, len(counts))) >= ranks[:, None]
    return np.asarray(hits.sum(0, dtype=np.float32) / np.float32(_DRAWS))
