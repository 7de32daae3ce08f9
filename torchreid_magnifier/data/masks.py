"""Part label files: where they lie, and the check before training.

Two layouts are read. Both keep one label map per image, of the image's size, with the values of
:data:`torchreid_magnifier.parts.PARTS`:

* EANet's ``_ps_label`` (Huang et al., 2018): a folder named like the image root with ``_ps_label``
  added, the same path below it, single-channel ``.png``. Which ancestor of an image is the "image
  root" differs between datasets, so each one up to the data root is tried, the nearest first.
  EANet's labels of CUHK03-NP were made on JPEG copies and lie in ``cuhk03-np-jpg_ps_label``.
* MagnifierNet's reference implementation (``data/datasets/mt_dataset_loader.py``): a folder
  ``segmentation`` beside ``bounding_box_train``, the same path below it, the image's full name and
  ``.npy``.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..images import LABELS_SUFFIX, ImageError, LabelError, read_labels
from ..parts import NUM_PARTS
from .sidecars import Place, SidecarError, SidecarFiles, as_png, renamed

# An image root whose labels EANet named after a copy of it (package/data/datasets/
# cuhk03_np_detected_jpg.py); the names of the files are the same.
_COPIES = {"cuhk03-np": "cuhk03-np-jpg"}


class MaskError(SidecarError):
    """Part masks that cannot be used: missing, unreadable, of a wrong size or with wrong labels."""


class MaskFiles(SidecarFiles):
    """The part masks of images; :data:`MASKS` is one."""

    name, names, suffix = "mask", "part masks", LABELS_SUFFIX
    error, read = MaskError, staticmethod(read_labels)
    command = ("torchreid-magnifier", "masks", "make")
    problems = _UNREADABLE, _SIZES, _LABELS = (
        "unreadable masks",
        "masks of another size than their image (width x height)",
        f"masks with labels other than the integers 0 to {NUM_PARTS - 1}",
    )

    def places(self, folders: Sequence[Path]) -> Iterator[Place]:
        """Yield EANet's places, then those of the reference implementation."""
        for folder in folders:
            for name in filter(None, (folder.name, _COPIES.get(folder.name))):
                yield renamed(folders[0], folder, name + self.suffix), as_png
        for folder in folders:
            if folder.name.startswith("bounding"):
                segmentation = os.path.join("segmentation", folder.name)
                yield renamed(folders[0], folder, segmentation), "{}.npy".format

    def problem(self, path: str, image_size: tuple[int, int]) -> tuple[str, str] | None:
        """Return what keeps a file from being a label map of the image's size, if anything."""
        try:
            height, width = read_labels(path).shape
        except LabelError as error:
            return self._LABELS, error.problem
        except ImageError as error:
            return self._UNREADABLE, error.problem
        if (width, height) != image_size:
            expected = "x".join(map(str, image_size))
            return self._SIZES, f"{path}: expected {expected}, found {width}x{height}"
        return None


MASKS = MaskFiles()
mask_candidates, find_mask = MASKS.candidates, MASKS.find
