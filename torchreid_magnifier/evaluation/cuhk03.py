"""CUHK03's first protocol: a gallery with a single image of each person, drawn ten times."""

import numpy as np

_DRAWS = 10


def single_shot_cmc(row: np.ndarray, people: np.ndarray, own: int, max_rank: int) -> np.ndarray:
    """The mean CMC of a query over ten draws of one gallery image of each person.

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
    return hits.sum(0, dtype=np.float32) / np.float32(_DRAWS)
