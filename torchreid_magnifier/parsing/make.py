"""Makes the label maps of many images; a run that was killed goes on where it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from threading import Lock
from typing import Any, Protocol

import numpy as np
from PIL import Image
from tqdm import tqdm

from ..data.masks import UNREADABLE
from ..parts import BACKGROUND
from .drawing import draw_parts
from .images import Images
from .label_folder import LabelFolder
from .person_mask import PersonMask
from .poses import Pose, central_pose
from .workers import Workers


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

    Each file is complete or not there. One run at a time writes into a folder.

    Args:
        make_parser: called only if there is anything to do.
        record: parser, version and settings, kept in the labels' folder as ``masks.json``.
        person_mask: cut the drawings to the outline that Mask R-CNN finds.
        batch_size: images parsed at once.
        workers: how many batches are worked on at once.
        processes: each in a process of its own, to which ``make_parser`` is pickled.
        overwrite: make all labels anew.

    Returns:
        A line for each image that could not be read; it has no labels.

    Raises:
        ParsingError: the folder cannot be written, another run writes there, the labels there were
            made with other settings, or whatever keeps the parser from its work.
        OSError: a file cannot be written, such as on a full disk.
    """
    with LabelFolder(images, record, overwrite) as folder:
        todo = set(folder.todo)
        if not todo:
            return []
        # What a network says of an image depends, by a hair, on the others in its batch. So a run
        # that goes on has the batches of one that was never killed.
        starts = range(0, len(images.paths), batch_size)
        batches = [images.paths[start : start + batch_size] for start in starts]
        batches = [batch for batch in batches if not todo.isdisjoint(batch)]
        faults: list[str] = []
        make_labeller = partial(_Labeller, make_parser, person_mask)
        done = len(images.paths) - len(todo)
        with (
            Workers(make_labeller, workers, processes) as labellers,
            tqdm(total=len(images.paths), initial=done, unit="image") as bar,
        ):
            folder.start()
            for answers in labellers.map(batches):
                for path, labels in answers.items():
                    if path not in todo:
                        continue
                    if isinstance(labels, str):
                        faults.append(f"{path}: {labels}")
                    else:
                        folder.write(path, labels)
                    bar.update()
        return faults


class _Labeller:
    """Reads, parses, draws and cuts batches of images."""

    def __init__(self, make_parser: Callable[[], Parser], person_mask: bool) -> None:
        self._parse = make_parser()
        self._cut = PersonMask() if person_mask else None
        self._one_batch = Lock()  # threads that share a network, and the memory for one batch

    def __call__(self, paths: Sequence[str]) -> dict[str, np.ndarray | str]:
        """Path -> the labels, or why the image cannot be read."""
        answers = {path: _read(path) for path in paths}
        images = {path: image for path, image in answers.items() if isinstance(image, np.ndarray)}
        if images:
            pixels = list(images.values())
            with self._one_batch:
                poses = self._parse(list(images), pixels)
            labels = list(map(_draw, poses, pixels))
            if self._cut:
                with self._one_batch:
                    labels = self._cut(pixels, labels)
            answers.update(zip(images, labels, strict=True))
        return answers


def _read(path: str) -> np.ndarray | str:
    try:
        with Image.open(path) as image:
            return np.array(image.convert("RGB"))
    except UNREADABLE as error:
        return str(error)


def _draw(poses: Sequence[Pose], image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    pose = central_pose(poses, height, width)
    if pose is None:
        return np.full((height, width), BACKGROUND, np.uint8)
    return draw_parts(pose, height, width)
