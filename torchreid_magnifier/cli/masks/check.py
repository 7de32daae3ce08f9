"""Read all images and labels, say what the labels hold, and tell every fault."""

from __future__ import annotations

import argparse
import sys

from ...data.masks import MaskError, check_masks
from ...parsing.survey import survey_masks
from .. import FAILED
from .options import add_image_options, chosen_images

HELP = "read all labels and tell their faults"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``masks check``."""
    add_image_options(parser, folders=False)


def run(args: argparse.Namespace) -> int:
    """Check, and return the exit status: 1 if there are faults."""
    images = chosen_images(args)
    print(survey_masks(images.paths, images.top))
    try:
        given = {"--cuhk03-labeled": args.cuhk03_labeled, "--all": args.all}
        options = [option for option, chosen in given.items() if chosen]
        check_masks(images.paths, args.dataset, images.top, options)
    except MaskError as error:
        print(error, file=sys.stderr)
        return FAILED
    print("no faults")
    return 0
