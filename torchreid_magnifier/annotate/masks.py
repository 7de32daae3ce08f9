"""Label maps of images that have none, by a parser."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..data.masks import MASKS
from .images import Images
from .parsers import Parser
from .parsers.rcnn import PersonMask
from .people import Shown, draw_person, keep_person
from .poses import Pose
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

    def make(self, paths: Sequence[str], images: Sequence[np.ndarray]) -> list[Shown]:
        with self.one_batch:
            found = self._parse(paths, images)
        shown = [_shown(one, *image.shape[:2]) for one, image in zip(found, images, strict=True)]
        if self._cut:
            with self.one_batch:
                labels = self._cut(images, [one.labels for one in shown])
            shown = [one._replace(labels=cut) for one, cut in zip(shown, labels, strict=True)]
        return shown


def _shown(found: np.ndarray | list[Pose], height: int, width: int) -> Shown:
    if isinstance(found, np.ndarray):
        return keep_person(found)
    return draw_person(found, height, width)
