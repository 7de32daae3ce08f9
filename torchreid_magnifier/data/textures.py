"""Texture images: where they lie, how they are read, and the check before training.

The texture of an image is what SAN's decoder regresses: the person's surface, unrolled so that a
position means the same part of the body for everyone. It is an image in colour, twice as wide as
the training images and as high. Three layouts are read:

* ``_texture``: a folder named like the image root with ``_texture`` added, the same path below it,
  ``.png``. As for EANet's part labels, every ancestor of an image up to the data root is tried as
  the image root, the nearest first.
* SAN's reference implementation (``torchreid/dataset_loader.py``) for CUHK03: a folder
  ``texture_cuhk03_labeled`` beside ``images_labeled``, the same file name; here also
  ``texture_cuhk03_detected`` beside ``images_detected``.
* PIT, whose images share textures: that of ``pit/images/0001_03.jpg`` is
  ``pit/textures/0001.png``.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..images import TEXTURES_SUFFIX, ImageError, read_image
from .sidecars import Place, SidecarError, SidecarFiles, as_png, renamed

_CUHK03 = {
    "images_labeled": "texture_cuhk03_labeled",
    "images_detected": "texture_cuhk03_detected",
}
_PIT = ("pit", "images")


class TextureError(SidecarError):
    """Textures that cannot be used: missing, unreadable or of a wrong size."""


class TextureFiles(SidecarFiles):
    """The textures of images.

    Args:
        size: height and width of the images that a network is trained on, which a texture must
            fit: (height, 2 * width), or larger of the same shape. Every size fits without it.
    """

    name, names, suffix = "texture", "textures", TEXTURES_SUFFIX
    error, read = TextureError, staticmethod(read_image)
    command = ("torchreid-magnifier", "textures", "make")
    extra = ("--weights", "WEIGHTS")
    problems = _UNREADABLE, _SIZES = (
        "unreadable textures",
        "textures of a size that does not fit the images (width x height)",
    )

    def __init__(self, size: tuple[int, int] | None = None) -> None:
        self._size = size

    def places(self, folders: Sequence[Path]) -> Iterator[Place]:
        """Yield the common places, then those of the reference implementation, then PIT's."""
        for folder in folders:
            yield renamed(folders[0], folder, folder.name + self.suffix), as_png
        for folder in folders:
            if reference := _CUHK03.get(folder.name):
                yield renamed(folders[0], folder, reference), str
        if folders[0].parts[-2:] == _PIT:
            yield str(folders[0].with_name("textures")), _of_renderings

    def problem(self, path: str, image_size: tuple[int, int]) -> tuple[str, str] | None:
        """Return what keeps a file from being an image of a size that fits, if anything."""
        try:
            height, width, _ = read_image(path).shape
        except ImageError as error:
            return self._UNREADABLE, error.problem
        if self._size is None:
            return None
        rows, columns = self._size[0], 2 * self._size[1]
        if height < rows or height * columns != width * rows:
            expected = f"expected {columns}x{rows}, or larger of the same shape"
            return self._SIZES, f"{path}: {expected}, found {width}x{height}"
        return None


def _of_renderings(image_name: str) -> str:
    return image_name.partition("_")[0] + ".png"
