"""``torchreid-magnifier masks``: make and check the part labels that ``_masks`` datasets read."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from .. import __version__
from ..data.masks import MaskError, check_masks
from ..parsing import ParsingError
from ..parsing.images import Images, dataset_images, folder_images
from ..parsing.keypointrcnn import MIN_SCORE, KeypointRCNN, settings
from ..parsing.keypoints import KeypointFiles, read_names
from ..parsing.make import Parser, make_masks
from ..parsing.survey import survey_masks
from ..registry import dataset_names
from . import USAGE_ERROR
from .config import closest

FAULTS = 1
_LISTED = 5
PARSERS = ("keypointrcnn", "keypoints")


def main(argv: Sequence[str]) -> int:
    """Run the subcommand.

    Returns:
        The exit status: 0, 1 if masks are faulty, 2 after a mistake in what was given.
    """
    args = _parse(argv)
    try:
        return args.run(args)
    except (ParsingError, OSError) as error:
        print(f"torchreid-magnifier masks {args.action}: error: {error}", file=sys.stderr)
        return USAGE_ERROR


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="torchreid-magnifier masks",
        description="Part labels (0 background, head, torso, upper_arm, lower_arm, upper_leg, "
        "lower_leg, 7 foot) for the images of a dataset.",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="{make,check}")
    make = actions.add_parser("make", help="write the labels", description=_MAKE)
    check = actions.add_parser("check", help="read all labels and tell their faults")
    what = make.add_mutually_exclusive_group(required=True)
    what.add_argument("--images", metavar="FOLDER", help="folder of person crops, recursively")
    for action, group, run in ((make, what, _make), (check, check, _check)):
        group.add_argument(
            "--dataset", metavar="NAME", required=action is check, help="registered dataset"
        )
        action.add_argument(
            "--root", default="reid-data", help="the folder that holds the datasets"
        )
        action.add_argument(
            "--all", action="store_true", help="query and gallery too (default: training images)"
        )
        action.add_argument(
            "--cuhk03-labeled",
            action="store_true",
            help="of CUHK03, the labelled images (default: the detected ones)",
        )
        action.set_defaults(run=run)
    make.add_argument("--parser", choices=PARSERS, default=PARSERS[0])
    make.add_argument(
        "--keypoints", nargs="+", metavar="FILE", help="of the parser keypoints: .pkl, .json, .mat"
    )
    make.add_argument(
        "--names", metavar="FILE", help="paths of all images that the rows of .mat files belong to"
    )
    make.add_argument(
        "--min-score", type=float, help="leave out joints below it (default: as the source is)"
    )
    make.add_argument(
        "--person-mask", action="store_true", help="cut to the outline that Mask R-CNN finds"
    )
    make.add_argument("--batch-size", type=_positive, default=16, metavar="N")
    make.add_argument("--workers", type=_positive, default=os.cpu_count() or 1, metavar="N")
    make.add_argument("--overwrite", action="store_true", help="make existing labels anew")
    args = parser.parse_args(argv)
    if args.action == "make" and (args.parser == "keypoints") != bool(args.keypoints):
        make.error("--parser keypoints and --keypoints FILE ... go together")
    if args.action == "make" and args.names and not args.keypoints:
        make.error("--names goes with --keypoints")
    return args


_MAKE = (
    "Write a label map for each image that has none: the image root's folder with _ps_label added, "
    "the same path below it, .png. A run that was killed goes on when it is started again."
)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _dataset(args: argparse.Namespace) -> Images:
    known = dataset_names()
    if args.dataset not in known:
        raise ParsingError(
            f"--dataset: unknown name {args.dataset!r}{closest(args.dataset, known)} "
            f"(all names: {', '.join(sorted(known))})"
        )
    return dataset_images(args.dataset, args.root, args.all, args.cuhk03_labeled)


def _make(args: argparse.Namespace) -> int:
    images = _dataset(args) if args.dataset else folder_images(args.images)
    make_parser, parser_settings = _parser(args, images)
    record: dict[str, Any] = {
        "parser": args.parser,
        "version": __version__,
        "settings": parser_settings | {"person_mask": args.person_mask},
    }
    faults = make_masks(
        images,
        make_parser,
        record,
        person_mask=args.person_mask,
        batch_size=args.batch_size,
        workers=args.workers,
        overwrite=args.overwrite,
    )
    print(f"labels in {images.labels_root}")
    print(survey_masks(images.paths, images.top))
    for fault in faults[:_LISTED]:
        print(f"cannot be read, has no labels: {fault}", file=sys.stderr)
    if len(faults) > _LISTED:
        print(f"... and {len(faults) - _LISTED} more images", file=sys.stderr)
    return FAULTS if faults else 0


def _parser(
    args: argparse.Namespace, images: Images
) -> tuple[Callable[[], Parser], dict[str, Any]]:
    """The parser, and the settings to be recorded with its masks."""
    if args.parser == "keypoints":
        folders = read_names(args.names) if args.names else images.folders()
        files = KeypointFiles(args.keypoints, folders, args.min_score)
        files.check(images.paths)
        return lambda: files, files.settings
    min_score = MIN_SCORE if args.min_score is None else args.min_score
    # Loaded only if there is anything to do.
    return partial(KeypointRCNN, min_score), settings(min_score)


def _check(args: argparse.Namespace) -> int:
    images = _dataset(args)
    print(survey_masks(images.paths, images.top))
    try:
        given = {"--cuhk03-labeled": args.cuhk03_labeled, "--all": args.all}
        options = [option for option, chosen in given.items() if chosen]
        check_masks(images.paths, args.dataset, images.top, options)
    except MaskError as error:
        print(error, file=sys.stderr)
        return FAULTS
    print("no faults")
    return 0
