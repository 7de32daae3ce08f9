"""Contact sheets: images chosen at random, each beside what belongs to it."""

from __future__ import annotations

import argparse
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..annotate import ParsingError
from ..annotate.images import Images
from ..data.sidecars import SidecarFiles
from ..figures import save
from ..images import ImageError, read_image
from .arguments import check_picture, positive
from .image_options import add_image_options, chosen_images

_MOST = 600  # matplotlib draws no picture of more than 65536 pixels
_CAPTION = 26  # letters that fit above an image and its sidecar file
_BLANK = np.zeros((128, 64, 3), np.uint8)

# An image, its sidecar file or why it cannot be shown, and a caption.
Example = tuple[np.ndarray, np.ndarray | str, str]


def add_sheet_options(parser: argparse.ArgumentParser, out: str) -> None:
    """Add which images, how many of them, and the file, by default ``out``."""
    add_image_options(parser)
    parser.add_argument("--count", type=positive, default=24, metavar="N", help="images to show")
    parser.add_argument("--seed", type=int, default=1, help="of the choice of images")
    parser.add_argument("--out", type=Path, default=Path(out), metavar="FILE")


def draw_sheet(
    args: argparse.Namespace,
    what: str,
    example: Callable[[str, Images], Example],
    sheet: Callable[[Sequence[Any], str], Figure],
) -> int:
    """Draw the sheet that the options mean and write it; return the exit status.

    Args:
        what: belongs to the images, in the plural.
        example: of the path of an image; see :func:`read_example`.
        sheet: draws examples under a title.

    Raises:
        ConfigError: a file that cannot be drawn into.
        ParsingError: too many images, or none.
    """
    check_picture(args.out)
    if args.count > _MOST:
        raise ParsingError(f"--count: expected at most {_MOST} images, found {args.count}")
    images = chosen_images(args)
    count = min(args.count, len(images.paths))
    chosen = random.Random(args.seed).sample(sorted(images.paths), count)
    examples = [example(path, images) for path in sorted(chosen)]
    lacking = sum(isinstance(sidecar, str) for _, sidecar, _ in examples)
    name = args.dataset or os.path.basename(images.root)
    title = f"{name}: {count} of {len(images.paths)} images"
    if lacking:
        title += f"\n{lacking} of these without {what} that can be shown"
    save(sheet(examples, title), args.out)
    print(f"{count} images, {lacking} without {what} that can be shown: {args.out}")
    return 0


def read_example(
    path: str,
    images: Images,
    files: SidecarFiles,
    what: str,
) -> Example:
    """Return an image and its sidecar file, called ``what``."""
    caption = os.path.relpath(path, images.root)
    if len(caption) > _CAPTION:
        caption = os.path.basename(path)[-_CAPTION:]
    try:
        image = read_image(path)
    except ImageError:
        return _BLANK, "unreadable\nimage", caption
    found = files.find(path, images.top)
    if found is None:
        return image, f"no {what}", caption
    try:
        return image, files.read(found), caption
    except ImageError:
        return image, f"faulty\n{what}", caption
