"""Options that several of the subcommands have: keypoints, and how to write."""

from __future__ import annotations

import argparse
import os

from ...annotate.images import Images
from ...annotate.keypoints import KeypointFiles, read_names
from ..arguments import positive

_WORKERS = 8  # a process with a network takes 1 to 2 GB


def add_keypoint_options(parser: argparse.ArgumentParser, use: str) -> None:
    """Adds ``--keypoints``, of which ``use`` says what they are for, and what belongs to it."""
    parser.add_argument("--keypoints", nargs="+", metavar="FILE", help=f"{use}: .pkl, .json, .mat")
    parser.add_argument(
        "--names", metavar="FILE", help="paths of all images that the rows of .mat files belong to"
    )
    parser.add_argument(
        "--min-score", type=float, help="leave out joints below it (default: as the source is)"
    )


def keypoint_files(args: argparse.Namespace, images: Images) -> KeypointFiles:
    """The files of ``--keypoints``, which have every image.

    Raises:
        ParsingError: a file that cannot be read, or an image without an entry.
    """
    folders = read_names(args.names) if args.names else images.folders()
    files = KeypointFiles(args.keypoints, folders, args.min_score)
    files.check(images.paths)
    return files


def add_writing_options(parser: argparse.ArgumentParser) -> None:
    """Adds ``--workers`` and ``--overwrite``."""
    parser.add_argument(
        "--workers",
        type=positive,
        default=min(os.cpu_count() or 1, _WORKERS),
        metavar="N",
        help=f"work on so many batches at once (default: one for each core, {_WORKERS} at most)",
    )
    parser.add_argument("--overwrite", action="store_true", help="make existing labels anew")
