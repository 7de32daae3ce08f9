"""``torchreid-magnifier textures``: the textures that ``_textures`` datasets read."""

import argparse
from collections.abc import Sequence

from ..annotate.textures import make_textures
from ..data.textures import TextureFiles
from ..errors import LISTED
from . import report
from .arguments import Action, add_batch_size, add_flag, positive, run_action
from .image_options import add_image_options, check_sidecars, chosen_images, sheet_action
from .network_options import add_network_options, chosen_network


def main(argv: Sequence[str]) -> int:
    """Run the subcommand. Returns the exit status: 0, or 1 if textures have problems."""
    description = (
        "Textures for the images of a dataset: a person's whole surface, unrolled so that a "
        "position means the same part of the body for everyone. SAN learns to see them."
    )
    actions: dict[str, Action] = {
        "make": ("write the textures that a trained network sees", _make_options, _make),
        "check": ("read all textures and name their problems", _check_options, _check),
        "show": sheet_action(TextureFiles(), "textures.png"),
    }
    return run_action("textures", description, actions, argv)


def _make_options(parser: argparse.ArgumentParser) -> None:
    add_image_options(parser)
    add_network_options(parser, required=True)
    add_batch_size(parser, default=16)
    add_flag(parser, "--overwrite", "make existing textures anew")


def _make(args: argparse.Namespace) -> int:
    """Write a texture for each image that has none, as a network with a decoder, such as san_pg,
    sees it: the image root's folder with _texture added, the same path below it, .png. A run that
    was killed goes on when it is started again."""
    images = chosen_images(args)
    problems = make_textures(
        images, chosen_network(args), batch_size=args.batch_size, overwrite=args.overwrite
    )
    print(f"textures in {images.sidecar_root(TextureFiles())}")
    print(f"images without a texture: {len(problems)} of {len(images.paths)}")
    return report("unreadable images", problems, LISTED)


def _check_options(parser: argparse.ArgumentParser) -> None:
    add_image_options(parser)
    what = "of the images that a network is to be trained on, which textures must fit"
    parser.add_argument("--height", type=positive, metavar="PIXELS", help=what)
    parser.add_argument("--width", type=positive, metavar="PIXELS", help="... and their width")


def _check(args: argparse.Namespace) -> int:
    """Read all images and textures, and count the problems of each kind."""
    if (args.height is None) != (args.width is None):
        args.usage_error("--height and --width go together")
    images = chosen_images(args)
    print(f"images: {len(images.paths)}")
    files = TextureFiles((args.height, args.width) if args.height else None)
    return check_sidecars(args, images, files)
