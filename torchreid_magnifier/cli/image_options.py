"""Options for the images whose sidecar files a command makes, checks or shows."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..annotate import ParsingError
from ..annotate.images import Images, dataset_images, folder_images
from ..annotate.sheets import sidecar_sheet
from ..annotate.writing import doubts_of
from ..data.masks import MASKS
from ..data.sidecars import SidecarFiles
from ..figures import check_picture, save
from . import FAILED
from .arguments import Action, add_flag, positive
from .datasets import add_root, check_dataset


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--images`` and ``--dataset`` with what belongs to it."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--images", metavar="FOLDER", help="folder of person crops, recursively")
    source.add_argument("--dataset", metavar="NAME", help="registered dataset")
    add_root(parser)
    add_flag(parser, "--all", "query and gallery too (default: training images)")
    what = "of CUHK03, the labelled images (default: the detected ones)"
    add_flag(parser, "--cuhk03-labeled", what)


def chosen_images(args: argparse.Namespace) -> Images:
    """Return the images that the options mean.

    Raises:
        ConfigError: an unknown dataset; ParsingError: no images.
    """
    if args.dataset is None:
        return folder_images(args.images)
    check_dataset(args.dataset)
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

    Returns the exit status: 1 if there are problems. ``lines`` are printed after the counts.
    """
    found = files.inspect(images.paths, images.top)
    print(f"with a {files.name} that fits: {len(found.files)}")
    for kind in files.kinds:
        print(f"{kind}: {len(found.problems.get(kind, []))}")
    for line in lines:
        print(line)
    if found.problems:
        print(files.report(found, image_arguments(args), images.top), file=sys.stderr)
    return FAILED if found.problems else 0


def sheet_action(files: SidecarFiles, out: str) -> Action:
    """Return the subcommand ``show`` of a kind of sidecar file, which writes ``out`` by default."""

    def options(parser: argparse.ArgumentParser) -> None:
        add_image_options(parser)
        parser.add_argument("--count", type=positive, default=24, metavar="N", help="of images")
        parser.add_argument("--seed", type=int, default=1, help="of the choice of images")
        parser.add_argument("--out", type=Path, default=Path(out), metavar="FILE")
        if files is MASKS:
            what = "only images whose labels may be of somebody else than meant, each with why"
            add_flag(parser, "--doubtful", what)

    def show(args: argparse.Namespace) -> int:
        """Draw a contact sheet: images chosen at random, each beside its sidecar file."""
        check_picture(args.out)
        images = chosen_images(args)
        if vars(args).get("doubtful"):
            doubts = doubts_of(images, files)
            if not doubts:
                raise ParsingError(f"none of the {len(images.paths)} images is doubtful")
            images = replace(images, paths=list(doubts))
            print("\n".join(f"{path}: {why}" for path, why in doubts.items()))
        name = args.dataset or os.path.basename(images.root)
        figure, line = sidecar_sheet(images, files, name, args.count, args.seed)
        save(figure, args.out)
        print(f"{line}: {args.out}")
        return 0

    return f"draw images with their {files.names}", options, show
