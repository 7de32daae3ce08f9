"""Write a label map for each image that has none: the image root's folder with _ps_label added,
the same path below it, .png. A run that was killed goes on when it is started again."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

from ... import __version__
from ...annotate import keypointrcnn, vitpose
from ...annotate.detectors import device
from ...annotate.images import Images
from ...annotate.make import Parser, make_masks
from ..arguments import positive
from ..image_options import add_image_options, chosen_images
from .options import add_keypoint_options, add_writing_options, keypoint_files
from .report import report

HELP = "write the labels"
PARSERS = ("keypointrcnn", "vitpose", "keypoints")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``masks make``."""
    add_image_options(parser)
    parser.add_argument("--parser", choices=PARSERS, default=PARSERS[0])
    add_keypoint_options(parser, "of the parser keypoints")
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="of the parser vitpose: name on the Hugging Face Hub, or folder with its files "
        f"(default: {vitpose.MODEL})",
    )
    parser.add_argument(
        "--person-mask", action="store_true", help="cut to the outline that Mask R-CNN finds"
    )
    parser.add_argument("--batch-size", type=positive, default=16, metavar="N")
    add_writing_options(parser)


def run(args: argparse.Namespace) -> int:
    """Make the labels, and return the exit status: 1 if there are images without."""
    if (args.parser == "keypoints") != bool(args.keypoints):
        args.usage_error("--parser keypoints and --keypoints FILE ... go together")
    if args.names and not args.keypoints:
        args.usage_error("--names goes with --keypoints")
    if args.model and args.parser != "vitpose":
        args.usage_error("--model goes with --parser vitpose")
    networks = args.parser != "keypoints" or args.person_mask
    images = chosen_images(args)
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
        processes=networks and device().type == "cpu",
        overwrite=args.overwrite,
    )
    return report(images, faults)


def _parser(
    args: argparse.Namespace, images: Images
) -> tuple[Callable[[], Parser], dict[str, Any]]:
    """The parser, made only if there is anything to do, and the settings that are recorded."""
    if args.parser == "keypoints":
        files = keypoint_files(args, images)
        return partial(_given, files), files.settings
    if args.parser == "vitpose":
        model = args.model or vitpose.MODEL
        min_score = vitpose.MIN_SCORE if args.min_score is None else args.min_score
        return partial(vitpose.VitPose, model, min_score), vitpose.settings(model, min_score)
    min_score = keypointrcnn.MIN_SCORE if args.min_score is None else args.min_score
    return partial(keypointrcnn.KeypointRCNN, min_score), keypointrcnn.settings(min_score)


def _given(parser: Parser) -> Parser:  # unlike a lambda, it can be sent to another process
    return parser
