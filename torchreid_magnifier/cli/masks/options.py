"""Options that several of the subcommands have: which images are meant, and how to write."""

from __future__ import annotations

import argparse
import os

from ...parsing import ParsingError
from ...parsing.images import Images, dataset_images, folder_images
from ...parsing.keypoints import KeypointFiles, read_names
from ...registry import dataset_names
from ..config import closest

_WORKERS = 8  # a process with a network takes 1 to 2 GB


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """Adds ``--images`` and ``--dataset`` with what belongs to it."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--images", metavar="FOLDER", help="folder of person crops, recursively")
    what.add_argument("--dataset", metavar="NAME", help="registered dataset")
    parser.add_argument("--root", default="reid-data", help="the folder that holds the datasets")
    parser.add_argument(
        "--all", action="store_true", help="query and gallery too (default: training images)"
    )
    parser.add_argument(
        "--cuhk03-labeled",
        action="store_true",
        help="of CUHK03, the labelled images (default: the detected ones)",
    )


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


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def chosen_images(args: argparse.Namespace) -> Images:
    """The images that the options mean.

    Raises:
        ParsingError: an unknown dataset, or no images.
    """
    if args.dataset is None:
        return folder_images(args.images)
    known = dataset_names()
    if args.dataset not in known:
        raise ParsingError(
            f"--dataset: unknown name {args.dataset!r}{closest(args.dataset, known)} "
            f"(all names: {', '.join(sorted(known))})"
        )
    return dataset_images(args.dataset, args.root, args.all, args.cuhk03_labeled)
