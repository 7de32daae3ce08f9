"""The folder into which the labels or textures of images are written, by one process at a time."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from filelock import FileLock, Timeout

from ..data.companions import CompanionFiles
from . import ParsingError
from .images import Images


class CompanionFolder:
    """Writes companions so that a run that was killed goes on and never mixes those of two makings.

    Used as a context manager, which keeps other processes out. :meth:`start` comes before the
    first :meth:`write`.

    Args:
        kind: of companions.
        images: whose they are.
        record: what makes them what they are, kept beside them as ``masks.json`` or
            ``textures.json``.
        overwrite: make all anew instead of the absent ones.

    Attributes:
        todo: paths of the images whose companions are to be written, known inside the context.

    Raises:
        ParsingError: entering, if the folder cannot be written, another run writes there, or
            those there were made otherwise.
        OSError: a file cannot be written, such as on a full disk.
    """

    def __init__(
        self, kind: CompanionFiles, images: Images, record: dict[str, Any], overwrite: bool
    ) -> None:
        self._kind, self._images = kind, images
        self._record = json.loads(json.dumps(record))  # as it will be read: lists for tuples
        self._overwrite = overwrite
        self._folder = Path(images.companion_root(kind))
        self._lock = FileLock(self._folder / f".{kind.name}s.lock", timeout=0)
        self._record_path = self._folder / f"{kind.name}s.json"
        self.todo: list[str] = []

    def __enter__(self) -> CompanionFolder:
        folder = self._folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout as error:
            raise ParsingError(
                f"another run is writing into {folder}: wait until it has ended"
            ) from error
        except OSError as error:
            raise ParsingError(
                f"{self._kind.names} are written into {folder}, beside the images, but that is not "
                f"possible ({error}): make it writable, or copy the images to where you may write"
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
        return [path for path in paths if self._kind.find(path, top) is None]

    def start(self) -> None:
        """Makes the folders and the record, and removes the files that are to be replaced."""
        for parent in sorted({os.path.dirname(self._target(path)) for path in self.todo}):
            os.makedirs(parent, exist_ok=True)
        if self._overwrite:  # an interrupted run goes on without --overwrite
            for path in self.todo:
                Path(self._target(path)).unlink(missing_ok=True)
        text = json.dumps(self._record, indent=1) + "\n"
        _write(str(self._record_path), text.encode())

    def write(self, path: str, pixels: np.ndarray) -> None:
        """Writes the companion of the image at ``path``; threads may do so at once.

        Args:
            pixels: uint8, labels (H, W) or RGB (H, W, 3).
        """
        blue_first = pixels[..., ::-1] if pixels.ndim == 3 else pixels
        _write(self._target(path), cv2.imencode(".png", blue_first)[1].tobytes())

    def _target(self, path: str) -> str:
        return self._images.companion_path(self._kind, path)

    def _check_not_hidden(self) -> None:
        """Those nearer to the images are read first: new ones behind them would change nothing."""
        for path in self._images.paths:
            found = self._kind.find(path, self._images.top)
            order = self._kind.candidates(path, self._images.top)
            if found and order.index(found) < order.index(self._target(path)):
                raise ParsingError(
                    f"the {self._kind.name} {found} is read before those in {self._folder}, which "
                    "--overwrite makes anew: move it away"
                )

    def _check_record(self) -> None:
        folder, record = self._folder, self._record
        path = self._record_path
        try:
            with open(path, encoding="utf-8") as file:
                old = json.load(file)
        except FileNotFoundError:
            return
        except ValueError as error:
            raise ParsingError(f"{path}: cannot be read ({error}); delete it") from error
        if old != record:
            changed = sorted(key for key in {*old, *record} if old.get(key) != record.get(key))
            raise ParsingError(
                f"{folder} holds {self._kind.names} made otherwise ({', '.join(changed)} differ, "
                f"see {path}): give the same settings, or --overwrite to make them anew"
            )


def _write(path: str, data: bytes) -> None:
    # The lock makes the name ours; a partial file of a killed run is replaced in the next.
    partial = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.partial")
    with open(partial, "wb") as file:
        file.write(data)
    os.replace(partial, path)
