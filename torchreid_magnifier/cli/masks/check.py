"""Read all images and labels, say what the labels hold, and count the faults of every kind."""

from __future__ import annotations

import argparse
import sys

from ...annotate.survey import survey_masks
from ...data.masks import MASKS
from ...parts import FOREGROUND, PARTS
from .. import FAILED
from ..image_options import add_image_options, chosen_images, image_arguments

HELP = "read all labels and tell their faults"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``masks check``."""
    add_image_options(parser)
    parser.add_argument(
        "--without",
        choices=[PARTS[part] for part in FOREGROUND],
        metavar="PART",
        help="list the images in whose labels a part does not appear",
    )


def run(args: argparse.Namespace) -> int:
    """Check, and return the exit status: 1 if there are faults."""
    images = chosen_images(args)
    survey = survey_masks(images.paths, images.top)
    found = MASKS.inspect(images.paths, images.top)
    print(f"{survey}\n")
    for kind in MASKS.kinds:
        print(f"{kind}: {len(found.faults.get(kind, []))}")
    if args.without:
        paths = survey.without(PARTS.index(args.without))
        print(f"\nwithout {args.without}: {len(paths)}", *paths, sep="\n")
    if found.faults:
        print(MASKS.report(found, image_arguments(args), images.top), file=sys.stderr)
        return FAILED
    return 0
