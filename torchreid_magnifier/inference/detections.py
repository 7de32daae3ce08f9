"""Files of detections and tracks, as detectors and trackers write them -> crops of people.

All numbers are looked at before any work, and a mistake is an error that names the line.
"""

import csv
import hashlib
import json
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..files import read_lines, read_text
from ..images import image_size
from .boxes import BoxError, crop_bounds, require_inside
from .errors import RetrievalError
from .sources import (
    NO_TRACK,
    Frame,
    Picture,
    Place,
    announced_frames,
    find_sources,
    is_video,
    opened_video,
)

# By what trackers and detectors call them; supervision's CSVSink writes the second names.
_COLUMNS = {
    "frame": ("frame", "frame_index"),
    "file": ("file",),
    "x1": ("x1", "x_min"),
    "y1": ("y1", "y_min"),
    "x2": ("x2", "x_max"),
    "y2": ("y2", "y_max"),
    "left": ("left",),
    "top": ("top",),
    "width": ("width",),
    "height": ("height",),
    "track": ("track", "tracker_id"),
    "score": ("score", "confidence"),
    "class": ("class", "class_id"),
    "class name": ("class_name",),
}
_CORNERS, _SIZES = ("x1", "y1", "x2", "y2"), ("left", "top", "width", "height")


class BoxedFrame(NamedTuple):
    """A frame with the boxes in it.

    Attributes:
        path: of the video, or of the frame's image.
        number: of the frame, from 0.
        boxes: corners in pixels, float32 (n, 4), each with pixels in the frame.
        tracks: int (n,), -1 of none.
        scores: float (n,).
    """

    path: str
    number: int
    boxes: np.ndarray
    tracks: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class Detections:
    """People in the frames of videos and of folders, frame by frame; see ``read_detections``.

    Attributes:
        frames: those with boxes, each video's or folder's in ascending order.
        left_out: how many boxes were left out, by reason.
    """

    frames: list[BoxedFrame]
    left_out: Mapping[str, int]

    def __len__(self) -> int:
        return sum(len(frame.boxes) for frame in self.frames)

    @property
    def has_tracks(self) -> bool:
        """Return whether a box belongs to a track."""
        return any((frame.tracks != NO_TRACK).any() for frame in self.frames)

    @property
    def paths(self) -> list[str]:
        """Return the files that the frames are in."""
        return list(dict.fromkeys(frame.path for frame in self.frames))

    def pictures(self) -> Iterator[Picture]:
        """Yield a picture for each box. Call :meth:`Picture.kept` before the next one.

        Raises:
            RetrievalError: a video ends before its last box.
        """
        for path, group in groupby(self.frames, key=lambda frame: frame.path):
            if is_video(path):
                yield from _in_video(path, list(group))
            else:
                for boxed in group:
                    yield from _crops(boxed, Frame(path, boxed.number))

    def text_of_left_out(self) -> str:
        """Return how many boxes were left out, and why."""
        return f"boxes left out: {', '.join(f'{n} {why}' for why, n in self.left_out.items())}"

    def digest(self) -> str:
        """Return what changes if a box, a track or a score does."""
        digest = hashlib.sha256()
        for frame in self.frames:
            digest.update(f"{frame.path}\0{frame.number}\0".encode())
            for column in frame[2:]:
                digest.update(np.ascontiguousarray(column, np.float64).tobytes())
        return digest.hexdigest()[:16]


def read_detections(
    pairs: Iterable[tuple[str | os.PathLike[str], str | os.PathLike[str]]],
    *,
    min_score: float | None = None,
    classes: Sequence[str] | None = None,
    every: int = 1,
) -> Detections:
    """Read boxes of people, and see that they fit the frames that they are in.

    Frames are counted from 0, those of a folder in the order of their names. The boxes are in a

    - ``.txt`` file of MOTChallenge (``det.txt``, ``gt.txt``, or what a tracker writes): frame (from
      1), track, left, top, width, height and perhaps score; of a ``gt.txt`` of nine columns, boxes
      whose flag is 0 are left out;
    - ``.json`` file of COCO: results (``image_id``, ``bbox``, ``score``, perhaps ``track_id``), or
      a whole dataset, whose images are named; numbers of images are those in the names of files,
      or of a video's frames;
    - folder of YOLO's text files, ``<image>.txt`` or ``<video>_<frame from 1>.txt``: class, centre
      and size as shares, and perhaps score and track;
    - ``.csv`` file with a header: ``frame`` or ``file``; ``x1``, ``y1``, ``x2``, ``y2`` or
      ``left``, ``top``, ``width``, ``height``; perhaps ``track``, ``score`` and ``class``. The
      names of supervision's ``CSVSink`` do as well.

    Args:
        pairs: a video or a folder of frames, and the boxes in it, each.
        min_score: leave out boxes of a lower score. A box without one has the score 1.
        classes: of people, by number or name. If None, 1 of COCO, 0 of YOLO, all others.
        every: take the frames whose number is a multiple of it.

    Raises:
        RetrievalError: a file cannot be read or is not one of these; a number is missing, no number
            or out of its range; a frame is missing; a track is in a frame twice; nothing remains.
        BoxError: boxes are beyond the frame, as those of an image of another size are.
        ImageError: an image cannot be read.
        ListError, OSError: a file is no text, or cannot be read.
    """
    frames: list[BoxedFrame] = []
    left_out: Counter[str] = Counter()
    given = list(pairs)
    for source, file in given:
        found = _Frames(os.path.expanduser(os.fspath(source)))
        path = Path(file).expanduser()
        kept: dict[int, list[_Row]] = {}
        for row in _rows(path, found):
            wanted = classes if classes is not None else row.people
            if wanted is not None and not set(wanted) & set(row.classes):
                left_out["of other classes"] += 1
            elif row.ignored:
                left_out["with the flag 0 of a gt.txt"] += 1
            elif min_score is not None and row.score < min_score:
                left_out[f"with a score below {min_score:g}"] += 1
            elif (number := found.number(row)) % every:
                left_out["in frames between"] += 1
            else:
                kept.setdefault(number, []).append(row)
        frames += [found.boxed(number, kept[number]) for number in sorted(kept)]
    if not frames:
        names = ", ".join(os.fspath(file) for _, file in given)
        why = Detections([], left_out).text_of_left_out() if left_out else "there is none in it"
        raise RetrievalError(f"{names}: no box remains ({why})")
    return Detections(frames, dict(left_out))


def read_sources(
    sources: Sequence[str],
    detections: Sequence[str] | None,
    *,
    min_score: float | None = None,
    classes: Sequence[str] | None = None,
    tracklets: bool = False,
    every: int = 1,
) -> Sequence[str] | Detections:
    """Return what the options of ``extract`` mean: sources as they are, or the boxes in them.

    Raises:
        RetrievalError: options that go with boxes alone, not as many files of boxes as sources, and
            as ``read_detections``.
    """
    if detections is None:
        if min_score is not None or classes or tracklets:
            raise RetrievalError("--min-score, --classes and --tracklets go with --detections")
        return sources
    if len(detections) != len(sources):
        raise RetrievalError(
            "--detections: expected the boxes of each SOURCE, a video or a folder of frames: "
            f"{len(sources)}, found {len(detections)}"
        )
    pairs = zip(sources, detections)
    return read_detections(pairs, min_score=min_score, classes=classes, every=every)


class _Row(NamedTuple):
    """A box as a file has it; ``where``: for messages.

    ``key``: number of the frame, name of its file, or name of its image without ending. ``box``:
    corners, in pixels or in shares. ``people``: the classes that are people's if nobody says.
    ``size``: width and height of the image, where a file says that.
    """

    where: str
    key: int | str
    box: tuple[float, ...]
    track: int = NO_TRACK
    score: float = 1.0
    classes: tuple[str, ...] = ()
    people: tuple[str, ...] | None = None
    ignored: bool = False
    shares: bool = False
    size: tuple[int, int] | None = None


class _Frames:
    """The frames of a video or of a folder, and how large they are."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.is_video = os.path.isfile(source) and is_video(source)
        self._size: tuple[int, int] | None = None
        if self.is_video:
            with opened_video(source) as video:
                found, first = video.read()
                if not found:
                    raise RetrievalError(f"{source}: it cannot be opened as a video")
                self._size, self.count = (first.shape[1], first.shape[0]), announced_frames(video)
            return
        if not os.path.isdir(source):
            raise RetrievalError(
                f"{source}: expected a video or a folder of frames for the boxes, found "
                + ("another file" if os.path.exists(source) else "nothing")
            )
        self._paths = find_sources([source], videos=False)
        self.count = len(self._paths)
        stems = [Path(path).stem for path in self._paths]
        self._digits = [re.search(r"\d+$", stem) for stem in stems]
        self._names: dict[str, list[int]] = {}
        for number, path in enumerate(self._paths):
            for name in {Path(path).relative_to(source).as_posix(), os.path.basename(path)}:
                self._names.setdefault(name, []).append(number)
            self._names.setdefault(stems[number], []).append(number)

    def number(self, row: _Row) -> int:
        """Return the number of the frame that a box is in, from 0."""
        if isinstance(row.key, str):
            if self.is_video:
                raise RetrievalError(
                    f"{row.where}: expected numbers of frames, as {self.source} is a video, found "
                    f"{row.key}"
                )
            found = self._names.get(row.key, [])
            if len(found) != 1:
                raise RetrievalError(
                    f"{row.where}: there are {len(found)} images called {row.key} in {self.source}"
                )
            return found[0]
        if not self.is_video:
            self._require_no_gap()
        # What a video announces is an estimate in some formats: its end shows in decoding.
        most = 1.1 * self.count if self.is_video else self.count
        if not 0 <= row.key < (most or math.inf):
            raise RetrievalError(
                f"{row.where}: a box in frame {row.key} (counted from 0), but {self.source} has "
                f"{self.count} frames: are frames missing, or are the boxes of another video?"
            )
        return row.key

    def by_number(self, image: int, where: str) -> str | int:
        """Return the key of an image by COCO's number, which is in the name of its file."""
        if self.is_video:
            return image
        if not hasattr(self, "_numbers"):
            self._numbers: dict[int, list[str]] = {}
            for path, digits in zip(self._paths, self._digits):
                if digits:
                    name = Path(path).relative_to(self.source).as_posix()
                    self._numbers.setdefault(int(digits[0]), []).append(name)
        found = self._numbers.get(image, [])
        if len(found) != 1:
            raise RetrievalError(
                f"{where}: expected one image with the number {image} at the end of its name in "
                f"{self.source}, found {len(found)}: is it missing? A COCO dataset with its images "
                "says their names"
            )
        return found[0]

    def boxed(self, number: int, rows: list[_Row]) -> BoxedFrame:
        """Return a frame with its boxes, which must have pixels in it."""
        path = self.source if self.is_video else self._paths[number]
        width, height = self._size or image_size(path)
        for row in rows:
            if row.size not in (None, (width, height)):
                raise BoxError(
                    f"{row.where}: the box is of an image of {row.size[0]}x{row.size[1]}, but "  # type: ignore[index]
                    f"{path} has {width}x{height}: scale the boxes, or give their frames"
                )
        scale = np.array([width, height, width, height])
        given = [np.multiply(row.box, scale) if row.shares else row.box for row in rows]
        boxes = np.array(given, np.float32)  # as they will be read again
        try:
            require_inside(boxes, crop_bounds(boxes, width, height)[1], width, height)
        except BoxError as error:
            raise BoxError(
                f"{rows[0].where} on, frame {number} of {self.source}: {error}"
            ) from error
        tracks = [row.track for row in rows]
        for row, track in zip(rows, tracks):
            if track != NO_TRACK and tracks.count(track) > 1:
                raise RetrievalError(
                    f"{row.where}: expected a track once in a frame, found track {track} "
                    f"{tracks.count(track)} times in frame {number} (counted from 0)"
                )
        return BoxedFrame(
            path, number, boxes, np.array(tracks, np.int64), np.array([row.score for row in rows])
        )

    def _require_no_gap(self) -> None:
        """See that no file is missing, if files have numbers."""
        numbers = [int(digits[0]) for digits in self._digits if digits]
        self._digits = []  # once
        for number, after in zip(numbers, numbers[1:]):
            if after != number + 1:
                raise RetrievalError(
                    f"{self.source}: frames are missing: after the file number {number} comes "
                    f"{after}. Boxes name frames by their place: complete the folder, or name the "
                    "files in a CSV, column 'file'"
                )


def _in_video(path: str, frames: list[BoxedFrame]) -> Iterator[Picture]:
    with opened_video(path) as video:
        number = -1
        for boxed in frames:
            while number < boxed.number:
                if not video.grab():
                    raise RetrievalError(
                        f"{path}: the video ends after {number + 1} frames, but there are boxes up "
                        f"to frame {frames[-1].number} (counted from 0): complete the video, or "
                        "leave these boxes out"
                    )
                number += 1
            yield from _crops(boxed, Frame(path, number, video))


def _crops(boxed: BoxedFrame, frame: Frame) -> Iterator[Picture]:
    for box, track, score in zip(boxed.boxes.tolist(), boxed.tracks.tolist(), boxed.scores):
        place = Place(boxed.path, boxed.number, tuple(box), track)
        yield Picture(place, score=float(score), _frame=frame)


# ------------------------------------------------------------------ the formats


def _rows(path: Path, frames: _Frames) -> Iterator[_Row]:
    if path.is_dir():
        return _yolo(path, frames)
    readers: dict[str, Callable[[Path, _Frames], Iterator[_Row]]] = {
        ".txt": _mot,
        ".csv": _csv,
        ".json": _coco,
    }
    if path.suffix.lower() not in readers:
        raise RetrievalError(
            f"{path}: expected boxes as .txt (MOTChallenge), .json (COCO), .csv, or a folder of "
            ".txt (YOLO)"
        )
    if not path.exists():
        raise RetrievalError(f"there is no file {path}")
    return readers[path.suffix.lower()](path, frames)


def _mot(path: Path, frames: _Frames) -> Iterator[_Row]:
    for number, line in read_lines(path):
        where, cells = f"{path}, line {number}", re.split(r"[,\s]+", line.rstrip(", "))
        if not 6 <= len(cells) <= 10:
            raise RetrievalError(
                f"{where}: expected frame, track, left, top, width, height, score, …: 6 to 10 "
                f"numbers, found {len(cells)}"
            )
        frame, left, top, width, height = (_number(cells[i], where) for i in (0, 2, 3, 4, 5))
        truth = len(cells) == 9  # frame … height, flag, class, visibility
        score = 1.0 if truth or len(cells) == 6 else _number(cells[6], where, "the score")
        yield _Row(
            where,
            _whole(frame, where, "the frame", 1) - 1,
            _from_size(where, left, top, width, height),
            _track(cells[1], where),
            score,
            (cells[7],) if truth else (),
            ignored=truth and _number(cells[6], where, "the flag") == 0,
        )


def _csv(path: Path, frames: _Frames) -> Iterator[_Row]:
    lines = csv.DictReader(read_text(path).split("\n"))
    names = [name.strip() for name in lines.fieldnames or ()]
    meaning = {name: column for column, known in _COLUMNS.items() for name in known}
    if unknown := [name for name in names if name not in meaning]:
        raise RetrievalError(
            f"{path}: unknown columns {', '.join(unknown)}: expected a header with "
            f"{', '.join(known[0] for known in _COLUMNS.values())}"
        )
    there = [meaning[name] for name in names]
    if len(set(there)) < len(there):
        raise RetrievalError(f"{path}: a column is there twice: {', '.join(names)}")
    kind = _CORNERS if "x1" in there else _SIZES
    where_from = "file" if "file" in there else "frame"
    if missing := [name for name in (where_from, *kind) if name not in there]:
        raise RetrievalError(
            f"{path}: it has no column {', '.join(missing)}: expected frame or file, and x1, y1, "
            "x2, y2 or left, top, width, height"
        )
    for line in lines:
        where = f"{path}, line {lines.line_num}"
        cells = {
            column: (line[name] or "").strip()
            for column, name in zip(there, lines.fieldnames or ())
        }
        if None in line or None in line.values():
            raise RetrievalError(f"{where}: expected {len(names)} cells, as the header has")
        box = [_number(cells[name], where, name) for name in kind]
        key: int | str = cells["file"] if where_from == "file" else ""
        if where_from == "frame":
            key = _whole(_number(cells["frame"], where, "frame"), where, "frame", 0)
        yield _Row(
            where,
            key,
            _corners(where, *box) if kind == _CORNERS else _from_size(where, *box),
            _track(cells["track"], where) if cells.get("track") else NO_TRACK,
            _number(cells["score"], where, "score") if "score" in cells else 1.0,
            tuple(cells[name] for name in ("class", "class name") if name in cells),
        )


def _coco(path: Path, frames: _Frames) -> Iterator[_Row]:
    try:
        found = json.loads(read_text(path))
    except ValueError as error:
        raise RetrievalError(f"{path} is no JSON: {error}") from error
    files: dict[Any, str] = {}
    sizes: dict[Any, tuple[int, int]] = {}
    if isinstance(found, dict):
        try:
            files = {image["id"]: image["file_name"] for image in found["images"]}
            sized = [image for image in found["images"] if {"width", "height"} <= image.keys()]
            sizes = {image["id"]: (image["width"], image["height"]) for image in sized}
            found = found["annotations"]
        except (KeyError, TypeError) as error:
            raise RetrievalError(
                f"{path}: expected a list of results, or a dataset with images (id, file_name) and "
                f"annotations: {error} is missing"
            ) from error
    if not isinstance(found, list):
        raise RetrievalError(f"{path}: expected a list of results, found {type(found).__name__}")
    for number, one in enumerate(found):
        where = f"{path}, entry {number}"
        try:
            image, (left, top, width, height) = one["image_id"], one["bbox"]
        except (KeyError, TypeError, ValueError) as error:
            raise RetrievalError(
                f"{where}: expected image_id and bbox (left, top, width, height), found {one}"
            ) from error
        if files and image not in files:
            raise RetrievalError(f"{where}: there is no image with the id {image}")
        key = files.get(image, image)
        box = [_number(value, where, "the bbox") for value in (left, top, width, height)]
        if not isinstance(key, str):
            whole = _whole(_number(key, where, "image_id"), where, "image_id", 0)
            key = frames.by_number(whole, where)
        track = one.get("track_id")
        yield _Row(
            where,
            key,
            _from_size(where, *box),
            NO_TRACK if track is None else _track(track, where),
            _number(one.get("score", 1.0), where, "the score"),
            (str(one["category_id"]),) if "category_id" in one else (),
            ("1",) if "category_id" in one else None,
            size=sizes.get(image),
        )


def _yolo(path: Path, frames: _Frames) -> Iterator[_Row]:
    files = sorted(path.glob("*.txt"))
    files = [file for file in files if file.name != "classes.txt"]
    if not files:
        raise RetrievalError(f"{path}: expected a .txt of YOLO for each frame, found none")
    for file in files:
        key: int | str = file.stem
        if frames.is_video:
            name = re.fullmatch(re.escape(Path(frames.source).stem) + r"_(\d+)", file.stem)
            if not name:
                raise RetrievalError(
                    f"{file}: expected {Path(frames.source).stem}_<number of the frame>.txt"
                )
            key = _whole(int(name[1]), os.fspath(file), "the frame", 1) - 1
        for number, line in read_lines(file):
            where, cells = f"{file}, line {number}", line.split()
            if not 5 <= len(cells) <= 7:
                raise RetrievalError(
                    f"{where}: expected class, x, y, width, height and perhaps score and track, "
                    f"found {len(cells)} numbers"
                )
            x, y, width, height = (_number(cell, where) for cell in cells[1:5])
            if not all(-1 <= value <= 2 for value in (x, y, width, height)):
                raise RetrievalError(f"{where}: expected shares of the image, found {line}")
            score = _number(cells[5], where, "the score") if len(cells) > 5 else 1.0
            if not 0 <= score <= 1:
                raise RetrievalError(
                    f"{where}: expected a score of 0..1 in column 6, found {cells[5]}: a track is "
                    "in column 7"
                )
            yield _Row(
                where,
                key,
                _from_size(where, x - width / 2, y - height / 2, width, height),
                _track(cells[6], where) if len(cells) == 7 else NO_TRACK,
                score,
                (cells[0],),
                ("0",),
                shares=True,
            )


def _number(value: Any, where: str, what: str = "") -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise RetrievalError(
            f"{where}: expected a finite number{f' as {what}' if what else ''}, found {value!r}"
        )
    return number


def _whole(number: float, where: str, what: str, least: int) -> int:
    if number != int(number) or number < least:
        raise RetrievalError(
            f"{where}: expected {what} as a whole number from {least} on, found {number:g}"
        )
    return int(number)


def _track(value: Any, where: str) -> int:
    number = _number(value, where, "the track")
    return NO_TRACK if number == NO_TRACK else _whole(number, where, "the track", 0)


def _corners(where: str, *box: float) -> tuple[float, ...]:
    x1, y1, x2, y2 = box
    if x1 >= x2 or y1 >= y2:
        raise RetrievalError(
            f"{where}: expected x1 < x2 and y1 < y2, found {x1:g}, {y1:g}, {x2:g}, {y2:g}. Are "
            "they left, top, width, height?"
        )
    return box


def _from_size(
    where: str, left: float, top: float, width: float, height: float
) -> tuple[float, ...]:
    if width <= 0 or height <= 0:
        raise RetrievalError(
            f"{where}: expected a width and a height above 0, found {width:g} and {height:g}"
        )
    return left, top, left + width, top + height
