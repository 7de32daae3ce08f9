"""Write a texture for each image that has none, as a network with a decoder, such as san_pg, sees
it: the image root's folder with _texture added, the same path below it, .png. A run that was killed
goes on when it is started again."""

from __future__ import annotations

import argparse
import sys

from ...annotate.textures import make_textures
from ...data.faults import listed
from ...data.textures import TextureFiles
from .. import FAILED
from ..arguments import positive
from ..image_options import add_image_options, chosen_images
from ..network_options import add_network_options, chosen_network

HELP = "write the textures that a trained network sees"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``textures make``."""
    add_image_options(parser)
    add_network_options(parser)
    parser.add_argument("--batch-size", type=positive, default=16, metavar="N")
    parser.add_argument("--overwrite", action="store_true", help="make existing textures anew")


def run(args: argparse.Namespace) -> int:
    """Make the textures, and return the exit status: 1 if there are images without."""
    images = chosen_images(args)
    network = chosen_network(args)
    faults = make_textures(images, network, batch_size=args.batch_size, overwrite=args.overwrite)
    print(f"textures in {images.companion_root(TextureFiles())}")
    print(f"images without a texture: {len(faults)} of {len(images.paths)}")
    if faults:
        print(listed("unreadable images", faults), file=sys.stderr)
        return FAILED
    return 0
