"""Which images a command makes, checks or shows companions of."""

from __future__ import annotations

import argparse

from ..annotate import ParsingError
from ..annotate.images import Images, dataset_images, folder_images
from ..registry import dataset_names
from ..training.config import closest


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


def image_arguments(args: argparse.Namespace) -> list[str]:
    """The arguments that mean the same images to another command."""
    if args.images:
        return ["--images", args.images]
    given = {"--cuhk03-labeled": args.cuhk03_labeled, "--all": args.all}
    chosen = [option for option, is_given in given.items() if is_given]
    return ["--dataset", args.dataset, "--root", args.root, *chosen]
