"""Draw a contact sheet: images chosen at random, each beside itself with its parts in colour."""

from __future__ import annotations

import argparse

from ...annotate.images import Images
from ...data.masks import MASKS, read_mask
from ...figures import LabelledImage, contact_sheet
from ..sheets import add_sheet_options, draw_sheet, read_example

HELP = "draw images with their labels"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``masks show``."""
    add_sheet_options(parser, "masks.png")


def run(args: argparse.Namespace) -> int:
    """Draw the sheet and write it."""
    return draw_sheet(args, "labels", _example, contact_sheet)


def _example(path: str, images: Images) -> LabelledImage:
    image, labels, caption = read_example(path, images, MASKS, read_mask, "labels")
    if not isinstance(labels, str) and labels.shape != image.shape[:2]:
        labels = "labels of\nanother size"
    return LabelledImage(image, labels, caption)
