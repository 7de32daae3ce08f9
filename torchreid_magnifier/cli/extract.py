"""``torchreid-magnifier extract``: the embeddings of images and videos, in one file."""

import argparse
from collections.abc import Sequence

from ..distributed.launch import joined_on, printing_once
from ..inference.detections import Detections, read_sources
from ..inference.extract import extract
from . import report
from .arguments import Parser, add_batch_size, add_count, add_flag, add_path
from .network_options import add_network_options, chosen_network


def main(argv: Sequence[str]) -> int:
    """Run the subcommand. Returns the exit status: 0, or 1 if pictures could not be used."""
    with printing_once():
        args = _parse(argv)
    with joined_on(args.device) as processes:
        network = processes.together(lambda: chosen_network(args))
        chosen = {k: getattr(args, k) for k in ("min_score", "classes", "tracklets", "every")}
        sources = processes.from_main(lambda: read_sources(args.sources, args.detections, **chosen))
        written = extract(
            network,
            sources,
            args.out,
            batch_size=args.batch_size,
            workers=args.workers,
            dtype="float16" if args.fp16 else "float32",
            every=args.every if args.detections is None else 1,
            tracklets=args.tracklets,
            parts=args.parts,
            overwrite=args.overwrite,
            processes=processes,
        )
        if not processes.is_main:
            return 0
    print(f"{args.out}: {written}")
    if isinstance(sources, Detections) and sources.left_out:
        print(sources.text_of_left_out())
    return report("pictures or videos that could not be used", written.problems)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        "extract",
        "Write the embeddings of person crops, the share of each body part in them, "
        "and what they were made with. The embeddings are not L2-normalised: compare them by "
        "cosine. A run that was interrupted goes on when the same command is given again. "
        "Processes that torchrun or 'accelerate launch' starts share the pictures out.",
    )
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="image, video, folder (with all below it), or pattern in quotes, such as "
        "'crops/**/*.jpg'",
    )
    add_path(parser, "--out", "new file, .npz or .parquet", required=True)
    add_network_options(parser)
    parser.add_argument(
        "--detections",
        nargs="+",
        metavar="BOXES",
        help="people in each SOURCE, which is a video or a folder of frames then: a .txt of "
        "MOTChallenge, a .json of COCO, a .csv, or a folder of YOLO's .txt",
    )
    what = "… leave out boxes of a lower score"
    parser.add_argument("--min-score", type=float, metavar="S", help=what)
    what = "… of people (default: 1 of COCO, 0 of YOLO, else all)"
    parser.add_argument("--classes", nargs="+", metavar="CLASS", help=what)
    add_flag(parser, "--tracklets", "… write one embedding for each track")
    what = "of videos, and of frames with boxes, take every Nth frame (default: all)"
    add_count(parser, "--every", 1, what)
    add_flag(parser, "--parts", "keep the features of body parts too, for 'search --parts'")
    add_flag(parser, "--fp16", "keep the embeddings as float16")
    add_batch_size(parser)
    add_count(parser, "--workers", 4, "threads that read pictures (default: 4)")
    add_flag(parser, "--overwrite", "replace FILE, and an unfinished run with other settings")
    return parser.parse_args(argv)
