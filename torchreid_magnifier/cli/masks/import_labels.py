"""Write label maps from those of another parser, by its table of classes. A run that was killed
goes on when it is started again."""

from __future__ import annotations

import argparse
from typing import Any

from ... import __version__
from ...annotate.importing import MIN_CONFIDENCE, LabelFiles, import_masks
from ...annotate.label_tables import FORMATS
from ..image_options import add_image_options, chosen_images
from .options import add_keypoint_options, add_writing_options, keypoint_files
from .report import report

HELP = "write the labels from another parser's"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``masks import``."""
    add_image_options(parser)
    parser.add_argument(
        "--format",
        choices=FORMATS,
        required=True,
        help="whose labels they are ('torchreid-magnifier masks formats' prints the tables)",
    )
    parser.add_argument(
        "--labels",
        metavar="FOLDER",
        required=True,
        help="of the labels, with the folders below it in which the images are below their root",
    )
    add_keypoint_options(parser, "split clothes into limbs by them")
    add_writing_options(parser)


def run(args: argparse.Namespace) -> int:
    """Write the labels, and return the exit status: 1 if there are images without."""
    if not args.keypoints and (args.names or args.min_score is not None):
        args.usage_error("--names and --min-score go with --keypoints")
    if args.keypoints and FORMATS[args.format].fields:
        args.usage_error(f"--keypoints: the fields of {args.format} have nothing to split")
    images = chosen_images(args)
    keypoints = keypoint_files(args, images) if args.keypoints else None
    settings: dict[str, Any] = {"keypoints": keypoints.settings if keypoints else None}
    if FORMATS[args.format].fields:
        settings = {"min_confidence": MIN_CONFIDENCE}
    record = {"format": args.format, "version": __version__, "settings": settings}
    source = LabelFiles(args.format, args.labels, images, keypoints)
    faults = import_masks(images, source, record, workers=args.workers, overwrite=args.overwrite)
    return report(images, faults)
