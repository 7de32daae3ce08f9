"""Makes the companions of many images; a run that was killed goes on where it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from threading import Lock
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from ..data.companions import CompanionFiles
from ..data.masks import MASKS
from ..parts import BACKGROUND
from .companion_folder import CompanionFolder
from .drawing import draw_parts
from .images import Images, read_pixels
from .person_mask import PersonMask
from .poses import Pose, central_pose
from .workers import Workers

# Paths of images -> for each path the pixels of its companion, or why it gets none.
Maker = Callable[[Sequence[str]], Mapping[str, np.ndarray | str]]


class Parser(Protocol):
    """Finds the people in images."""

    def __call__(self, paths: Sequence[str], images: Sequence[np.ndarray]) -> list[list[Pose]]:
        """The poses in each image, uint8 (H, W, 3) RGB of any size; none means nobody is there."""


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
    """Writes the label map of every image that has none.

    Args:
        make_parser: called only if there is anything to do.
        record: parser, version and settings, kept in the labels' folder as ``masks.json``.
        person_mask: cut the drawings to the outline that Mask R-CNN finds.
        batch_size, workers, processes, overwrite: as for :func:`make_companions`.

    Returns:
        A line for each image that could not be read; it has no labels.

    Raises:
        ParsingError, OSError: as :func:`make_companions`, or whatever keeps the parser from its
            work.
    """
    return make_companions(
        MASKS,
        images,
        partial(_Labeller, make_parser, person_mask),
        record,
        batch_size=batch_size,
        workers=workers,
        processes=processes,
        overwrite=overwrite,
    )


def make_companions(
    kind: CompanionFiles,
    images: Images,
    make_maker: Callable[[], Maker],
    record: dict[str, Any],
    *,
    batch_size: int,
    workers: int,
    processes: bool = False,
    overwrite: bool = False,
) -> list[str]:
    """Writes the companion of every image that has none.

    Each file is complete or not there. One run at a time writes into a folder.

    Args:
        make_maker: called only if there is anything to do.
        record: kept in the companions' folder as ``masks.json`` or ``textures.json``.
        batch_size: images that are given to the maker at once.
        workers: how many batches are worked on at once.
        processes: each in a process of its own, to which ``make_maker`` is pickled.
        overwrite: make all anew.

    Returns:
        A line for each image that has none then.

    Raises:
        ParsingError: the folder cannot be written, another run writes there, or those there were
            made with other settings.
        OSError: a file cannot be written, such as on a full disk.
    """
    with CompanionFolder(kind, images, record, overwrite) as folder:
        todo = set(folder.todo)
        if not todo:
            return []
        # What a network says of an image depends, by a hair, on the others in its batch. So a run
        # that goes on has the batches of one that was never killed.
        starts = range(0, len(images.paths), batch_size)
        batches = [images.paths[start : start + batch_size] for start in starts]
        batches = [batch for batch in batches if not todo.isdisjoint(batch)]
        faults: list[str] = []
        done = len(images.paths) - len(todo)
        with (
            Workers(make_maker, workers, processes) as makers,
            tqdm(total=len(images.paths), initial=done, unit="image") as bar,
        ):
            folder.start()
            for answers in makers.map(batches):
                for path, pixels in answers.items():
                    if path not in todo:
                        continue
                    if isinstance(pixels, str):
                        faults.append(f"{path}: {pixels}")
                    else:
                        folder.write(path, pixels)
                    bar.update()
        return faults


class BatchMaker:
    """Reads batches of images and has those that can be read worked on: a ``Maker``.

    Attributes:
        one_batch: for threads that share a network, and the memory for one batch.
    """

    def __init__(self) -> None:
        self.one_batch = Lock()

    def __call__(self, paths: Sequence[str]) -> dict[str, np.ndarray | str]:
        answers = {path: read_pixels(path) for path in paths}
        images = {path: image for path, image in answers.items() if isinstance(image, np.ndarray)}
        if images:
            made = self.make(list(images), list(images.values()))
            answers.update(zip(images, made, strict=True))
        return answers

    def make(self, paths: Sequence[str], images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The pixels of the companions of images, uint8 (H, W, 3) RGB of any size."""
        raise NotImplementedError


class _Labeller(BatchMaker):
    """Parses, draws and cuts."""

    def __init__(self, make_parser: Callable[[], Parser], person_mask: bool) -> None:
        super().__init__()
        self._parse = make_parser()
        self._cut = PersonMask() if person_mask else None

    def make(self, paths: Sequence[str], images: Sequence[np.ndarray]) -> list[np.ndarray]:
        with self.one_batch:
            poses = self._parse(paths, images)
        labels = list(map(_draw, poses, images))
        if self._cut:
            with self.one_batch:
                labels = self._cut(images, labels)
        return labels


def _draw(poses: Sequence[Pose], image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    pose = central_pose(poses, height, width)
    if pose is None:
        return np.full((height, width), BACKGROUND, np.uint8)
    return draw_parts(pose, height, width)
