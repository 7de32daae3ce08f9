"""Makes the label maps of many images; a run that was killed goes on where it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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

_AHEAD = 2  # batches that are read while one is parsed


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
    overwrite: bool = False,
) -> list[str]:
    """Writes the label map of every image that has none.

    Each file is complete or not there. One process at a time writes into a folder.

    Args:
        make_parser: called only if there is anything to do.
        record: parser, version and settings, kept in the labels' folder as ``masks.json``.
        person_mask: cut the drawings to the outline that Mask R-CNN finds.
        batch_size: images parsed at once.
        workers: threads that read, draw and write.
        overwrite: make all labels anew.

    Returns:
        A line for each image that could not be read; it has no labels.

    Raises:
        ParsingError: another run writes there, the labels there were made with other settings, or
            whatever keeps the parser from its work.
        OSError: the folder cannot be written.
    """
    with LabelFolder(images, record, overwrite) as folder:
        return _make(images, folder, make_parser, person_mask, batch_size, workers)


def _make(
    images: Images,
    folder: LabelFolder,
    make_parser: Callable[[], Parser],
    person_mask: bool,
    batch_size: int,
    workers: int,
) -> list[str]:
    todo = folder.todo
    if not todo:
        return []
    parser = make_parser()
    cut = PersonMask() if person_mask else None
    folder.start()
    faults: list[str] = []
    with (
        ThreadPoolExecutor(workers) as pool,
        tqdm(total=len(images.paths), initial=len(images.paths) - len(todo), unit="image") as bar,
    ):
        for batch in _batches(todo, batch_size, pool):
            read = [(path, image) for path, image in batch if isinstance(image, np.ndarray)]
            faults += [f"{path}: {error}" for path, error in batch if isinstance(error, Exception)]
            if read:
                paths, pixels = zip(*read, strict=True)
                labels = list(pool.map(_draw, parser(paths, pixels), pixels))
                list(pool.map(folder.write, paths, cut(pixels, labels) if cut else labels))
            bar.update(len(batch))
    return faults


def _batches(
    paths: Sequence[str], size: int, pool: ThreadPoolExecutor
) -> Iterator[list[tuple[str, np.ndarray | Exception]]]:
    """Batches of (path, image or why it cannot be read), read some batches ahead."""
    chunks = [paths[start : start + size] for start in range(0, len(paths), size)]
    reading: list[list[Future]] = []
    for number, chunk in enumerate(chunks):
        for ahead in chunks[number + len(reading) : number + 1 + _AHEAD]:
            reading.append([pool.submit(_read, path) for path in ahead])
        futures = reading.pop(0)
        yield [(path, future.result()) for path, future in zip(chunk, futures, strict=True)]


def _read(path: str) -> np.ndarray | Exception:
    try:
        with Image.open(path) as image:
            return np.array(image.convert("RGB"))
    except UNREADABLE as error:
        return error


def _draw(poses: Sequence[Pose], image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    pose = central_pose(poses, height, width)
    if pose is None:
        return np.full((height, width), BACKGROUND, np.uint8)
    return draw_parts(pose, height, width)
