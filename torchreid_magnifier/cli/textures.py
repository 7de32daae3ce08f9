"""``torchreid-magnifier textures``: the textures that ``_textures`` datasets read."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ..annotate.images import Images
from ..annotate.textures import make_textures
from ..data.textures import TextureFiles
from ..errors import listed
from ..figures import Pair, pairs_figure
from . import FAILED
from .actions import run_action
from .arguments import positive
from .image_options import add_image_options, check_sidecars, chosen_images
from .network_options import add_network_options, chosen_network
from .sheets import add_sheet_options, draw_sheet, read_example


def main(argv: Sequence[str]) -> int:
    """Run the subcommand.

    Returns:
        The exit status: 0, or 1 if textures have problems.
    """
    description = (
        "Textures for the images of a dataset: a person's whole surface, unrolled so that a "
        "position means the same part of the body for everyone. SAN learns to see them."
    )
    return run_action("textures", description, {"make": Make, "check": Check, "show": Show}, argv)


class Make:
    """Write a texture for each image that has none, as a network with a decoder, such as san_pg,
    sees it: the image root's folder with _texture added, the same path below it, .png. A run that
    was killed goes on when it is started again."""

    HELP = "write the textures that a trained network sees"

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """Add the options of ``textures make``."""
        add_image_options(parser)
        add_network_options(parser, required=True)
        parser.add_argument("--batch-size", type=positive, default=16, metavar="N")
        parser.add_argument("--overwrite", action="store_true", help="make existing textures anew")

    @staticmethod
    def run(args: argparse.Namespace) -> int:
        """Make the textures, and return the exit status: 1 if there are images without."""
        images = chosen_images(args)
        problems = make_textures(
            images, chosen_network(args), batch_size=args.batch_size, overwrite=args.overwrite
        )
        print(f"textures in {images.sidecar_root(TextureFiles())}")
        print(f"images without a texture: {len(problems)} of {len(images.paths)}")
        if problems:
            print(listed("unreadable images", problems), file=sys.stderr)
        return FAILED if problems else 0


class Check:
    """Read all images and textures, and count the problems of each kind."""

    HELP = "read all textures and name their problems"

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """Add the options of ``textures check``."""
        add_image_options(parser)
        parser.add_argument(
            "--height",
            type=positive,
            metavar="PIXELS",
            help="of the images that a network is to be trained on, which textures must fit",
        )
        parser.add_argument("--width", type=positive, metavar="PIXELS", help="... and their width")

    @staticmethod
    def run(args: argparse.Namespace) -> int:
        """Check, and return the exit status: 1 if there are problems."""
        if (args.height is None) != (args.width is None):
            args.usage_error("--height and --width go together")
        images = chosen_images(args)
        print(f"images: {len(images.paths)}")
        files = TextureFiles((args.height, args.width) if args.height else None)
        return check_sidecars(args, images, files)


class Show:
    """Draw a contact sheet: images chosen at random, each beside its texture."""

    HELP = "draw images with their textures"

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """Add the options of ``textures show``."""
        add_sheet_options(parser, "textures.png")

    @staticmethod
    def run(args: argparse.Namespace) -> int:
        """Draw the sheet and write it."""
        return draw_sheet(args, "textures", _example, pairs_figure)


def _example(path: str, images: Images) -> Pair:
    return Pair(*read_example(path, images, TextureFiles(), "texture"))
