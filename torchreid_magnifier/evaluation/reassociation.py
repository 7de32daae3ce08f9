"""Finding a person again some frames later, among the people who are there then."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .distances import EvaluationError, PairwiseDistances


class Reassociation(NamedTuple):
    """What became of the boxes that were asked with.

    Attributes:
        queries: how many count.
        rank1: share of them whose person is the nearest box, 0..1.
        reciprocal_rank: mean of one over the rank of the person, 0..1.
        candidates: mean number of boxes to choose from.
        skipped: reason -> number of the boxes that do not count.
    """

    queries: int
    rank1: float
    reciprocal_rank: float
    candidates: float
    skipped: dict[str, int]

    def __str__(self) -> str:
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.skipped.items())
        return (
            f"{self.queries} boxes, each among {self.candidates:.1f}: rank-1 "
            f"{100 * self.rank1:.1f}, mean reciprocal rank {100 * self.reciprocal_rank:.1f} "
            f"(not counted: {reasons})"
        )


def reassociate(
    embeddings: Tensor | np.ndarray,
    people: np.ndarray,
    frames: np.ndarray,
    gap: int,
    *,
    stride: int = 1,
    sequences: np.ndarray | None = None,
) -> Reassociation:
    """Return how well people are found again ``gap`` frames later, by the cosine distance.

    Each box of a frame is compared with all boxes of the frame ``gap`` later in its sequence. It
    counts if its person is among them, and somebody else too. This is the protocol of the package
    ``reid`` 0.1. Of equally distant boxes the person's own comes last: nothing is won by a tie.

    Args:
        embeddings: of N boxes, (N, D).
        people: number of the person in each, such as that of a track, (N,).
        frames: number of the frame, (N,).
        gap: frames between both.
        stride: boxes are asked with in the frames whose number is a multiple of it.
        sequences: video of each, (N,); None: all are of one.

    Raises:
        EvaluationError: arrays that do not fit together, a person twice in a frame, or no box that
            counts.
    """
    people, frames = np.asarray(people), np.asarray(frames)
    videos = np.zeros(len(frames), int) if sequences is None else np.asarray(sequences)
    if gap < 1 or stride < 1:
        raise EvaluationError(f"expected a gap and a stride of 1 or more, found {gap} and {stride}")
    if not len(embeddings) == len(people) == len(frames) == len(videos):
        raise EvaluationError(
            "expected embeddings, people, frames and sequences of as many boxes, found "
            f"{len(embeddings)}, {len(people)}, {len(frames)} and {len(videos)}"
        )
    video = np.unique(videos, return_inverse=True)[1]
    groups: dict[tuple[int, int], list[int]] = {}
    for row, key in enumerate(zip(video.tolist(), frames.tolist())):
        groups.setdefault(key, []).append(row)
    vectors = torch.as_tensor(embeddings)
    skipped = dict.fromkeys(("no such frame", "nobody else there", "person not there"), 0)
    ranks: list[Any] = []
    choices: list[int] = []
    for (number, frame), asked in groups.items():
        if len(set(people[asked])) < len(asked):
            raise EvaluationError(
                f"frame {frame} has two boxes of one person: expected a track's number once in "
                "each frame"
            )
        if frame % stride:
            continue
        there = groups.get((number, frame + gap), [])
        same = people[asked][:, None] == people[there]
        if len(there) < 2:
            skipped["nobody else there" if there else "no such frame"] += len(asked)
            continue
        skipped["person not there"] += int((~same.any(1)).sum())
        counted = same.any(1)
        distances = PairwiseDistances(vectors[asked], vectors[there], "cosine")[:][counted]
        own = distances[same[counted]]
        ranks.append((distances <= own[:, None]).sum(1))
        choices += [len(there)] * int(counted.sum())
    if not choices:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in skipped.items())
        raise EvaluationError(
            f"no box's person is there {gap} frames later, beside somebody else ({reasons}): take "
            "another gap, or see whether boxes have their tracks' numbers"
        )
    rank = np.concatenate(ranks)
    return Reassociation(
        len(rank),
        float((rank == 1).mean()),
        float((1 / rank).mean()),
        float(np.mean(choices)),
        skipped,
    )
