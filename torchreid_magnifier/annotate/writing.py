"""Makes the sidecar files of many images; a run that was killed goes on where it was."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from ..data.sidecars import SidecarFiles
from ..files import LockedError, locked, write_atomically
from ..images import ImageError, read_image
from ..workers import Workers
from . import ParsingError
from .images import Images
from .people import Shown

# Paths of images -> for each path the pixels of its sidecar file, with a doubt where there may be
# one, or a line on why it gets none.
Maker = Callable[[Sequence[str]], Mapping[str, np.ndarray | Shown | str]]

DOUBTFUL = "doubtful.json"  # image, as a path below the root -> why its label map may be wrong


def make_sidecars(
    kind: SidecarFiles,
    images: Images,
    make_maker: Callable[[], Maker],
    record: dict[str, Any],
    *,
    batch_size: int,
    workers: int,
    processes: bool = False,
    overwrite: bool = False,
) -> list[str]:
    """Write the sidecar file of every image that has none.

    Each file is complete or not there. One run at a time writes into a folder.

    Args:
        make_maker: called only if there is anything to do.
        record: kept in their folder as ``masks.json`` or ``textures.json``.
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
    with SidecarFolder(kind, images, record, overwrite) as folder:
        todo = set(folder.todo)
        if not todo:
            return []
        # What a network says of an image depends, by a hair, on the others in its batch. So a run
        # that goes on has the batches of one that was never killed.
        starts = range(0, len(images.paths), batch_size)
        batches = [images.paths[start : start + batch_size] for start in starts]
        batches = [batch for batch in batches if not todo.isdisjoint(batch)]
        problems: list[str] = []
        done = len(images.paths) - len(todo)
        with (
            Workers(make_maker, workers, processes) as makers,
            tqdm(total=len(images.paths), initial=done, unit="image") as bar,
        ):
            folder.start()
            for answers in makers.map(batches):
                shown = {path: one for path, one in answers.items() if isinstance(one, Shown)}
                folder.note({path: one.doubt for path, one in shown.items() if path in todo})
                plain = {path: one.labels for path, one in shown.items()}
                for path, pixels in {**answers, **plain}.items():
                    if path not in todo:
                        continue
                    if isinstance(pixels, np.ndarray):
                        folder.write(path, pixels)
                    else:
                        problems.append(str(pixels))
                    bar.update()
        return problems


class BatchMaker:
    """Reads batches of images and has those that can be read worked on: a ``Maker``.

    Attributes:
        one_batch: for threads that share a network, and the memory for one batch.
    """

    def __init__(self) -> None:
        self.one_batch = Lock()

    def __call__(self, paths: Sequence[str]) -> dict[str, np.ndarray | Shown | str]:
        answers: dict[str, np.ndarray | Shown | str] = {}
        images = {}
        for path in paths:
            try:
                images[path] = read_image(path)
            except ImageError as error:
                answers[path] = error.problem
        if images:
            answers.update(zip(images, self.make([*images], [*images.values()]), strict=True))
        return answers

    def make(
        self, paths: Sequence[str], images: Sequence[np.ndarray]
    ) -> Sequence[np.ndarray | Shown]:
        """Return the pixels of the sidecar files of images, uint8 (H, W, 3) RGB of any size."""
        raise NotImplementedError


def doubts_of(images: Images, kind: SidecarFiles) -> dict[str, str]:
    """Return which images' sidecar files may be wrong: path of the image -> why, in words.

    Raises:
        ParsingError: what is kept beside them is no such record.
    """
    known = _read_doubts(Path(images.sidecar_root(kind)))
    names = {path: os.path.relpath(path, images.root) for path in images.paths}
    return {path: known[name] for path, name in names.items() if name in known}


def _read_doubts(folder: Path) -> dict[str, str]:
    path = folder / DOUBTFUL
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ParsingError(f"{path}: cannot be read ({error}); delete it") from error
    if not isinstance(found, dict) or not all(isinstance(why, str) for why in found.values()):
        raise ParsingError(f"{path}: expected names of images with words to each; delete it")
    return found


class SidecarFolder:
    """Writes sidecar files so that a run that was killed goes on and never mixes two makings.

    Used as a context manager, which keeps other processes out. :meth:`start` comes before the
    first :meth:`write`.

    Args:
        kind: of sidecar files.
        images: whose they are.
        record: what makes them what they are, kept beside them as ``masks.json`` or
            ``textures.json``.
        overwrite: make all anew instead of the absent ones.

    Attributes:
        todo: paths of the images whose files are to be written, known inside the context.

    Raises:
        ParsingError: entering, if the folder cannot be written, another run writes there, or
            those there were made otherwise.
        OSError: a file cannot be written, such as on a full disk.
    """

    def __init__(
        self, kind: SidecarFiles, images: Images, record: dict[str, Any], overwrite: bool
    ) -> None:
        self._kind, self._images = kind, images
        self._record = json.loads(json.dumps(record))  # as it will be read: lists for tuples
        self._overwrite = overwrite
        self._folder = Path(images.sidecar_root(kind))
        self._record_path = self._folder / f"{kind.name}s.json"
        self._lock = ExitStack()
        self.todo: list[str] = []

    def __enter__(self) -> "SidecarFolder":
        folder = self._folder
        with ExitStack() as stack:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(folder / f".{self._kind.name}s.lock"))
            except LockedError as error:
                raise ParsingError(str(error)) from error
            except OSError as error:
                raise ParsingError(
                    f"{self._kind.names} are written into {folder}, beside the images, but that is "
                    f"not possible ({error}): make it writable, or copy the images to where you "
                    "may write"
                ) from error
            self.todo = self._choose()
            self._lock = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def _choose(self) -> list[str]:
        paths, top = self._images.paths, self._images.top
        if self._overwrite:
            self._check_not_hidden()
            return paths
        self._check_record()
        return [path for path in paths if self._kind.find(path, top) is None]

    def start(self) -> None:
        """Make the folders and the record, and remove the files that are to be replaced."""
        for parent in sorted({os.path.dirname(self._target(path)) for path in self.todo}):
            os.makedirs(parent, exist_ok=True)
            for left in Path(parent).glob(".*.partial"):  # by a run that was killed
                left.unlink()
        if self._overwrite:  # an interrupted run goes on without --overwrite
            for path in self.todo:
                Path(self._target(path)).unlink(missing_ok=True)
        write_atomically(self._record_path, (json.dumps(self._record, indent=1) + "\n").encode())
        self.note(dict.fromkeys(self.todo, ""))

    def note(self, doubts: Mapping[str, str]) -> None:
        """Keep why files may be wrong, beside them, before they are written.

        Args:
            doubts: path of an image -> in words, "" without any.
        """
        known = _read_doubts(self._folder)
        named = {os.path.relpath(path, self._images.root): doubts[path] for path in doubts}
        after = {name: doubt for name, doubt in {**known, **named}.items() if doubt}
        if after != known:
            text = json.dumps(dict(sorted(after.items())), indent=1, ensure_ascii=False) + "\n"
            write_atomically(self._folder / DOUBTFUL, text.encode())

    def write(self, path: str, pixels: np.ndarray) -> None:
        """Write the sidecar file of the image at ``path``.

        Args:
            pixels: uint8, labels (H, W) or RGB (H, W, 3).
        """
        blue_first = pixels[..., ::-1] if pixels.ndim == 3 else pixels
        data = cv2.imencode(".png", blue_first)[1].tobytes()
        write_atomically(self._target(path), data, sweep=False)  # start() has done so

    def _target(self, path: str) -> str:
        return self._images.sidecar_path(self._kind, path)

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
            old = json.loads(path.read_bytes())
        except FileNotFoundError:
            return
        except ValueError as error:
            raise ParsingError(f"{path}: cannot be read ({error}); delete it") from error
        if old != record:
            keys = {*old, *record} if isinstance(old, dict) else set(record)
            changed = sorted(k for k in keys if not old or old.get(k) != record.get(k))
            raise ParsingError(
                f"{folder} holds {self._kind.names} made otherwise ({', '.join(changed)} differ, "
                f"see {path}): give the same settings, or --overwrite to make them anew"
            )
