"""Label maps of images that have none, by a parser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..data.masks import MASKS
from ..parts import BACKGROUND
from .drawing import draw_parts
from .images import Images
from .parsers import Parser
from .parsers.rcnn import PersonMask
from .poses import Pose, central_pose
from .writing import BatchMaker, make_sidecars


def make_masks(
    images: Images,
    make_parser: Callable[[], Parser],
    record: dict[str, Any],
    *,
    person_mask: bool = False,
    batch_size: int = 16,
    workers: int = 2,
    processes: bool = False,
    overwrite: bool = False,
) -> list[str]:
    """Write the label map of every image that has none.

    Args:
        make_parser: called only if there is anything to do.
        record: parser, version and settings, kept in the labels' folder as ``masks.json``.
        person_mask: cut the drawings to the outline that Mask R-CNN finds.
        batch_size, workers, processes, overwrite: as for :func:`.writing.make_sidecars`.

    Returns:
        A line for each image that could not be read; it has no labels.

    Raises:
        ParsingError, OSError: as :func:`.writing.make_sidecars`, or whatever keeps the parser from
            its work.
    """
    return make_sidecars(
        MASKS,
        images,
        partial(_Labeller, make_parser, person_mask),
        record,
        batch_size=batch_size,
        workers=workers,
        processes=processes,
        overwrite=overwrite,
    )


class _Labeller(BatchMaker):
    """Parses, draws and cuts."""

    def __init__(self, make_parser: Callable[[], Parser], person_mask: bool) -> None:
        super().__init__()
        self._parse = make_parser()
        self._cut = PersonMask() if person_mask else None

    def make(self, paths: Sequence[str], images: Sequence[np.ndarray]) -> list[np.ndarray]:
        with self.one_batch:
            found = self._parse(paths, images)
        labels = list(map(_labels, found, images))
        if self._cut:
            with self.one_batch:
                labels = self._cut(images, labels)
        return labels


def _labels(found: np.ndarray | list[Pose], image: np.ndarray) -> np.ndarray:
    if isinstance(found, np.ndarray):
        return found
    height, width = image.shape[:2]
    pose = central_pose(found, height, width)
    if pose is None:
        return np.full((height, width), BACKGROUND, np.uint8)
    return draw_parts(pose, height, width)
