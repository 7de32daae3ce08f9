"""Draw a contact sheet: images chosen at random, each beside its texture."""

from __future__ import annotations

import argparse

from ...annotate.images import Images
from ...data.textures import TextureFiles, read_texture
from ...figures import Pair, pairs_figure
from ..sheets import add_sheet_options, draw_sheet, read_example

HELP = "draw images with their textures"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``textures show``."""
    add_sheet_options(parser, "textures.png")


def run(args: argparse.Namespace) -> int:
    """Draw the sheet and write it."""
    return draw_sheet(args, "textures", _example, pairs_figure)


def _example(path: str, images: Images) -> Pair:
    return Pair(*read_example(path, images, TextureFiles(), read_texture, "texture"))
