"""torchreid's dataset classes, with errors that say what was looked for and what is there."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any

from torchreid import data as torchreid_data

from ..errors import MagnifierError
from .datasets import DatasetError

_SHOWN = 8  # names of what is in a folder
_LOOKED_AT = 200  # entries of a folder in which a misplaced one is searched for
# Local variables of dataset classes that say what they were reading.
_TELLING = re.compile("path|name|file|dir|info|line|pattern|pid|cam|split", re.IGNORECASE)


def answerable(query: Iterable[tuple[int, int]], gallery: Iterable[tuple[int, int]]) -> list[int]:
    """Return the places of the queries whose person is in the gallery by another camera.

    Args:
        query, gallery: person and camera of each image.
    """
    cameras = defaultdict(set)
    for pid, camid in gallery:
        cameras[pid].add(camid)
    return [place for place, (pid, camid) in enumerate(query) if cameras[pid] - {camid}]


def read_dataset(name: str, root: str | os.PathLike[str], **kwargs: Any) -> Any:
    """Return a registered image dataset.

    Args:
        name: under which it is registered.
        root: data root.
        **kwargs: for its class; ``verbose`` is False without being given.

    Raises:
        DatasetError: as :func:`explained`; or the name is not registered.
    """
    with explained(root):
        try:
            init = torchreid_data.datasets.init_image_dataset
            return init(name, **{"root": os.fspath(root), "verbose": False, **kwargs})
        except ValueError as error:
            if _frames(error)[-1].f_code.co_name == "init_image_dataset":
                raise DatasetError(str(error)) from error
            raise


@contextmanager
def explained(root: str | os.PathLike[str]) -> Iterator[None]:
    """Turn the errors of dataset classes that are made inside ``with`` into ones that help.

    Args:
        root: data root that they were given.

    Raises:
        DatasetError: a class could not read its files: what it looked for, what is there, and which
            path was probably meant.
    """
    try:
        yield
    except MagnifierError:
        raise
    except Exception as error:
        frames = _frames(error)
        made = [f.f_locals.get("self") for f in frames]
        datasets = [s for s in made if isinstance(s, torchreid_data.Dataset)]
        if not datasets or str(frames[-1].f_globals.get("__name__")).startswith(__package__):
            raise
        text = _explanation(
            error, datasets[-1], Path(os.path.abspath(Path(root).expanduser())), frames
        )
        raise DatasetError(text) from error


def _frames(error: BaseException) -> list[FrameType]:
    frames = []
    trace = error.__traceback__
    while trace:
        frames.append(trace.tb_frame)
        trace = trace.tb_next
    return frames


def _explanation(error: Exception, dataset: Any, root: Path, frames: list[FrameType]) -> str:
    name = type(dataset).__name__
    home = Path(getattr(dataset, "dataset_dir", "") or root).absolute()
    quoted = re.search(r'"(.+)" is not found', str(error))
    missing = quoted[1] if quoted else getattr(error, "filename", None)
    if any(frame.f_code.co_name == "download_dataset" for frame in frames):
        with suppress(OSError):  # it was made for the download, and is empty
            home.rmdir()
        failed = f"{home} is not there and could not be downloaded ({error})"
        return "\n".join([f"dataset {name}: {failed}", _contents(home), *_meant(home, root)])
    if missing and not os.path.exists(missing):
        looked_for = Path(missing).absolute()
        lines = [f"dataset {name}: looked for {looked_for}, which is not there"]
        return "\n".join([*lines, _contents(looked_for), *_meant(looked_for, root)])
    made = frames[-1].f_locals
    splits = ("train", "query", "gallery")
    if isinstance(error, IndexError) and all(isinstance(made.get(s), list) for s in splits):
        lines = [
            _no_images(name, split, Path(getattr(dataset, f"{split}_dir", None) or home))
            for split in splits
            if not made[split]
        ]
        return "\n".join(lines)
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    lines = [f"dataset {name}: cannot read {home} ({reason})", *_state(frames)]
    return "\n".join([*lines, "is the folder another data set's, or are files of others in it?"])


def _no_images(name: str, split: str, folder: Path) -> str:
    endings = Counter(Path(n).suffix or "no ending" for n in _names(folder, files=True))
    found = ", ".join(f"{count} files with {ending}" for ending, count in endings.most_common(4))
    text = f"dataset {name}: no {split} images in {folder}, which holds {found or 'no files'}"
    if endings and ".jpg" not in endings:
        text += "; torchreid's classes look for one ending, mostly .jpg: rename or convert them"
    if not endings:
        text += f"\n{_contents(folder / '.')}"
    return text


def _state(frames: list[FrameType]) -> list[str]:
    """Return what the class was reading, from its variables."""
    for frame in reversed(frames):
        if isinstance(frame.f_locals.get("self"), torchreid_data.Dataset):
            found = {
                key: getattr(value, "pattern", value)
                for key, value in frame.f_locals.items()
                if _TELLING.search(key) and isinstance(value, str | int | re.Pattern)
            }
            return ["when it read", *(f"  {key}: {value}" for key, value in found.items())]
    return []


def _contents(missing: Path) -> str:
    """Return what the nearest folder that exists has instead."""
    folder = next(p for p in (*missing.parents, Path("/")) if p.is_dir())
    names = _names(folder)
    more = " ..." if len(names) > _SHOWN else ""
    return f"in {folder} there is: {', '.join(names[:_SHOWN]) or 'nothing'}{more}"


def _names(folder: Path, files: bool = False) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            found = [e.name for e in entries if not files or e.is_file()]
    except OSError:
        return []
    return sorted(name for name in found if not name.startswith("."))


def _meant(missing: Path, root: Path) -> list[str]:
    """Advice, where what is missing lies one level up or down, or in a folder too few."""
    try:
        parts = missing.relative_to(root).parts
    except ValueError:
        return []
    near = [root, *root.parents[:3], *_folders(root)]
    near += [folder for first in _folders(root) for folder in _folders(first)]
    for skipped in range(len(parts)):
        for base in near:
            found = base.joinpath(*parts[skipped:])
            if not found.exists():
                continue
            if not skipped and base != root:
                return [f"{found} is there: is the data root {base}?"]
            return [f"{found} is there: is that it? Then it must be moved to {missing}"]
    return []


def _folders(folder: Path) -> list[Path]:
    try:
        return [p for p in islice(sorted(folder.iterdir()), _LOOKED_AT) if p.is_dir()]
    except OSError:
        return []
