"""The nearest embeddings of a gallery to those of queries."""

import csv
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ..evaluation import SharedPartDistances
from ..evaluation.distances import blocks
from ..hub import Card, WeightsError
from ..parts import BACKGROUND
from .embedding_files import is_embedding_file, read_embeddings
from .embeddings import Embeddings, card_of, concatenated, require_comparable, require_finite
from .errors import RetrievalError
from .extract import embed
from .index import METRICS, ExactIndex, FaissIndex, Index, as_float
from .open import Network, open_network
from .sources import Place, find_sources, is_video

SCORES = {"cosine": "similarity", "euclidean": "distance"}
_BOX = ["track", "x1", "y1", "x2", "y2"]  # columns of a table of hits
_SPARE = 16  # candidates beyond those asked for, as float32 may order the last ones wrongly


class Ranking(NamedTuple):
    """The nearest rows of a gallery to each of Q queries, nearest first.

    Attributes:
        rows: int64 (Q, K); -1 where an approximate index found fewer than K.
        scores: of these, float64 (Q, K): cosine similarity -1..1, or Euclidean distance; NaN where
            there is no row.
    """

    rows: np.ndarray
    scores: np.ndarray


class Hit(NamedTuple):
    """A picture that was found: its rank from 1, its score, and where it is."""

    rank: int
    score: float
    place: Place


def search(
    queries: Embeddings,
    gallery: Embeddings,
    top: int = 10,
    metric: str = "cosine",
    index: Index | None = None,
    parts: float | None = None,
) -> Ranking:
    """Find the nearest embeddings.

    An index finds candidates in float32, some more than are asked for; their similarities are then
    computed in float64, and of equal ones the lower row comes first. So the result depends neither
    on how the gallery is cut into blocks nor, with exact indexes, on which one it is.

    Args:
        queries: Q embeddings.
        gallery: N embeddings of the same network.
        top: K; N if that is smaller.
        metric: ``cosine``, by which these networks' embeddings are compared, or ``euclidean``, of
            the embeddings as they are, not normalised.
        index: of the gallery, for the same metric; exact search with torch on the CPU if None.
        parts: search by ``SharedPartDistances`` with this share, with everything and in blocks; the
            scores are 1 - distance. Not with an index, or another metric than cosine.

    Raises:
        RetrievalError: queries and gallery are of different networks, the gallery is empty, or a
            query is not finite.
        ValueError: an unknown metric, or ``top`` below 1.
    """
    require_comparable(gallery.card, queries.card)
    if metric not in METRICS or top < 1:
        raise ValueError(
            f"expected a metric of {', '.join(METRICS)} and a top of at least 1, found {metric!r} "
            f"and {top}"
        )
    if not len(gallery):
        raise RetrievalError("the gallery is empty: there is nobody to find")
    require_finite(queries, "queries")
    if parts is not None:
        if index is not None or metric != "cosine":
            raise ValueError("a search by parts has no index and no metric but cosine")
        return _search_parts(queries, gallery, min(top, len(gallery)), parts)
    if index is None:
        index = ExactIndex(gallery.vectors, metric)
    top = min(top, len(gallery))
    candidates = index.nearest(as_float(queries.vectors).numpy(), min(top + _SPARE, len(gallery)))
    shape = len(queries), top
    ranking = Ranking(np.full(shape, -1, np.int64), np.full(shape, np.nan))
    for number, (query, rows) in enumerate(zip(queries.vectors, candidates)):
        rows = np.sort(rows[rows >= 0])
        scores = _scores(query, gallery.vectors[rows], metric)
        best = np.argsort(-scores if metric == "cosine" else scores, kind="stable")[:top]
        ranking.rows[number, : len(best)] = rows[best]
        ranking.scores[number, : len(best)] = scores[best]
    return ranking


def _search_parts(queries: Embeddings, gallery: Embeddings, top: int, share: float) -> Ranking:
    distances = SharedPartDistances(queries.parts("queries"), gallery.parts("the gallery"), share)
    shape = len(queries), top
    ranking = Ranking(np.empty(shape, np.int64), np.empty(shape))
    for start, block in blocks(distances):
        rows = np.sort(np.argpartition(block, top - 1, axis=1)[:, :top], axis=1)
        near = np.take_along_axis(block, rows, 1)
        order = np.argsort(near, axis=1, kind="stable")
        ranking.rows[start : start + len(block)] = np.take_along_axis(rows, order, 1)
        ranking.scores[start : start + len(block)] = 1 - np.take_along_axis(near, order, 1)
    return ranking


def exact_recall(
    queries: Embeddings, gallery: Embeddings, found: Ranking, top: int, metric: str
) -> tuple[int, float]:
    """Return K, and the share of the exactly nearest K that an index found."""
    exact = search(queries, gallery, top, metric, open_index("exact", gallery, metric))
    return exact.rows.shape[1], recall(found, exact)


def recall(found: Ranking, exact: Ranking) -> float:
    """Return the share of the exactly nearest rows that were found, 0..1, over all queries."""
    shares = [np.isin(e, f).mean() for e, f in zip(exact.rows, found.rows)]
    return float(np.mean(shares))


def read_queries(
    queries: Sequence[str],
    made: Card,
    weights: str | None = None,
    device: str | torch.device = "cpu",
    parts: bool = False,
) -> Embeddings:
    """Return embeddings to search with: pictures, embedded by the gallery's network, then files.

    Args:
        queries: images, folders and patterns (see ``find_sources``), and files of embeddings.
        made: card of the gallery: says which network embeds the images.
        weights: of that network, if they are not where they were.
        device: for it.
        parts: keep the features of the images' parts, for a search by parts.

    Raises:
        RetrievalError: a query cannot be read, is a video, or is of another network.
        WeightsError: the network cannot be opened.
    """
    blocks = [read_embeddings(query) for query in queries if is_embedding_file(query)]
    if sources := [query for query in queries if not is_embedding_file(query)]:
        paths = find_sources(sources)
        if videos := [path for path in paths if is_video(path)]:
            raise RetrievalError(
                f"{videos[0]}: a video cannot be a query: extract its embeddings, and give that "
                "file"
            )
        try:
            network = open_network(
                weights or made.name, made.model, made.height, made.width, device
            )
        except WeightsError as error:
            if weights:
                raise
            raise WeightsError(
                f"{error}. The gallery was made with these: if they are elsewhere now, give "
                "--weights"
            ) from error
        card = replace(network.card, mean=made.mean, std=made.std)
        network = replace(network, card=card)
        require_comparable(made, card_of(network))
        embedded, problems = embed(network, paths, parts=parts)
        if problems:
            raise RetrievalError("\n  ".join(["queries that cannot be read:", *problems]))
        blocks = [embedded, *blocks]
    for block in blocks:
        require_comparable(made, block.card)
    return concatenated(blocks)


def read_pictures(sources: Sequence[str], network: Callable[[], Network]) -> Embeddings:
    """Return the embeddings of pictures, or those of files of embeddings.

    Args:
        sources: images, folders, videos and patterns; or files of embeddings alone.
        network: opens the network for pictures.

    Raises:
        RetrievalError: files and pictures are mixed, the files are of several networks, or
            pictures cannot be read.
    """
    files = [source for source in sources if is_embedding_file(source)]
    if not files:
        embedded, problems = embed(network(), find_sources(sources), bar=True)
        if problems:
            raise RetrievalError("\n  ".join(["pictures that cannot be read:", *problems]))
        return embedded
    if len(files) < len(sources):
        raise RetrievalError("expected pictures, or files of embeddings alone, found both")
    blocks = [read_embeddings(file) for file in files]
    for block in blocks[1:]:
        require_comparable(blocks[0].card, block.card, files[0], "another file")
    return concatenated(blocks)


def open_index(
    kind: str,
    gallery: Embeddings,
    metric: str,
    device: str | torch.device = "cpu",
    file: Path | None = None,
    newer_than: str | os.PathLike[str] | None = None,
) -> Index:
    """Return an index of a gallery.

    Args:
        kind: ``exact``, or one of ``index.KINDS``.
        gallery: the embeddings.
        metric: ``cosine`` or ``euclidean``.
        device: of exact search.
        file: where FAISS's index is kept: it is read, or built and written if it is not there.
        newer_than: the gallery's file; an index that is older is refused.

    Raises:
        RetrievalError: FAISS is not installed, or ``file`` is of something else.
        OSError: ``file`` cannot be written.
    """
    if kind == "exact":
        return ExactIndex(gallery.vectors, metric, device)
    if file is not None and file.exists():
        if newer_than is not None and file.stat().st_mtime < os.stat(newer_than).st_mtime:
            raise RetrievalError(
                f"{file} is older than {newer_than}: delete it to build it anew, or give another "
                "file"
            )
        return FaissIndex.load(file, kind, gallery.vectors, metric)
    index = FaissIndex.build(kind, gallery.vectors, metric)
    if file is not None:
        index.save(file)
    return index


def hits(gallery: Embeddings, found: Ranking, query: int) -> Iterator[Hit]:
    """Yield the pictures that were found for a query, nearest first."""
    for rank, (row, score) in enumerate(zip(found.rows[query], found.scores[query]), 1):
        if row >= 0:
            yield Hit(rank, float(score), gallery.place(row))


def hits_as_csv(queries: Embeddings, gallery: Embeddings, found: Ranking, metric: str) -> str:
    """Return all hits as a table: query, query_frame, rank, similarity or distance, path, frame.

    Where there are boxes, also the track and the box in pixels, of queries as ``query_track``, ….
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    asked, answered = ([] if one.boxes is None else _BOX for one in (queries, gallery))
    names = ["query", "query_frame", *(f"query_{name}" for name in asked), "rank", SCORES[metric]]
    writer.writerow([*names, "path", "frame", *answered])
    for number in range(len(queries)):
        for rank, score, place in hits(gallery, found, number):
            query = _cells(queries.place(number), len(asked))
            writer.writerow([*query, rank, f"{score:.6f}", *_cells(place, len(answered))])
    return text.getvalue()


def hits_as_text(
    queries: Embeddings,
    number: int,
    gallery: Embeddings,
    found: Ranking,
    metric: str,
    same_from: float | None = None,
) -> str:
    """Return a query, the shares of its parts, and its hits as lines of text.

    With ``same_from`` also the answer, which is the nearest from this score on.
    """
    lines = [str(queries.place(number))]
    if queries.visibility is not None:
        shares = [
            f"{name.replace('_', ' ')} {share:.0%}"
            for part, (name, share) in enumerate(
                zip(queries.card.parts, queries.visibility[number])
            )
            if part != BACKGROUND
        ]
        lines.append(f"  parts: {', '.join(shares)}")
    lines.append(f"  rank  {SCORES[metric]:>10}  picture")
    for rank, score, place in hits(gallery, found, number):
        who = "" if gallery.people is None else gallery.people[found.rows[number, rank - 1]]
        lines.append(f"  {rank:4}  {score:10.4f}  {place}" + (f"  {who}" if who else ""))
    if same_from is not None:
        nearest = next(hits(gallery, found, number))
        answer = nearest.place if nearest.score >= same_from else "unknown"
        lines.append(f"  answer: {answer} (the same person from {same_from:.4f} on)")
    return "\n".join(lines)


def _cells(place: Place, boxes: int) -> list[object]:
    """A place as cells of a table, which has so many for the track and the box."""
    box = ["" if place.box is None else f"{number:.1f}" for number in place.box or [0] * 4]
    return [place.path, place.frame, *[place.track, *box][:boxes]]


def _scores(query: np.ndarray, vectors: np.ndarray, metric: str) -> np.ndarray:
    """(D,), (n, D) -> (n,) in float64; of zeros the cosine is 0."""
    one, many = query.astype(np.float64), vectors.astype(np.float64)
    if metric == "euclidean":
        return np.asarray(np.linalg.norm(many - one, axis=1))
    # Not by a matrix product, which may round equal rows differently.
    products = (many * one).sum(1)
    lengths = np.linalg.norm(many, axis=1) * np.linalg.norm(one)
    return np.asarray(np.divide(products, lengths, out=np.zeros(len(many)), where=lengths != 0))
