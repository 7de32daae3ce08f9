"""Counts of what the label maps of a set of images hold."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ..data.masks import find_mask
from ..images import ImageError, read_labels
from ..parts import FOREGROUND, NUM_PARTS, PARTS


@dataclass(frozen=True)
class Survey:
    """Counts over the readable label maps of some images.

    Attributes:
        images: number of images.
        found: how many have a label map, readable or not.
        readable: paths of the images with a readable map.
        pixels: (readable, 8) pixels of each label in each of these maps.
    """

    images: int
    found: int
    readable: list[str]
    pixels: np.ndarray

    def without(self, part: int) -> list[str]:
        """Return the images in whose map a part (0 to 7) does not appear."""
        absent = self.pixels[:, part] == 0
        return [path for path, is_absent in zip(self.readable, absent, strict=True) if is_absent]

    def __str__(self) -> str:
        present = self.pixels > 0
        maps = max(len(self.pixels), 1)
        nobody = int((~present[:, list(FOREGROUND)].any(axis=1)).sum())
        shares = self.pixels / np.maximum(self.pixels.sum(axis=1, keepdims=True), 1)
        lines = [
            f"images           {self.images}",
            f"with labels      {self.found}",
            f"without a person {nobody} (all background)",
            "",
            f"{'part':<12}{'pixels':>8}{'in images':>11}{'in none of':>12}",
        ]
        for part in range(NUM_PARTS):
            count = int(present[:, part].sum())
            share = shares[:, part].sum() / maps
            absent = len(self.pixels) - count
            lines.append(f"{PARTS[part]:<12}{share:>8.1%}{count / maps:>11.1%}{absent:>12}")
        return "\n".join(lines)


def survey_masks(paths: Sequence[str], top: str | os.PathLike[str]) -> Survey:
    """Read the label maps of images, wherever :func:`find_mask` finds them below ``top``."""

    def count(path: str) -> tuple[bool, np.ndarray | None]:
        mask = find_mask(path, top)
        if mask is None:
            return False, None
        try:
            return True, np.bincount(read_labels(mask).ravel(), minlength=NUM_PARTS)
        except ImageError:
            return True, None

    with ThreadPoolExecutor() as pool:
        counts = list(pool.map(count, paths))
    readable = {path: one for path, (_, one) in zip(paths, counts, strict=True) if one is not None}
    pixels = np.array(list(readable.values()), np.int64).reshape(-1, NUM_PARTS)
    return Survey(len(paths), sum(found for found, _ in counts), list(readable), pixels)
