"""Which images get companions, part labels for one, and where these are written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torchreid import data as torchreid_data

from ..data.companions import UNREADABLE, CompanionFiles
from ..data.datasets import plain_name
from ..data.folders import files_below
from ..data.image_datasets.base import IMAGE_ENDINGS
from ..registry import trains_only
from . import ParsingError


@dataclass(frozen=True)
class Images:
    """Images and the folder whose structure their companions repeat.

    Attributes:
        root: the image root; companions lie in a folder named like it with a suffix added.
        paths: absolute paths below ``root``.
        top: last folder in which companions are looked for (see ``CompanionFiles.find``).
    """

    root: str
    paths: list[str]
    top: str

    def companion_root(self, kind: CompanionFiles) -> str:
        """The folder into which companions are written."""
        return self.root + kind.suffix

    def companion_path(self, kind: CompanionFiles, path: str) -> str:
        """Where the companion of an image is written."""
        relative = os.path.splitext(os.path.relpath(path, self.root))[0]
        return os.path.join(self.companion_root(kind), relative + ".png")

    def folders(self) -> dict[str, list[str]]:
        """Every folder with images in or below ``root``, wanted or not -> its sorted names."""
        return dict(files_below(self.root, IMAGE_ENDINGS))


def dataset_images(
    name: str, root: str, everything: bool = False, cuhk03_labeled: bool = False
) -> Images:
    """The images of a registered torchreid dataset.

    Args:
        name: registered name; that of a ``_masks`` or ``_textures`` dataset means the dataset it is
            made of.
        root: data root.
        everything: query and gallery images too, not only those to train on.
        cuhk03_labeled: of CUHK03, the images with boxes drawn by hand instead of the detected ones.

    Raises:
        ParsingError: the dataset cannot be read from ``root``, or has none of these images.
    """
    name = plain_name(name)
    try:
        dataset = torchreid_data.datasets.init_image_dataset(
            name,
            root=root,
            # All lists are read in any mode; some sets have nothing to train on.
            mode="train" if trains_only(name) else "query",
            verbose=False,
            cuhk03_labeled=cuhk03_labeled,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise ParsingError(f"cannot read dataset {name} in {root}: {error}") from error

    def absolute(samples: Sequence[tuple]) -> list[str]:
        return list(dict.fromkeys(os.path.abspath(sample[0]) for sample in samples))

    train = absolute(dataset.train)
    if not (train or everything):
        raise ParsingError(
            f"{name} has no images to train on, only to test with, which needs no labels; "
            "--all takes those"
        )
    every = absolute([*dataset.train, *dataset.query, *dataset.gallery])
    # The image root does not depend on the images asked for now.
    common = os.path.commonpath([os.path.dirname(path) for path in every])
    return _images(common, every if everything else train, os.path.abspath(root))


def folder_images(folder: str) -> Images:
    """The images in a folder and all folders below it.

    Raises:
        ParsingError: there is no such folder, no image in it, or two images for one companion.
    """
    if not os.path.isdir(folder):
        raise ParsingError(f"there is no folder {folder}")
    root = os.path.abspath(folder)
    paths = [
        os.path.join(parent, name)
        for parent, names in files_below(root, IMAGE_ENDINGS)
        for name in names
    ]
    if not paths:
        raise ParsingError(
            f"{folder}: expected images ({', '.join(IMAGE_ENDINGS)}) in it or below, found none"
        )
    return _images(root, paths, root)


def _images(root: str, paths: list[str], top: str) -> Images:
    by_stem: dict[str, str] = {}
    for path in paths:
        other = by_stem.setdefault(os.path.splitext(path)[0], path)
        if other != path:
            raise ParsingError(
                f"{other} and {Path(path).name} would share one companion (labels, texture): "
                "rename one of them"
            )
    return Images(root, paths, top)


def read_pixels(path: str) -> np.ndarray | str:
    """An image, RGB, uint8 (H, W, 3), or why it cannot be read."""
    try:
        with Image.open(path) as image:
            return np.array(image.convert("RGB"))
    except UNREADABLE as error:
        return str(error)
