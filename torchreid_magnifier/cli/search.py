"""``torchreid-magnifier search``: the pictures of a gallery that are nearest to queries."""

import argparse
import csv
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..files import write_atomically
from ..hub import WeightsError
from ..inference.network import Network
from ..inference.retrieval import (
    Embeddings,
    ExactIndex,
    FaissIndex,
    Metadata,
    Place,
    Ranking,
    RetrievalError,
    embed,
    find_sources,
    read_embeddings,
    recall,
    search,
)
from ..inference.retrieval.embeddings import concatenated
from ..inference.retrieval.faiss_index import APPROXIMATE, KINDS
from ..inference.retrieval.files import is_embedding_file
from ..inference.retrieval.pictures import read_places
from ..inference.retrieval.search import METRICS, Index
from ..inference.retrieval.sources import is_video
from ..parts import BACKGROUND
from ..training.config import ConfigError
from . import FAILED
from .arguments import check_picture, positive
from .network_options import add_device, chosen_network
from .show.options import image_name

_DRAWN = 20  # queries, at most
_SCORES = {"cosine": "similarity", "euclidean": "distance"}


def main(argv: Sequence[str]) -> int:
    """Run the subcommand.

    Returns:
        The exit status: 0, or 1 if pictures could not be drawn.
    """
    args = _parse(argv)
    _check(args)
    gallery = read_embeddings(args.gallery)
    queries = _queries(args, gallery)
    found = search(queries, gallery, args.top, args.metric, _index(args, gallery))
    for number in range(len(queries)):
        print("\n".join(_table(queries, number, gallery, found, args.metric)), end="\n\n")
    if args.index in APPROXIMATE:
        exact = search(
            queries, gallery, args.top, args.metric, ExactIndex(gallery.vectors, args.metric)
        )
        share = recall(found, exact)
        print(f"recall@{exact.rows.shape[1]} of {args.index} against exact search: {share:.3f}")
    if args.csv:
        write_atomically(args.csv, _csv(queries, gallery, found, args.metric).encode())
        print(f"{args.csv}: {(found.rows >= 0).sum()} hits")
    return _draw(args, queries, gallery, found) if args.out else 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="torchreid-magnifier search",
        description="Find the pictures of a gallery, made by 'torchreid-magnifier extract', that "
        "are nearest to queries.",
    )
    parser.add_argument("--gallery", type=Path, required=True, metavar="FILE")
    parser.add_argument(
        "queries",
        nargs="+",
        metavar="QUERY",
        help="image, folder or pattern as for extract, or another file of embeddings",
    )
    parser.add_argument(
        "--weights",
        metavar="NAME|FILE",
        help="for images: the weights of the gallery, if they are not where they were",
    )
    add_device(parser)
    parser.add_argument("--top", type=positive, default=10, metavar="K", help="default: 10")
    parser.add_argument("--metric", choices=METRICS, default=METRICS[0], help="default: cosine")
    parser.add_argument(
        "--index",
        choices=("exact", *KINDS),
        default="exact",
        help="exact (default) compares with everything; flat does so by FAISS; hnsw and ivf are "
        "approximate",
    )
    parser.add_argument(
        "--index-file",
        type=Path,
        metavar="FILE",
        help="keep the index of FAISS here, and use it if it is here",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help=f"a picture of the first {_DRAWN} queries' hits"
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="the hits of all queries")
    return parser.parse_args(argv)


def _check(args: argparse.Namespace) -> None:
    """What can be found before any work."""
    if args.out:
        check_picture(args.out)
    for option in ("csv", "index_file"):
        path = getattr(args, option)
        if path and (path.is_dir() or not path.absolute().parent.is_dir()):
            raise ConfigError(
                f"--{option.replace('_', '-')}: expected a file in a folder that is there, "
                f"found {path}"
            )
    if args.index_file and args.index == "exact":
        raise ConfigError("--index-file goes with an index of FAISS: give --index too")


def _queries(args: argparse.Namespace, gallery: Embeddings) -> Embeddings:
    """Pictures, embedded by the gallery's network, then those of files."""
    blocks = [read_embeddings(query) for query in args.queries if is_embedding_file(query)]
    if sources := [query for query in args.queries if not is_embedding_file(query)]:
        paths = find_sources(sources)
        if videos := [path for path in paths if is_video(path)]:
            raise RetrievalError(
                f"{videos[0]}: a video cannot be a query: extract its embeddings, and give that "
                "file"
            )
        network = _network(args, gallery.metadata)
        embedded, faults = embed(network, paths)
        if faults:
            raise RetrievalError("\n  ".join(["queries that cannot be read:", *faults]))
        blocks = [embedded, *blocks]
    for block in blocks:
        gallery.metadata.require_comparable(block.metadata)
    return concatenated(blocks)


def _network(args: argparse.Namespace, metadata: Metadata) -> Network:
    """The gallery's: the gallery tells what a bare checkpoint does not."""
    args.model, args.height, args.width = metadata.model, metadata.height, metadata.width
    try:
        network = chosen_network(args, args.weights or metadata.weights)
    except WeightsError as error:
        if args.weights:
            raise
        raise WeightsError(
            f"{error}. The gallery was made with these: if they are elsewhere now, give --weights"
        ) from error
    network = replace(network, preprocessing=metadata.preprocessing)
    metadata.require_comparable(Metadata.of(network))
    return network


def _index(args: argparse.Namespace, gallery: Embeddings) -> Index:
    if args.index == "exact":
        return ExactIndex(gallery.vectors, args.metric, args.device)
    path = args.index_file
    if path and path.exists():
        if path.stat().st_mtime < args.gallery.stat().st_mtime:
            raise RetrievalError(
                f"{path} is older than {args.gallery}: delete it to build it anew, or give "
                "another file"
            )
        return FaissIndex.load(path, args.index, gallery.vectors, args.metric)
    index = FaissIndex.build(args.index, gallery.vectors, args.metric)
    if path:
        index.save(path)
        print(f"{path}: index {args.index} of {len(gallery)} embeddings\n")
    return index


def _hits(gallery: Embeddings, found: Ranking, number: int) -> Iterator[tuple[int, float, Place]]:
    """Rank, score and place of a query's hits."""
    for rank, (row, score) in enumerate(zip(found.rows[number], found.scores[number]), 1):
        if row >= 0:
            yield rank, score, gallery.place(row)


def _table(
    queries: Embeddings, number: int, gallery: Embeddings, found: Ranking, metric: str
) -> Iterator[str]:
    yield str(queries.place(number))
    if queries.visibility is not None:
        yield f"  parts: {_parts(queries, queries.visibility[number])}"
    yield f"  rank  {_SCORES[metric]:>10}  picture"
    for rank, score, place in _hits(gallery, found, number):
        yield f"  {rank:4}  {score:10.4f}  {place}"


def _parts(queries: Embeddings, shares: np.ndarray) -> str:
    """The share of a picture that each part has, without the background."""
    names = [name.replace("_", " ") for name in queries.metadata.parts]
    return ", ".join(
        f"{name} {share:.0%}"
        for part, (name, share) in enumerate(zip(names, shares))
        if part != BACKGROUND
    )


def _csv(queries: Embeddings, gallery: Embeddings, found: Ranking, metric: str) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["query", "query_frame", "rank", _SCORES[metric], "path", "frame"])
    for number in range(len(queries)):
        for rank, score, place in _hits(gallery, found, number):
            writer.writerow([*queries.place(number), rank, f"{score:.6f}", *place])
    return text.getvalue()


def _draw(
    args: argparse.Namespace, queries: Embeddings, gallery: Embeddings, found: Ranking
) -> int:
    """Draws the hits of the first queries; returns the exit status: 1 if images are missing."""
    from ..figures import Hit, RankingExample, rankings_figure, save

    count = min(len(queries), _DRAWN)
    hits = [list(_hits(gallery, found, number)) for number in range(count)]
    asked = [queries.place(number) for number in range(count)]
    images = read_places([*asked, *(place for ranking in hits for _, _, place in ranking)])
    nothing = np.full((gallery.metadata.height, gallery.metadata.width, 3), 230, np.uint8)

    def image(place: Place) -> np.ndarray:
        read = images[place]
        return nothing if read is None else np.asarray(read)

    examples = [
        RankingExample(
            image(query),
            {
                "nearest in the gallery": [
                    Hit(image(place), None, f"{score:.3f}") for _, score, place in ranking
                ]
            },
            image_name(query.path),
        )
        for query, ranking in zip(asked, hits)
    ]
    title = f"{args.gallery.name}: {len(gallery)} pictures\n"
    title += f"Nearest from left to right, with their {args.metric} {_SCORES[args.metric]}."
    save(rankings_figure(examples, title), args.out)
    print(f"{args.out}: {count} of {len(queries)} queries")
    missing = [place for place, read in images.items() if read is None]
    if missing:
        lines = [f"drawn as grey, because they cannot be read here: {len(missing)}"]
        print("\n  ".join([*lines, *map(str, missing)]), file=sys.stderr)
        return FAILED
    return 0
