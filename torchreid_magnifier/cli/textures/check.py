"""Read all images and textures, and count the faults of every kind."""

from __future__ import annotations

import argparse
import sys

from ...data.textures import TextureFiles
from .. import FAILED
from ..arguments import positive
from ..image_options import add_image_options, chosen_images, image_arguments

HELP = "read all textures and tell their faults"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``textures check``."""
    add_image_options(parser)
    parser.add_argument(
        "--height",
        type=positive,
        metavar="PIXELS",
        help="of the images that a network is to be trained on, which textures must fit",
    )
    parser.add_argument("--width", type=positive, metavar="PIXELS", help="… and their width")


def run(args: argparse.Namespace) -> int:
    """Check, and return the exit status: 1 if there are faults."""
    if (args.height is None) != (args.width is None):
        args.usage_error("--height and --width go together")
    images = chosen_images(args)
    files = TextureFiles((args.height, args.width) if args.height else None)
    found = files.inspect(images.paths, images.top)
    print(f"images: {len(images.paths)}")
    print(f"with a texture that fits: {len(found.files)}")
    for kind in files.kinds:
        print(f"{kind}: {len(found.faults.get(kind, []))}")
    if found.faults:
        print(files.report(found, image_arguments(args), images.top), file=sys.stderr)
        return FAILED
    return 0
