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
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..parts import NUM_PARTS
from .faults import listed

# What Pillow raises on files that are not images, are cut short or lie about their contents.
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)

LABELS_SUFFIX = "_ps_label"  # EANet's: what a folder of labels has beyond the images' name

# An image root whose labels EANet named after a copy of it (package/data/datasets/
# cuhk03_np_detected_jpg.py); the names of the files are the same.
_COPIES = {"cuhk03-np": "cuhk03-np-jpg"}

_BATCH = 64  # images a thread takes at once: a future for each image would cost more than the check
_SINGLE_CHANNEL = ("1", "L", "P", "I;16", "I")

# The kinds of fault.
_NO_IMAGE = "unreadable images"
_MISSING = "images without a mask"
_NO_MASK = "unreadable masks"
_SIZE = "masks of another size than their image (width x height)"
_LABELS = f"masks with labels other than the integers 0 to {NUM_PARTS - 1}"
FAULTS = (_NO_IMAGE, _MISSING, _NO_MASK, _SIZE, _LABELS)  # in the order of a message

# A folder that may hold masks, and how a mask is named there after its image.
_MaskFolder = tuple[str, Callable[[str], str]]


class MaskError(RuntimeError):
    """Part masks that cannot be used: missing, unreadable, of a wrong size or with wrong labels."""


def _eanet_name(image_name: str) -> str:
    return os.path.splitext(image_name)[0] + ".png"


def _released_name(image_name: str) -> str:
    return image_name + ".npy"


def _mask_folders(image_folder: str, root: str | os.PathLike | None) -> Iterator[_MaskFolder]:
    """Every folder that may hold the masks of the images in ``image_folder``, by both layouts."""
    folder = Path(os.path.abspath(image_folder))
    ancestors = [folder, *folder.parents[:-1]]  # the last one is the file system's root: no name
    if root is not None and (top := Path(os.path.abspath(root))) in ancestors:
        ancestors = ancestors[: ancestors.index(top) + 1]
    for ancestor in ancestors:
        labels = ancestor.with_name(ancestor.name + LABELS_SUFFIX)
        yield str(labels / folder.relative_to(ancestor)), _eanet_name
        if copy := _COPIES.get(ancestor.name):
            labels = ancestor.with_name(copy + LABELS_SUFFIX)
            yield str(labels / folder.relative_to(ancestor)), _eanet_name
    for ancestor in ancestors:
        if ancestor.name.startswith("bounding"):
            segmentation = ancestor.with_name("segmentation")
            yield str(segmentation / folder.relative_to(ancestor.parent)), _released_name


def _first_mask(image_name: str, folders: Iterable[_MaskFolder]) -> str | None:
    for folder, mask_name in folders:
        path = os.path.join(folder, mask_name(image_name))
        if os.path.isfile(path):
            return path
    return None


def mask_candidates(image_path: str, root: str | os.PathLike | None = None) -> list[str]:
    """Every path at which the mask of an image is looked for, in the order of the search.

    Args:
        image_path: path of an image; it need not exist.
        root: data root, the last ancestor folder tried; all ancestors without it, or if the image
            does not lie below it.
    """
    folder, name = os.path.split(image_path)
    return [os.path.join(path, mask_name(name)) for path, mask_name in _mask_folders(folder, root)]


def find_mask(image_path: str, root: str | os.PathLike | None = None) -> str | None:
    """The first of :func:`mask_candidates` that is a file, or None."""
    folder, name = os.path.split(image_path)
    return _first_mask(name, _mask_folders(folder, root))


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
    labels = read_array(path)
    if fault := _label_fault(labels):
        raise MaskError(f"{path}: expected the integer labels 0 to {NUM_PARTS - 1}, {fault}")
    return labels.astype(np.uint8, copy=False)


def _check_one(image_path: str, folders: list[_MaskFolder]) -> tuple[str, str]:
    """(``""``, mask path) if all is well with an image and its mask, else (kind, line to show)."""
    try:
        with Image.open(image_path) as image:
            image.load()  # a file cut short has a good header
            size = image.size
    except UNREADABLE as error:
        return _NO_IMAGE, f"{image_path}: {error}"
    mask_path = _first_mask(os.path.basename(image_path), folders)
    if mask_path is None:
        return _MISSING, image_path
    try:
        labels = read_array(mask_path)
    except MaskError as error:
        return _NO_MASK, str(error)
    height, width = labels.shape
    if (width, height) != size:
        return _SIZE, f"{mask_path}: expected {size[0]}x{size[1]}, found {width}x{height}"
    if fault := _label_fault(labels):
        return _LABELS, f"{mask_path}: {fault}"
    return "", mask_path


class MaskCheck(NamedTuple):
    """What :func:`inspect_masks` found.

    Attributes:
        masks: image path -> mask path of those that are well, in the order of the images.
        faults: kind of fault, one of ``FAULTS``, -> a line for each image that has it.
    """

    masks: dict[str, str]
    faults: dict[str, list[str]]


def inspect_masks(image_paths: Iterable[str], root: str | os.PathLike | None = None) -> MaskCheck:
    """Finds the mask of every image and decodes both.

    Args:
        image_paths: images; a repeated path is looked at once.
        root: data root, for the search (see :func:`mask_candidates`).
    """
    images = list(dict.fromkeys(image_paths))
    # Folders are searched for masks once each, not once for each image in them.
    folders = {
        folder: [place for place in _mask_folders(folder, root) if os.path.isdir(place[0])]
        for folder in dict.fromkeys(os.path.dirname(path) for path in images)
    }

    def check_batch(start: int) -> list[tuple[str, str]]:
        batch = images[start : start + _BATCH]
        return [_check_one(path, folders[os.path.dirname(path)]) for path in batch]

    found = MaskCheck({}, {})
    with ThreadPoolExecutor() as pool:
        batches = pool.map(check_batch, range(0, len(images), _BATCH))
        results = [result for batch in batches for result in batch]
    for image, (kind, line) in zip(images, results, strict=True):
        if kind:
            found.faults.setdefault(kind, []).append(line)
        else:
            found.masks[image] = line
    return found


def check_masks(
    image_paths: Iterable[str],
    dataset: str = "DATASET",
    root: str | os.PathLike | None = None,
    options: Sequence[str] = (),
) -> dict[str, str]:
    """Finds the mask of every image and decodes both, so that a fault shows before training.

    Args:
        image_paths: images; a repeated path is checked once.
        dataset: registered name of the dataset, for the command in the message.
        root: data root, for the search (see :func:`mask_candidates`) and for the command.
        options: more options that the command needs for these images.

    Returns:
        Image path -> mask path, in the order of ``image_paths``.

    Raises:
        MaskError: with, for each kind of fault, the number of images, the first paths, and the
            command that makes masks.
    """
    found = inspect_masks(image_paths, root)
    if found.faults:
        where = "ROOT" if root is None else os.fspath(root)
        raise MaskError(
            fault_report(found, ["--dataset", dataset, "--root", where, *options], root)
        )
    return found.masks


def fault_report(
    found: MaskCheck, options: Sequence[str], root: str | os.PathLike | None = None
) -> str:
    """The message for faulty images and masks.

    Args:
        options: with which ``masks make`` makes the masks of these images.
        root: data root, as it was given for the search.
    """
    count = sum(map(len, found.faults.values()))
    total = count + len(found.masks)
    lines = [f"{count} of {total} images cannot be used with their part masks."]
    for kind in FAULTS:
        if faults := found.faults.get(kind):
            lines.append(listed(kind, faults))
            if kind == _MISSING:
                lines.append("  tried for the first of them:")
                lines += [f"    {path}" for path in mask_candidates(faults[0], root)]
    if set(found.faults) != {_NO_IMAGE}:
        # Without it, masks that are there stay as they are.
        replace = ["--overwrite"] if {_NO_MASK, _SIZE, _LABELS} & set(found.faults) else []
        command = ["torchreid-magnifier", "masks", "make", *options, *replace]
        lines.append("Masks are made by")
        lines.append("  " + shlex.join(command))
    return "\n".join(lines)
