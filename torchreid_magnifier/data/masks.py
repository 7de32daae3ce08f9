"""Part label files: where they lie, how they are read, and the check before training.

Two layouts are read. Both keep one label map per image, of the image's size, with the values of
:data:`torchreid_magnifier.parts.PARTS`:

* EANet's ``_ps_label`` (Huang et al., 2018): a folder named like the image root with ``_ps_label``
  added, the same path below it, single-channel ``.png``. Which ancestor of an image is the "image
  root" differs between datasets, so each one up to the data root is tried, the nearest first.
  EANet's labels of CUHK03-NP were made on JPEG copies and lie in ``cuhk03-np-jpg_ps_label``.
* MagnifierNet's released code (``data/datasets/mt_dataset_loader.py``): a folder ``segmentation``
  beside ``bounding_box_train``, the same path below it, the image's full name and ``.npy``.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..parts import NUM_PARTS
from .companions import UNREADABLE, CompanionError, CompanionFiles, Place, as_png, renamed

# An image root whose labels EANet named after a copy of it (package/data/datasets/
# cuhk03_np_detected_jpg.py); the names of the files are the same.
_COPIES = {"cuhk03-np": "cuhk03-np-jpg"}

_SINGLE_CHANNEL = ("1", "L", "P", "I;16", "I")


class MaskError(CompanionError):
    """Part masks that cannot be used: missing, unreadable, of a wrong size or with wrong labels."""


def read_array(path: str, colour_channel: int | None = None) -> np.ndarray:
    """The values in a label file, as they are.

    Args:
        path: single-channel image (of a palette, the indices) or ``.npy``, never unpickled.
        colour_channel: of images in colour, the channel (of R, G, B) that is read.

    Returns:
        Array of shape (H, W) of numbers or truth values.

    Raises:
        MaskError: there is no such array in the file.
    """
    try:
        if path.endswith(".npy"):
            array = np.load(path, allow_pickle=False)
        else:
            with Image.open(path) as image:
                if image.mode == "RGB" and colour_channel is not None:
                    array = np.asarray(image)[..., colour_channel]
                elif image.mode in _SINGLE_CHANNEL:
                    array = np.asarray(image)
                else:
                    raise MaskError(
                        f"{path}: expected one channel of part labels, found an image of mode "
                        f"{image.mode!r}"
                    )
    except UNREADABLE as error:
        raise MaskError(f"{path}: cannot be read ({error})") from error
    if array.ndim != 2 or array.size == 0 or array.dtype.kind not in "buif":
        raise MaskError(
            f"{path}: expected labels of shape (height, width), found shape {array.shape} of "
            f"{array.dtype}"
        )
    return array


def _label_fault(labels: np.ndarray) -> str | None:
    """What is wrong with the values of a label map, if anything."""
    if labels.dtype.kind == "f":  # some tools save whole numbers as floats
        broken = labels[labels != np.floor(labels)]  # NaN is also unequal
        if broken.size:
            return f"found {broken[0]:g}"
    low, high = labels.min(), labels.max()
    if low < 0 or high >= NUM_PARTS:
        return f"found {low if low < 0 else high:g}"
    return None


def read_mask(path: str | os.PathLike) -> np.ndarray:
    """Reads one label map.

    Args:
        path: single-channel ``.png`` (8 or 16 bits, or a palette, whose indices are the labels),
            or 2-D ``.npy``, which is never unpickled.

    Returns:
        uint8 array of shape (H, W) with values 0 to 7.

    Raises:
        MaskError: the file cannot be read, is not single-channel or holds other values.
    """
    path = os.fspath(path)
    if (labels := _decoded(path)) is not None:
        return labels
    labels = read_array(path)
    if fault := _label_fault(labels):
        raise MaskError(f"{path}: expected the integer labels 0 to {NUM_PARTS - 1}, {fault}")
    return labels.astype(np.uint8, copy=False)


def _decoded(path: str) -> np.ndarray | None:
    """Labels in 8 bits of grey, by OpenCV, which takes half of Pillow's time for them.

    Returns:
        uint8 array of shape (H, W) with values 0 to 7; None of any other file, or a broken one.
    """
    if not path.endswith(".png"):
        return None
    try:
        with open(path, "rb", buffering=0) as file:
            content = np.frombuffer(file.read(), np.uint8)
        labels = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    except (OSError, cv2.error):
        return None
    # A palette comes as its colours, fewer bits as other greys.
    if labels is None or labels.ndim != 2 or labels.dtype != np.uint8 or labels.max() >= NUM_PARTS:
        return None
    return labels


class MaskFiles(CompanionFiles):
    """The part masks of images; :data:`MASKS` is one."""

    name, names, suffix = "mask", "part masks", "_ps_label"
    error = MaskError
    command = ("torchreid-magnifier", "masks", "make")
    faults = _UNREADABLE_MASKS, _SIZES, _LABELS = (
        "unreadable masks",
        "masks of another size than their image (width x height)",
        f"masks with labels other than the integers 0 to {NUM_PARTS - 1}",
    )

    def places(self, folders: Sequence[Path]) -> Iterator[Place]:
        """By EANet's layout, then by that of the released code."""
        for folder in folders:
            for name in filter(None, (folder.name, _COPIES.get(folder.name))):
                yield renamed(folders[0], folder, name + self.suffix), as_png
        for folder in folders:
            if folder.name.startswith("bounding"):
                segmentation = os.path.join("segmentation", folder.name)
                yield renamed(folders[0], folder, segmentation), "{}.npy".format

    def fault(self, path: str, image_size: tuple[int, int]) -> tuple[str, str] | None:
        """Whether it is a label map of the image's size."""
        try:
            labels = read_array(path)
        except MaskError as error:
            return self._UNREADABLE_MASKS, str(error)
        height, width = labels.shape
        if (width, height) != image_size:
            expected = "x".join(map(str, image_size))
            return self._SIZES, f"{path}: expected {expected}, found {width}x{height}"
        if fault := _label_fault(labels):
            return self._LABELS, f"{path}: {fault}"
        return None


MASKS = MaskFiles()
mask_candidates, find_mask = MASKS.candidates, MASKS.find
