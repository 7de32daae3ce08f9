"""Which images get sidecar files, part labels for one, and where these are written."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.datasets import plain_name
from ..data.reading import read_dataset
from ..data.sidecars import SidecarFiles, as_png
from ..images import IMAGE_ENDINGS, files_below, image_files
from ..registry import trains_only
from . import ParsingError


@dataclass(frozen=True)
class Images:
    """Images and the folder whose structure their sidecar files repeat.

    Attributes:
        root: the image root; sidecar files lie in a folder named like it with a suffix added.
        paths: absolute paths below ``root``.
        top: last folder in which sidecar files are looked for (see ``SidecarFiles.find``).
    """

    root: str
    paths: list[str]
    top: str

    def sidecar_root(self, kind: SidecarFiles) -> str:
        """Return the folder into which sidecar files are written."""
        return self.root + kind.suffix

    def sidecar_path(self, kind: SidecarFiles, path: str) -> str:
        """Return where the sidecar file of an image is written."""
        return os.path.join(self.sidecar_root(kind), as_png(os.path.relpath(path, self.root)))

    def folders(self) -> dict[str, list[str]]:
        """Return every folder with images in or below ``root`` -> all their sorted names."""
        return dict(files_below(self.root))


def dataset_images(
    name: str, root: str, everything: bool = False, cuhk03_labeled: bool = False
) -> Images:
    """Return the images of a registered torchreid dataset.

    Args:
        name: registered name; that of a ``_masks`` or ``_textures`` dataset means the dataset it is
            made of.
        root: data root.
        everything: query and gallery images too and what ``combineall`` adds, not only those to
            train on.
        cuhk03_labeled: of CUHK03, the images with boxes drawn by hand, not the detected ones.

    Raises:
        DatasetError: the dataset cannot be read from ``root``.
        ParsingError: it has none of these images.
    """
    name = plain_name(name)
    dataset = read_dataset(
        name,
        root,
        # All lists are read in any mode; some sets have nothing to train on.
        mode="train" if trains_only(name) else "query",
        combineall=everything,  # MSMT17 then has one list more
        cuhk03_labeled=cuhk03_labeled,
    )

    def absolute(samples: Sequence[Any]) -> list[str]:
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
    """Return the images in a folder and all folders below it.

    Raises:
        ParsingError: there is no such folder, no image in it, or two images for one sidecar file.
    """
    if not os.path.isdir(folder):
        raise ParsingError(f"there is no folder {folder}")
    root = os.path.abspath(folder)
    paths = image_files(root)
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
                f"{other} and {Path(path).name} would share one sidecar file (labels, texture): "
                "rename one of them"
            )
    return Images(root, paths, top)
