"""Contact sheets: images chosen at random, each beside its sidecar file."""

import os
import random

import numpy as np
from matplotlib.figure import Figure

from ..data.masks import MASKS
from ..data.sidecars import SidecarFiles
from ..figures import LabelledImage, Pair, contact_sheet, pairs_figure
from ..images import ImageError, read_image
from . import ParsingError
from .images import Images

MOST = 600  # matplotlib draws no picture of more than 65536 pixels
_CAPTION = 26  # letters that fit above an image and its sidecar file
_BLANK = np.zeros((128, 64, 3), np.uint8)


def sidecar_sheet(
    images: Images, files: SidecarFiles, name: str, count: int = 24, seed: int = 1
) -> tuple[Figure, str]:
    """Draw images beside their label maps in colour, or beside their textures.

    Args:
        images: to choose from.
        files: the kind of sidecar file.
        name: of the images, for the title.
        count: images, at most.
        seed: of the choice.

    Returns:
        The figure, and a line that counts the images and those without a usable sidecar file.

    Raises:
        ParsingError: a count above ``MOST``.
    """
    if count > MOST:
        raise ParsingError(f"--count: expected at most {MOST} images, found {count}")
    count = min(count, len(images.paths))
    chosen = random.Random(seed).sample(sorted(images.paths), count)
    examples = [_example(path, images, files) for path in sorted(chosen)]
    lacking = f"without {'labels' if files is MASKS else files.names} that can be shown"
    number = sum(isinstance(sidecar, str) for _, sidecar, _ in examples)
    title = f"{name}: {count} of {len(images.paths)} images"
    if number:
        title += f"\n{number} of these {lacking}"
    if files is MASKS:
        figure = contact_sheet([LabelledImage(*example) for example in examples], title)
    else:
        figure = pairs_figure([Pair(*example) for example in examples], title)
    return figure, f"{count} images, {number} {lacking}"


def _example(
    path: str, images: Images, files: SidecarFiles
) -> tuple[np.ndarray, np.ndarray | str, str]:
    """An image, its sidecar file or why it cannot be shown, and a caption."""
    caption = os.path.relpath(path, images.root)
    if len(caption) > _CAPTION:
        caption = os.path.basename(path)[-_CAPTION:]
    try:
        image = read_image(path)
    except ImageError:
        return _BLANK, "unreadable\nimage", caption
    what = "labels" if files is MASKS else files.name
    found = files.find(path, images.top)
    if found is None:
        return image, f"no {what}", caption
    try:
        sidecar = files.read(found)
    except ImageError:
        return image, f"faulty\n{what}", caption
    if files is MASKS and sidecar.shape != image.shape[:2]:
        return image, "labels of\nanother size", caption
    return image, sidecar, caption
