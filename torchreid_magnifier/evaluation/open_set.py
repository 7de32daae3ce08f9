"""Finding people who may not be in the gallery at all."""

from typing import NamedTuple

import numpy as np

from .distances import Distances, EvaluationError, blocks

FALSE_ALARMS = (0.01, 0.1)


class OpenSet(NamedTuple):
    """Detection and identification rates, each of several draws of who is in the gallery.

    Attributes:
        rates: of false alarms, (F,).
        found: detection and identification rate at these, 0..1, (draws, F); NaN where there are
            fewer queries of strangers than one over the rate.
        thresholds: distance below which an answer is given, (draws, F); NaN likewise.
        known, strangers: number of queries of either kind, (draws,).
    """

    rates: np.ndarray
    found: np.ndarray
    thresholds: np.ndarray
    known: np.ndarray
    strangers: np.ndarray


def open_set(
    distances: Distances,
    q_pids: np.ndarray,
    g_pids: np.ndarray,
    q_camids: np.ndarray,
    g_camids: np.ndarray,
    rates: tuple[float, ...] = FALSE_ALARMS,
    *,
    draws: int = 10,
    seed: int = 0,
) -> OpenSet:
    """Return how many queries are found where half of the people asked for are strangers.

    In each draw the images of half of the people are taken out of the gallery. A false alarm is a
    query of such a stranger whose nearest image is below the threshold; the threshold is the
    largest with at most ``rate`` of them. A query of anybody else is found if its nearest image is
    of its person and below the threshold: DIR(threshold, rank 1) of Grother, Ngan and Hanaoka,
    "Face Recognition Vendor Test, part 2: identification", 2019. Queries that count are those of
    ``evaluate_rank``, images of the query's person by its own camera are passed over, and
    distractors stay in the gallery.

    Args:
        distances: of Q queries to G gallery images, (Q, G).
        q_pids, g_pids, q_camids, g_camids: see ``evaluate_rank``.
        rates: of false alarms, 0..1.
        draws: how often half of the people are drawn.
        seed: of these.

    Raises:
        EvaluationError: fewer than two people, or too few of their queries for every rate.
    """
    q_pids, g_pids, q_camids, g_camids = map(np.asarray, (q_pids, g_pids, q_camids, g_camids))
    names, person = np.unique(g_pids, return_inverse=True)
    order = np.argsort(person, kind="stable")
    first = np.searchsorted(person[order], np.arange(len(names)))
    column = np.searchsorted(names, q_pids).clip(0, len(names) - 1)
    # Of every query the nearest image of each person; of its own person by other cameras.
    nearest = np.empty((len(q_pids), len(names)), np.float32)
    own = np.full(len(q_pids), np.inf, np.float32)
    for start, block in blocks(distances):
        stop = start + len(block)
        nearest[start:stop] = np.minimum.reduceat(block[:, order], first, axis=1)
        for query in range(start, stop):
            rows = np.flatnonzero((g_pids == q_pids[query]) & (g_camids != q_camids[query]))
            own[query] = block[query - start, rows].min(initial=np.inf)
    counted = np.flatnonzero(np.isfinite(own))
    people = np.unique(column[counted])
    if len(people) < 2:
        raise EvaluationError(
            "an open set needs queries of two people or more who are in the gallery by another "
            f"camera, found {len(people)}: some have to be strangers"
        )
    nearest[counted, column[counted]] = np.inf  # the own person is compared by itself
    chance = np.random.default_rng(seed)
    results: list[tuple[list[float], list[float], int, int]] = []
    for _ in range(draws):
        left_out = np.zeros(len(names), bool)
        left_out[chance.permutation(people)[: len(people) // 2]] = True
        stranger = left_out[column[counted]]
        others = np.where(left_out, np.inf, nearest[counted]).min(1)
        alarms, known = np.sort(others[stranger]), counted[~stranger]
        allowed = [int(rate * len(alarms) + 1e-9) for rate in rates]
        if not any(allowed):
            needed = int(np.ceil(1 / max(rates)))
            raise EvaluationError(
                f"a false alarm rate of {100 * max(rates):g} % needs {needed} queries of strangers "
                f"or more, found {len(alarms)}: take a higher rate"
            )
        below = [float(alarms[count]) if count else np.nan for count in allowed]
        right = own[known] < others[~stranger]
        found = [
            np.nan if np.isnan(threshold) else float((right & (own[known] < threshold)).mean())
            for threshold in below
        ]
        results.append((found, below, len(known), len(alarms)))
    return OpenSet(np.array(rates), *(np.array(values) for values in zip(*results)))
