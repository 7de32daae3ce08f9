"""Makes the label maps of many images; a run that was killed goes on where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from filelock import FileLock, Timeout
from PIL import Image
from tqdm import tqdm

from ..data.masks import UNREADABLE, find_mask, mask_candidates
from ..parts import BACKGROUND
from . import ParsingError
from .drawing import draw_parts
from .images import Images
from .person_mask import PersonMask
from .poses import Pose, central_pose

RECORD = "masks.json"
_LOCK = ".masks.lock"
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
    folder = Path(images.labels_root)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / _LOCK, timeout=0):
            return _make(images, make_parser, record, person_mask, batch_size, workers, overwrite)
    except Timeout as error:
        raise ParsingError(
            f"another run is writing into {folder}: wait until it has ended"
        ) from error


def _make(
    images: Images,
    make_parser: Callable[[], Parser],
    record: dict[str, Any],
    person_mask: bool,
    batch_size: int,
    workers: int,
    overwrite: bool,
) -> list[str]:
    if overwrite:
        todo = images.paths
        _check_not_hidden(images)
    else:
        todo = [path for path in images.paths if find_mask(path, images.top) is None]
        _check_record(images, record)
    if not todo:
        return []
    parser = make_parser()
    cut = PersonMask() if person_mask else None
    for parent in sorted({os.path.dirname(images.label_path(path)) for path in todo}):
        os.makedirs(parent, exist_ok=True)
    if overwrite:  # an interrupted run goes on without --overwrite, and never mixes two parsers
        for path in todo:
            Path(images.label_path(path)).unlink(missing_ok=True)
    text = json.dumps(record, indent=1) + "\n"
    _write(os.path.join(images.labels_root, RECORD), text.encode())

    def finish(path: str, labels: np.ndarray) -> None:
        _write(images.label_path(path), cv2.imencode(".png", labels)[1].tobytes())

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
                list(pool.map(finish, paths, cut(pixels, labels) if cut else labels))
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


def _write(path: str, data: bytes) -> None:
    # The lock makes the name ours; a partial file of a killed run is replaced with its mask.
    partial = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.partial")
    with open(partial, "wb") as file:
        file.write(data)
    os.replace(partial, path)


def _check_not_hidden(images: Images) -> None:
    """Labels nearer to the images are read first: new ones behind them would change nothing."""
    for path in images.paths:
        found = find_mask(path, images.top)
        order = mask_candidates(path, images.top)
        if found and order.index(found) < order.index(images.label_path(path)):
            raise ParsingError(
                f"the labels {found} are read before those in {images.labels_root}, which "
                "--overwrite makes anew: move the former away"
            )


def _check_record(images: Images, record: dict[str, Any]) -> None:
    path = os.path.join(images.labels_root, RECORD)
    try:
        with open(path, encoding="utf-8") as file:
            old = json.load(file)
    except FileNotFoundError:
        return
    except ValueError as error:
        raise ParsingError(f"{path}: cannot be read ({error}); delete it") from error
    if old != json.loads(json.dumps(record)):
        changed = sorted(key for key in {*old, *record} if old.get(key) != record.get(key))
        raise ParsingError(
            f"{images.labels_root} holds labels made otherwise ({', '.join(changed)} differ, see "
            f"{path}): give the same settings, or --overwrite to make them anew"
        )
