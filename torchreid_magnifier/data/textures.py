"""Texture images: where they lie, how they are read, and the check before training.

The texture of an image is what SAN's decoder regresses: the person's surface, unrolled so that a
position means the same part of the body for everyone. It is an image in colour, twice as wide as
the training images and as high. Three layouts are read:

* ``_texture``: a folder named like the image root with ``_texture`` added, the same path below it,
  ``.png``. As for EANet's part labels, every ancestor of an image up to the data root is tried as
  the image root, the nearest first.
* SAN's released code (``torchreid/dataset_loader.py``) for CUHK03: a folder
  ``texture_cuhk03_labeled`` beside ``images_labeled``, the same file name; here also
  ``texture_cuhk03_detected`` beside ``images_detected``.
* PIT, whose images share textures: that of ``pit/images/0001_03.jpg`` is
  ``pit/textures/0001.png``.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from .companions import UNREADABLE, CompanionError, CompanionFiles, Place, as_png, renamed

_CUHK03 = {
    "images_labeled": "texture_cuhk03_labeled",
    "images_detected": "texture_cuhk03_detected",
}
_COLOURS = ("RGB", "RGBA", "P", "L")  # Pillow's modes of 8 bits; others would be cut to them
_PIT = ("pit", "images")


class TextureError(CompanionError):
    """Textures that cannot be used: missing, unreadable, not in colour or of a wrong size."""


def read_texture(path: str | os.PathLike) -> np.ndarray:
    """Reads one texture.

    Args:
        path: image in colour, or grey, of 8 bits; transparency is passed over.

    Returns:
        uint8 array of shape (height, width, 3), RGB.

    Raises:
        TextureError: the file cannot be read or is not such an image.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in _COLOURS:
                raise TextureError(
                    f"{path}: expected an image of mode {', '.join(_COLOURS[:-1])} or "
                    f"{_COLOURS[-1]}, found {image.mode!r}"
                )
            return np.array(image.convert("RGB"))
    except UNREADABLE as error:
        raise TextureError(f"{path}: cannot be read ({error})") from error


class TextureFiles(CompanionFiles):
    """The textures of images.

    Args:
        size: height and width of the images that a network is trained on, which a texture must
            fit: (height, 2 * width), or larger of the same shape. Every size fits without it.
    """

    name, names, suffix = "texture", "textures", "_texture"
    error = TextureError
    command = ("torchreid-magnifier", "textures", "make")
    extra = ("--weights", "WEIGHTS")
    faults = _UNREADABLE_TEXTURES, _SIZES = (
        "unreadable textures",
        "textures of a size that does not fit the images (width x height)",
    )

    def __init__(self, size: tuple[int, int] | None = None):
        self._size = size

    def places(self, folders: Sequence[Path]) -> Iterator[Place]:
        """By the common layout, then by that of the released code, then by that of PIT."""
        for folder in folders:
            yield renamed(folders[0], folder, folder.name + self.suffix), as_png
        for folder in folders:
            if released := _CUHK03.get(folder.name):
                yield renamed(folders[0], folder, released), str
        if folders[0].parts[-2:] == _PIT:
            yield str(folders[0].with_name("textures")), _of_renderings

    def fault(self, path: str, image_size: tuple[int, int]) -> tuple[str, str] | None:
        """Whether it is an image in colour of a size that fits."""
        try:
            height, width, _ = read_texture(path).shape
        except TextureError as error:
            return self._UNREADABLE_TEXTURES, str(error)
        if self._size is None:
            return None
        rows, columns = self._size[0], 2 * self._size[1]
        if height < rows or height * columns != width * rows:
            expected = f"expected {columns}x{rows}, or larger of the same shape"
            return self._SIZES, f"{path}: {expected}, found {width}x{height}"
        return None


def _of_renderings(image_name: str) -> str:
    return image_name.partition("_")[0] + ".png"
