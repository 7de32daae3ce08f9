"""From what a user names (files, folders, patterns) to images and frames, one after the other."""

import contextlib
import glob
import os
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import cv2
from PIL import Image

from ..images import IMAGE_ENDINGS, ImageError, files_below, open_image
from .errors import RetrievalError

VIDEO_ENDINGS = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm"),
    *(".mpg", ".mpeg", ".ts", ".wmv", ".flv"),
)
NO_FRAME = -1  # the frame's number of an image


class Place(NamedTuple):
    """The place of a picture: a path, and the number of a video's frame or ``NO_FRAME``."""

    path: str
    frame: int

    def __str__(self) -> str:
        return self.path if self.frame == NO_FRAME else f"{self.path}, frame {self.frame}"


@dataclass(frozen=True)
class Picture:
    """An image or a frame, or what is wrong with a video.

    Attributes:
        place: where it is.
        problem: in words, if this is no picture but a notice about the video.
    """

    place: Place
    problem: str = ""
    _video: Any = None  # cv2.VideoCapture, which has decoded this frame last
    _pixels: Any = None

    def kept(self) -> "Picture":
        """Return this picture, readable also after the next one was asked for."""
        if self._video is None:
            return self
        found, bgr = self._video.retrieve()
        pixels = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB) if found else None
        return replace(self, _video=None, _pixels=pixels)

    def read(self) -> Image.Image:
        """Return the picture in RGB.

        Raises:
            ImageError: it is broken.
        """
        if self._pixels is not None:
            return Image.fromarray(self._pixels)
        if self.place.frame != NO_FRAME:
            raise ImageError(f"{self.place}: the frame cannot be decoded")
        return open_image(self.place.path)


def is_video(path: str) -> bool:
    """Return whether a file is a video, by its ending."""
    return path.lower().endswith(VIDEO_ENDINGS)


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
            with _opened(path) as video:
                count += -(-_announced(video) // every)
        else:
            count += 1
    return count


def read_places(places: Iterable[Place]) -> dict[Place, Image.Image | None]:
    """Return the pictures at some places, in RGB; None where none can be read."""
    found: dict[Place, Image.Image | None] = dict.fromkeys(places)
    for path in {place.path for place in found}:
        last = max(place.frame for place in found if place.path == path)
        for picture in pictures([path]):
            if picture.place in found and not picture.problem:
                with contextlib.suppress(ImageError):
                    found[picture.place] = picture.kept().read()
            if picture.place.frame >= last:
                break
    return found


def _frames(path: str, every: int) -> Iterator[Picture]:
    with _opened(path) as video:
        if not video.isOpened():
            yield Picture(Place(path, NO_FRAME), "cannot be opened as a video")
            return
        number = 0
        while video.grab():
            if number % every == 0:
                yield Picture(Place(path, number), _video=video)
            number += 1
        announced = _announced(video)
        if number < announced or number == 0:
            yield Picture(
                Place(path, NO_FRAME),
                f"the video announces {announced} frames, only {number} could be decoded"
                + (", which were taken" if number else ""),
            )


@contextlib.contextmanager
def _opened(path: str) -> Iterator[cv2.VideoCapture]:
    video = cv2.VideoCapture(path)
    try:
        yield video
    finally:
        video.release()


def _announced(video: cv2.VideoCapture) -> int:
    return max(int(video.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
