"""``torchreid-magnifier extract``: the embeddings of images and videos, in one file."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..inference.extract import extract
from . import FAILED
from .arguments import Parser, add_batch_size, positive
from .network_options import add_network_options, chosen_network


def main(argv: Sequence[str]) -> int:
    """Run the subcommand. Returns the exit status: 0, or 1 if pictures could not be used."""
    args = _parse(argv)
    network = chosen_network(args)
    written = extract(
        network,
        args.sources,
        args.out,
        batch_size=args.batch_size,
        workers=args.workers,
        dtype="float16" if args.fp16 else "float32",
        every=args.every,
        overwrite=args.overwrite,
    )
    before = f" ({written.continued} pictures by an interrupted run)" if written.continued else ""
    print(
        f"{args.out}: {written.rows} embeddings of {written.size} values, not L2-normalised{before}"
    )
    if written.problems:
        lines = [f"pictures or videos that could not be used: {len(written.problems)}"]
        print("\n  ".join(lines + written.problems), file=sys.stderr)
        return FAILED
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog="torchreid-magnifier extract",
        description="Write the embeddings of person crops, the share of each body part in them, "
        "and what they were made with. The embeddings are not L2-normalised: compare them by "
        "cosine. A run that was interrupted goes on when the same command is given again.",
    )
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="image, video, folder (with all below it), or pattern in quotes, such as "
        "'crops/**/*.jpg'",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="new file, .npz or .parquet"
    )
    add_network_options(parser)
    parser.add_argument(
        "--every",
        type=positive,
        default=1,
        metavar="N",
        help="of videos, take every Nth frame (default: all)",
    )
    parser.add_argument("--fp16", action="store_true", help="keep the embeddings as float16")
    add_batch_size(parser)
    parser.add_argument(
        "--workers",
        type=positive,
        default=4,
        metavar="N",
        help="threads that read pictures (default: 4)",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace FILE, and an unfinished run with other settings",
    )
    return parser.parse_args(argv)
