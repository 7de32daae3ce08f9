"""``torchreid-magnifier search``: the pictures of a gallery that are nearest to queries."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..evaluation.shared_parts import SHARE
from ..figures import check_picture, save
from ..files import check_file, write_atomically
from ..inference.decide import same_from
from ..inference.explain.sheets import search_sheet
from ..inference.gallery import Where, in_file, open_gallery, seconds
from ..inference.index import APPROXIMATE, KINDS, METRICS
from ..inference.search import (
    exact_recall,
    hits_as_csv,
    hits_as_text,
    open_index,
    read_queries,
    search,
)
from ..training.config import ConfigError
from . import report
from .arguments import Parser, add_calibration, add_flag, add_path, positive
from .network_options import add_device

_DRAWN = 20  # queries, at most
_SAMPLE = 1000  # rows of a gallery whose scores are compared with a calibration's


def main(argv: Sequence[str]) -> int:
    """Run the subcommand. Returns the exit status: 1 if found pictures cannot be drawn."""
    args = _parse(argv)
    _check(args)
    store = open_gallery(args.gallery)
    queries = read_queries(args.queries, store.card, args.weights, args.device, args.parts)
    where = Where(args.person, args.camera, args.track, args.since, args.until)
    gallery = store.nearest(queries, args.top, where)
    new = args.index_file and not args.index_file.exists()
    index = None
    if not args.parts:
        index = open_index(
            args.index, gallery, args.metric, args.device, args.index_file, args.gallery
        )
    if new:
        print(f"{args.index_file}: index {args.index} of {len(gallery)} embeddings\n")
    share = SHARE if args.parts else None
    found = search(queries, gallery, args.top, args.metric, index, share)
    threshold = None
    if args.calibration:
        some = store.some(_SAMPLE)
        threshold, notice = same_from(args.calibration, args.same_at, queries, some, share or 0)
        if notice:
            print(f"torchreid-magnifier search: warning: {notice}", file=sys.stderr)
    for number in range(len(queries)):
        print(hits_as_text(queries, number, gallery, found, args.metric, threshold), end="\n\n")
    if args.index in APPROXIMATE:
        top, recalled = exact_recall(queries, gallery, found, args.top, args.metric)
        print(f"recall@{top} of {args.index} against exact search: {recalled:.3f}")
    if args.csv:
        write_atomically(args.csv, hits_as_csv(queries, gallery, found, args.metric).encode())
        print(f"{args.csv}: {(found.rows >= 0).sum()} hits")
    if args.out:
        figure, line, missing = search_sheet(
            queries, gallery, found, args.metric, Path(args.gallery).name, _DRAWN
        )
        save(figure, args.out)
        print(f"{args.out}: {line}")
        return report("drawn as grey, because they cannot be read here", missing)
    return 0


def _check(args: argparse.Namespace) -> None:
    """Check what can be checked before any work."""
    if args.out:
        check_picture(args.out)
    check_file("--csv", args.csv)
    check_file("--index-file", args.index_file)
    if (args.same_at is None) != (args.calibration is None):
        raise ConfigError("--same-at and --calibration go together: give both")
    if args.calibration and args.metric != "cosine":
        raise ConfigError("--same-at: a calibration is of cosine similarities: leave out --metric")
    if args.parts and (args.index != "exact" or args.metric != "cosine"):
        raise ConfigError("--parts: a search by parts is exact and by cosine: leave out the others")
    some = args.person or args.camera or args.track or (args.since, args.until) != (None, None)
    if args.index != "exact" and (some or not in_file(args.gallery)):
        raise ConfigError("--index is for whole files of embeddings: leave it out")
    if not in_file(args.gallery) and (args.metric != "cosine" or args.parts):
        raise ConfigError("Milvus finds by cosine of whole embeddings: leave out --metric, --parts")
    if args.index_file and args.index == "exact":
        raise ConfigError("--index-file goes with an index of FAISS: give --index too")


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        "search",
        "Find the pictures of a gallery, made by 'torchreid-magnifier extract', that "
        "are nearest to queries.",
    )
    what = "of extract; or a gallery of 'torchreid-magnifier gallery'"
    parser.add_argument("--gallery", required=True, metavar="FILE", help=what)
    what = "image, folder or pattern as for extract, or another file of embeddings"
    parser.add_argument("queries", nargs="+", metavar="QUERY", help=what)
    what = "for images: the weights of the gallery, if they are not where they were"
    parser.add_argument("--weights", metavar="NAME|FILE", help=what)
    add_device(parser)
    for name, kind in (("person", str), ("camera", str), ("track", int)):
        parser.add_argument(
            f"--{name}", type=kind, action="append", default=[], help="only this (or these) of it"
        )
    for name, word in (("since", "from"), ("until", "up to")):
        parser.add_argument(
            f"--{name}", type=seconds, metavar="TIME", help=f"only {word} then: 2026-05-01T12:30"
        )
    parser.add_argument("--top", type=positive, default=10, metavar="K", help="default: 10")
    parser.add_argument("--metric", choices=METRICS, default=METRICS[0], help="default: cosine")
    parser.add_argument(
        "--index",
        choices=("exact", *KINDS),
        default="exact",
        help="exact (default) compares with everything; flat does so by FAISS; hnsw and ivf are "
        "approximate",
    )
    add_path(parser, "--index-file", "keep the index of FAISS here, and use it if it is here")
    what = "compare the body parts that both pictures show, for people who are partly hidden; the "
    what += "gallery must have been extracted with --parts"
    add_flag(parser, "--parts", what)
    add_calibration(
        parser,
        "answer with the nearest or 'unknown', by the similarity that has this rate of false "
        "matches, such as 1%%, in --calibration",
    )
    add_path(parser, "--out", f"a picture of the first {_DRAWN} queries' hits")
    add_path(parser, "--csv", "the hits of all queries")
    return parser.parse_args(argv)
