"""Tracklets: one embedding for all crops of a person, by how much of the body each one shows."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np

from ..parts import BACKGROUND
from .embeddings import Embeddings
from .errors import RetrievalError
from .index import as_float, blocks
from .sources import NO_TRACK, sequence_of

Weights: TypeAlias = Literal["visible", "equal"]


def tracklets(
    embeddings: Embeddings, tracks: np.ndarray | None = None, weights: Weights = "visible"
) -> Embeddings:
    """Return one embedding for each track: the weighted mean of its crops', each of length 1.

    The direction is that of the mean, and the length the mean of theirs. A tracklet is found and
    drawn by the crop that is most like it.

    Args:
        embeddings: of N crops, perhaps mapped from a file.
        tracks: a number for each crop, -1 of none, (N,). If None, those of ``embeddings``, where a
            number means another person in each video and each folder of frames.
        weights: ``visible``, see ``visible_weights``; or ``equal``.

    Returns:
        Embeddings by the first crop of each track, with the number of their ``crops``, the mean of
        their scores and of their visibility. Crops of no track are left out.

    Raises:
        RetrievalError: there are no tracks.
    """
    if tracks is not None:
        embeddings = replace(embeddings, tracks=np.asarray(tracks, np.int32))
    facts = replace(embeddings, vectors=embeddings.vectors[:, :0])
    vectors = embeddings.vectors
    return combined(lambda: (b for _, b in blocks(vectors)), facts, tracks is None, weights)


def visible_weights(visibility: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return how much of the body each crop shows, against its track's median crop.

    The mean over the body parts of ``min(1, share / median share)``: a crop in which the legs are
    hidden, or the person is cut off, weighs less than a whole one; one that shows more of a part
    than most does not weigh more. A part that most crops lack does not count.

    Args:
        visibility: share of each part in each crop, background first, (N, K).
        groups: number of each crop's track, from 0, (N,).

    Returns:
        float64 (N,), 0..1; 1 for all crops of a track whose median crop shows no part.
    """
    body = np.delete(np.asarray(visibility, np.float64), BACKGROUND, axis=1)
    weights = np.ones(len(groups))
    order = np.argsort(groups, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        median = np.median(body[rows], axis=0)
        if (there := median > 0).any():
            weights[rows] = (body[rows][:, there] / median[there]).clip(max=1).mean(1)
    return weights


def combined(
    vectors: Callable[[], Iterable[np.ndarray]],
    facts: Embeddings,
    by_source: bool = True,
    weights: Weights = "visible",
) -> Embeddings:
    """Return ``tracklets`` of embeddings that are too many for the memory.

    Args:
        vectors: gives the embeddings in blocks, whenever it is called; it is twice.
        facts: all about the crops but their embeddings, which are (N, 0).
        by_source: a number of a track means another person in each video and each folder.
        weights: as for ``tracklets``.

    Raises:
        RetrievalError: there are no tracks.
    """
    numbers = facts.tracks
    if numbers is None or (numbers == NO_TRACK).all():
        raise RetrievalError("no crop belongs to a track: there is nothing to make tracklets of")
    kept = np.flatnonzero(numbers != NO_TRACK)
    sources = [sequence_of(str(path)) if by_source else "" for path in facts.paths[kept]]
    keys = list(zip(sources, numbers[kept].tolist()))
    known = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    groups = np.array([known[key] for key in keys])
    shares = None if facts.visibility is None else facts.visibility[kept]
    weight = np.ones(len(kept))
    if weights == "visible" and shares is not None:
        weight = np.maximum(visible_weights(shares, groups), 1e-6)  # a track of such crops only
    total = np.bincount(groups, weight)

    def mean(column: np.ndarray) -> np.ndarray:
        """(n, ...) of the crops -> (T, ...), weighted."""
        sums = np.zeros((len(known), *column.shape[1:]))
        np.add.at(sums, groups, (column.T * weight).T)
        return (sums.T / total).T

    # Of each block only the crops with tracks, and where they stand among them.
    sums, lengths = None, np.empty(len(kept))
    for rows, block in _aligned(vectors(), kept):
        unit = as_float(block).double().numpy()
        lengths[rows] = np.linalg.norm(unit, axis=1)
        unit /= np.maximum(lengths[rows], np.finfo(float).tiny)[:, None]
        if sums is None:
            sums = np.zeros((len(known), unit.shape[1]))
        np.add.at(sums, groups[rows], unit * weight[rows, None])
    assert sums is not None
    directions = sums / np.maximum(np.linalg.norm(sums, axis=1), np.finfo(float).tiny)[:, None]
    alike, kind = np.empty(len(kept)), np.dtype(np.float32)
    for rows, block in _aligned(vectors(), kept):
        alike[rows] = (as_float(block).double().numpy() * directions[groups[rows]]).sum(1)
        kind = block.dtype
    alike /= np.maximum(lengths, np.finfo(float).tiny)
    nearest = np.lexsort((np.arange(len(kept)), -alike, groups))
    best = kept[nearest[np.searchsorted(groups[nearest], np.arange(len(known)))]]
    return Embeddings(
        facts.paths[best],
        facts.frames[best],
        (directions * mean(lengths)[:, None]).astype(kind),
        None if shares is None else mean(shares).astype(np.float32),
        facts.card,
        None if facts.boxes is None else facts.boxes[best],
        np.array([number for _, number in known], np.int32),
        None if facts.scores is None else mean(facts.scores[kept]).astype(np.float32),
        np.bincount(groups).astype(np.int32),
    )


def _aligned(
    given: Iterable[np.ndarray], kept: np.ndarray
) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    start = 0
    for block in given:
        rows = np.arange(*np.searchsorted(kept, [start, start + len(block)]))
        if len(rows):
            yield rows, block[kept[rows] - start]
        start += len(block)
