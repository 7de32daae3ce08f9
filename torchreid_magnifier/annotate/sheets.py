"""Contact sheets: images chosen at random, each beside its sidecar file."""

import os
import random
from contextlib import suppress

import numpy as np
from matplotlib.figure import Figure

from ..data.masks import MASKS
from ..data.sidecars import SidecarFiles
from ..figures import PictureRow, masks_figure, pictures_figure
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
    rows = [_row(path, images, files) for path in sorted(chosen)]
    lacking = f"without {'labels' if files is MASKS else files.names} that can be shown"
    number = sum(isinstance(row.pictures[1], str) for row in rows)
    title = f"{name}: {count} of {len(images.paths)} images"
    if number:
        title += f"\n{number} of these {lacking}"
    draw = masks_figure if files is MASKS else pictures_figure
    return draw(rows, title), f"{count} images, {number} {lacking}"


def _row(path: str, images: Images, files: SidecarFiles) -> PictureRow:
    """An image, its sidecar file or why it cannot be shown, and a caption."""
    caption = os.path.relpath(path, images.root)
    if len(caption) > _CAPTION:
        caption = os.path.basename(path)[-_CAPTION:]
    what = "labels" if files is MASKS else files.name
    image: np.ndarray = _BLANK
    sidecar: np.ndarray | str = "unreadable\nimage"
    with suppress(ImageError):
        image, sidecar = read_image(path), f"no {what}"
        if found := files.find(path, images.top):
            sidecar = f"faulty\n{what}"
            sidecar = files.read(found)
            if files is MASKS and sidecar.shape != image.shape[:2]:
                sidecar = "labels of\nanother size"
    return PictureRow([image, sidecar], caption)
