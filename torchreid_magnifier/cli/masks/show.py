"""Draw a contact sheet: images chosen at random, each beside itself with its parts in colour."""

from __future__ import annotations

import argparse
import os
import random
from pathlib import Path

import numpy as np
from PIL import Image

from ...data.masks import UNREADABLE, MaskError, find_mask, read_mask
from ...figures import LabelledImage, contact_sheet, save
from ...parsing import ParsingError
from ...parsing.images import Images
from .options import add_image_options, chosen_images, positive

HELP = "draw images with their labels"
_ENDINGS = (".png", ".jpg", ".jpeg")
_MOST = 600  # matplotlib draws no picture of more than 65536 pixels
_CAPTION = 26  # letters that fit above an image and its labels


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``masks show``."""
    add_image_options(parser)
    parser.add_argument("--count", type=positive, default=24, metavar="N", help="images to show")
    parser.add_argument("--seed", type=int, default=1, help="of the choice of images")
    parser.add_argument("--out", type=Path, default=Path("masks.png"), metavar="FILE")


def run(args: argparse.Namespace) -> int:
    """Draw the sheet and write it."""
    if args.out.suffix.lower() not in _ENDINGS:
        raise ParsingError(f"--out: expected {', '.join(_ENDINGS)}, found {args.out}")
    if not args.out.absolute().parent.is_dir():
        raise ParsingError(f"--out: there is no folder {args.out.parent}")
    if args.count > _MOST:
        raise ParsingError(f"--count: expected at most {_MOST} images, found {args.count}")
    images = chosen_images(args)
    count = min(args.count, len(images.paths))
    chosen = random.Random(args.seed).sample(sorted(images.paths), count)
    examples = [_example(path, images) for path in sorted(chosen)]
    lacking = sum(isinstance(example.labels, str) for example in examples)
    title = (
        f"{args.dataset or os.path.basename(images.root)}: {count} of {len(images.paths)} images"
    )
    if lacking:
        title += f"\n{lacking} of these without labels that can be shown"
    save(contact_sheet(examples, title), args.out)
    print(f"{count} images, {lacking} without labels that can be shown: {args.out}")
    return 0


def _example(path: str, images: Images) -> LabelledImage:
    caption = os.path.relpath(path, images.root)
    if len(caption) > _CAPTION:
        caption = os.path.basename(path)[-_CAPTION:]
    try:
        with Image.open(path) as file:
            image = np.asarray(file.convert("RGB"))
    except UNREADABLE:
        return LabelledImage(np.zeros((128, 64, 3), np.uint8), "unreadable\nimage", caption)
    mask = find_mask(path, images.top)
    if mask is None:
        return LabelledImage(image, "no labels", caption)
    try:
        labels = read_mask(mask)
    except MaskError:
        return LabelledImage(image, "faulty\nlabels", caption)
    if labels.shape != image.shape[:2]:
        return LabelledImage(image, "labels of\nanother size", caption)
    return LabelledImage(image, labels, caption)
