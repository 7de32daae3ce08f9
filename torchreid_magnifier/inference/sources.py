"""From what a user names (files, folders, patterns) to images and frames, one after the other."""

import contextlib
import glob
import os
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

from ..images import IMAGE_ENDINGS, ImageError, files_below, open_image, read_image
from .boxes import BoxError, crop_bounds, require_inside
from .errors import RetrievalError

VIDEO_ENDINGS = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm"),
    *(".mpg", ".mpeg", ".ts", ".wmv", ".flv"),
)
NO_FRAME = -1  # the frame's number of an image
NO_TRACK = -1  # the track's number of a box that belongs to none


class Place(NamedTuple):
    """The place of a picture.

    Attributes:
        path: of the image or video.
        frame: number of the frame in its video or folder of frames, from 0; or ``NO_FRAME``.
        box: corners x1, y1, x2, y2 in it, in pixels; None of the whole.
        track: number of the person's track, or ``NO_TRACK``.
    """

    path: str
    frame: int
    box: tuple[float, float, float, float] | None = None
    track: int = NO_TRACK

    def __str__(self) -> str:
        words = [self.path] if self.frame == NO_FRAME else [self.path, f"frame {self.frame}"]
        if self.track != NO_TRACK:
            words.append(f"track {self.track}")
        elif self.box is not None:
            words.append(f"box {' '.join(f'{number:.0f}' for number in self.box)}")
        return ", ".join(words)


class Frame:
    """An image or a frame of a video, decoded once for all crops of it.

    Args:
        path, number: where it is.
        video: an open ``cv2.VideoCapture`` that has this frame at hand.
    """

    def __init__(self, path: str, number: int, video: Any = None) -> None:
        self.path, self.number = path, number
        self._video, self._one = video, Lock()
        self._pixels: np.ndarray | None = None

    def keep(self) -> None:
        """Take a video's frame before the video goes on."""
        if self._video is not None:
            found, bgr = self._video.retrieve()
            self._pixels = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB) if found else None
            self._video = None

    def pixels(self) -> np.ndarray:
        """Return RGB, uint8 (H, W, 3).

        Raises:
            ImageError: it is broken.
        """
        with self._one:
            if self._pixels is None:
                if is_video(self.path):
                    raise ImageError(f"{self.path}, frame {self.number}: it cannot be decoded")
                self._pixels = read_image(self.path)
            return self._pixels


@dataclass(frozen=True)
class Picture:
    """An image, a frame or a crop of one, or what is wrong with a video.

    Attributes:
        place: where it is.
        problem: in words, if this is no picture but a notice about the video.
        score: the detector's, of a crop.
    """

    place: Place
    problem: str = ""
    score: float = 1.0
    _frame: Frame | None = None  # not of a plain image

    def kept(self) -> "Picture":
        """Return this picture, readable also after the next one was asked for."""
        if self._frame is not None:
            self._frame.keep()
        return self

    def frame(self) -> Frame:
        """Return the whole that this is, or is a crop of, kept."""
        frame = self._frame or Frame(self.place.path, self.place.frame)
        frame.keep()
        return frame

    def read(self) -> Image.Image:
        """Return the picture in RGB.

        Raises:
            ImageError: it is broken.
            BoxError: the box is beyond the frame.
        """
        return open_image(self.place.path) if self._frame is None else Image.fromarray(self.crop())

    def crop(self) -> np.ndarray:
        """Return the pixels of a frame, or those that its box touches, uint8 (h, w, 3).

        Raises:
            ImageError, BoxError: as :meth:`read`.
        """
        assert self._frame is not None
        pixels = self._frame.pixels()
        if self.place.box is None:
            return pixels
        corners, (height, width) = np.array([self.place.box]), pixels.shape[:2]
        bounds, empty = crop_bounds(corners, width, height)
        require_inside(corners, empty, width, height)
        left, top, right, bottom = bounds[0]
        return pixels[top:bottom, left:right]


def is_video(path: str) -> bool:
    """Return whether a file is a video, by its ending."""
    return path.lower().endswith(VIDEO_ENDINGS)


def sequence_of(path: str) -> str:
    """Return what a track's number belongs to: a video, or the folder of a frame."""
    return path if is_video(path) else os.path.dirname(path)


def find_sources(sources: Sequence[str | os.PathLike[str]], videos: bool = True) -> list[str]:
    """Return the image and video files that are meant, in the order of ``sources``.

    A file must be an image or a video by its ending. Of a folder, and of what a pattern (``*``,
    ``?``, ``[...]``, ``**``) matches, those files are taken that are; in a folder and all below
    it, sorted by name, but hidden ones and folders of part labels and textures. A file that is
    meant twice is taken once, where it is found first.

    Args:
        sources: files, folders and patterns.
        videos: whether videos are meant too.

    Raises:
        RetrievalError: nothing is there by a name, a folder or a pattern has no image and no
            video, a file is neither, or the name of a file is not text.
    """
    found: dict[str, str] = {}
    for source in sources:
        for path in _meant(os.fspath(source), videos):
            found.setdefault(os.path.abspath(path), path)
    for path in found.values():
        try:
            path.encode()
        except UnicodeEncodeError as error:
            raise RetrievalError(
                f"the name of the file {os.fsencode(path)!r} is not in UTF-8: rename it"
            ) from error
    return list(found.values())


def _meant(source: str, videos: bool) -> list[str]:
    source = os.path.expanduser(source)
    endings = IMAGE_ENDINGS + VIDEO_ENDINGS if videos else IMAGE_ENDINGS
    if os.path.isfile(source):
        if not source.lower().endswith(endings):
            video = f", a video ({', '.join(VIDEO_ENDINGS)})" if videos else ""
            raise RetrievalError(
                f"{source}: expected an image ({', '.join(IMAGE_ENDINGS)}){video} or a folder, by "
                "its ending"
            )
        return [source]
    if os.path.isdir(source):
        matches, where = [source], "in it or below"
    elif any(letter in source for letter in "*?["):
        matches, where = sorted(glob.glob(source, recursive=True)), "where this pattern leads"
    else:
        raise RetrievalError(f"there is no file or folder {source}")
    paths = []
    for match in matches:
        if os.path.isdir(match):
            for folder, names in files_below(match, endings):
                paths += [os.path.join(folder, name) for name in names]
        elif match.lower().endswith(endings):
            paths.append(match)
    if not paths:
        kinds = "images or videos" if videos else f"images ({', '.join(IMAGE_ENDINGS)})"
        raise RetrievalError(f"{source}: expected {kinds} {where}, found none")
    return paths


def at_random(paths: Sequence[str], count: int, seed: int) -> list[str]:
    """Return so many paths chosen at random, or all if there are no more, in their order."""
    chosen = random.Random(seed).sample(range(len(paths)), min(count, len(paths)))
    return [paths[index] for index in sorted(chosen)]


def pictures(paths: Sequence[str], every: int = 1) -> Iterator[Picture]:
    """Yield the images, and of each video the frames 0, ``every``, 2 ``every``, ...

    Frames are decoded in turn, as jumps in a video are not exact with every codec; one that is
    not asked for is not converted. Call :meth:`Picture.kept` before the next picture.

    A video that cannot be opened, or that ends before the number of frames that it announces,
    gives a notice (``Picture.problem``) after its frames.
    """
    for path in paths:
        if is_video(path):
            yield from _frames(path, every)
        else:
            yield Picture(Place(path, NO_FRAME))


def count_pictures(paths: Sequence[str], every: int = 1) -> int:
    """Return how many pictures there will be, by what the videos announce."""
    count = 0
    for path in paths:
        if is_video(path):
            with opened_video(path) as video:
                count += -(-announced_frames(video) // every)
        else:
            count += 1
    return count


def read_places(places: Iterable[Place]) -> dict[Place, Image.Image | None]:
    """Return the pictures at some places, in RGB; None where none can be read."""
    found: dict[Place, Image.Image | None] = dict.fromkeys(places)
    wanted: dict[str, dict[int, list[Place]]] = {}
    for place in found:  # an image has one frame, whatever its number in a folder
        number = place.frame if is_video(place.path) else NO_FRAME
        wanted.setdefault(place.path, {}).setdefault(number, []).append(place)
    for path, frames in wanted.items():
        for picture in pictures([path]):
            number = picture.place.frame
            if number in frames and not picture.problem:
                frame = picture.frame()
                for place in frames[number]:
                    with contextlib.suppress(ImageError, BoxError):
                        found[place] = Picture(place, _frame=frame).read()
            if number >= max(frames):
                break
    return found


def _frames(path: str, every: int) -> Iterator[Picture]:
    with opened_video(path) as video:
        if not video.isOpened():
            yield Picture(Place(path, NO_FRAME), "cannot be opened as a video")
            return
        number = 0
        while video.grab():
            if number % every == 0:
                yield Picture(Place(path, number), _frame=Frame(path, number, video))
            number += 1
        announced = announced_frames(video)
        if number < announced or number == 0:
            yield Picture(
                Place(path, NO_FRAME),
                f"the video announces {announced} frames, only {number} could be decoded"
                + (", which were taken" if number else ""),
            )


@contextlib.contextmanager
def opened_video(path: str) -> Iterator[cv2.VideoCapture]:
    """Give a video to decode; whether it could be opened, it says."""
    video = cv2.VideoCapture(path)
    try:
        yield video
    finally:
        video.release()


def announced_frames(video: cv2.VideoCapture) -> int:
    """Return how many frames a video says it has; 0 if it says nothing."""
    return max(int(video.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
