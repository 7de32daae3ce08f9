"""Options for the images whose sidecar files a command makes, checks or shows."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ..annotate import ParsingError
from ..annotate.images import Images, dataset_images, folder_images
from ..data.sidecars import SidecarFiles
from ..registry import dataset_names
from ..training.config import closest
from . import FAILED


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--images`` and ``--dataset`` with what belongs to it."""
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
    """Return the images that the options mean.

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
    """Return the arguments that mean the same images to another command."""
    if args.images:
        return ["--images", args.images]
    given = {"--cuhk03-labeled": args.cuhk03_labeled, "--all": args.all}
    chosen = [option for option, is_given in given.items() if is_given]
    return ["--dataset", args.dataset, "--root", args.root, *chosen]


def check_sidecars(
    args: argparse.Namespace, images: Images, files: SidecarFiles, lines: Sequence[str] = ()
) -> int:
    """Count the problems of images and their sidecar files of each kind, and list some.

    Args:
        lines: to print after the counts.

    Returns:
        The exit status: 1 if there are problems.
    """
    found = files.inspect(images.paths, images.top)
    print(f"with a {files.name} that fits: {len(found.files)}")
    for kind in files.kinds:
        print(f"{kind}: {len(found.problems.get(kind, []))}")
    print(*lines, sep="\n", end="\n" if lines else "")
    if found.problems:
        print(files.report(found, image_arguments(args), images.top), file=sys.stderr)
    return FAILED if found.problems else 0
