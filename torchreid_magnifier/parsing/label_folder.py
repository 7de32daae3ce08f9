"""The folder into which the labels of images are written, by one process at a time."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from filelock import FileLock, Timeout

from ..data.masks import find_mask, mask_candidates
from . import ParsingError
from .images import Images

RECORD = "masks.json"
_LOCK = ".masks.lock"


class LabelFolder:
    """Writes label maps so that a run that was killed goes on and never mixes two kinds of labels.

    Used as a context manager, which keeps other processes out. :meth:`start` comes before the
    first :meth:`write`.

    Args:
        images: the images, and where their labels go.
        record: what makes the labels what they are, kept beside them as ``masks.json``.
        overwrite: make all labels anew instead of the absent ones.

    Attributes:
        todo: paths of the images whose labels are to be written, known inside the context.

    Raises:
        ParsingError: entering, if the folder cannot be written, another run writes there, or the
            labels there were made otherwise.
        OSError: a file cannot be written, such as on a full disk.
    """

    def __init__(self, images: Images, record: dict[str, Any], overwrite: bool) -> None:
        self._images, self._record, self._overwrite = images, record, overwrite
        self._lock = FileLock(Path(images.labels_root) / _LOCK, timeout=0)
        self.todo: list[str] = []

    def __enter__(self) -> LabelFolder:
        folder = Path(self._images.labels_root)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout as error:
            raise ParsingError(
                f"another run is writing into {folder}: wait until it has ended"
            ) from error
        except OSError as error:
            raise ParsingError(
                f"labels are written into {folder}, beside the images, but that is not possible "
                f"({error}): make it writable, or copy the images to where you may write"
            ) from error
        try:
            self.todo = self._choose()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def _choose(self) -> list[str]:
        paths, top = self._images.paths, self._images.top
        if self._overwrite:
            self._check_not_hidden()
            return paths
        self._check_record()
        return [path for path in paths if find_mask(path, top) is None]

    def start(self) -> None:
        """Makes the folders and the record, and removes the labels that are to be replaced."""
        label_path = self._images.label_path
        for parent in sorted({os.path.dirname(label_path(path)) for path in self.todo}):
            os.makedirs(parent, exist_ok=True)
        if self._overwrite:  # an interrupted run goes on without --overwrite
            for path in self.todo:
                Path(label_path(path)).unlink(missing_ok=True)
        text = json.dumps(self._record, indent=1) + "\n"
        _write(os.path.join(self._images.labels_root, RECORD), text.encode())

    def write(self, path: str, labels: np.ndarray) -> None:
        """Writes the labels, uint8 (H, W), of the image at ``path``; threads may do so at once."""
        _write(self._images.label_path(path), cv2.imencode(".png", labels)[1].tobytes())

    def _check_not_hidden(self) -> None:
        """Labels nearer to the images are read first: new ones behind them would change nothing."""
        images = self._images
        for path in images.paths:
            found = find_mask(path, images.top)
            order = mask_candidates(path, images.top)
            if found and order.index(found) < order.index(images.label_path(path)):
                raise ParsingError(
                    f"the labels {found} are read before those in {images.labels_root}, which "
                    "--overwrite makes anew: move the former away"
                )

    def _check_record(self) -> None:
        folder, record = self._images.labels_root, self._record
        path = os.path.join(folder, RECORD)
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
                f"{folder} holds labels made otherwise ({', '.join(changed)} differ, see {path}): "
                "give the same settings, or --overwrite to make them anew"
            )


def _write(path: str, data: bytes) -> None:
    # The lock makes the name ours; a partial file of a killed run is replaced with its mask.
    partial = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.partial")
    with open(partial, "wb") as file:
        file.write(data)
    os.replace(partial, path)
