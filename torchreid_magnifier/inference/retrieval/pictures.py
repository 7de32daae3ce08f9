"""Pictures one after the other: images, and the frames of videos."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import cv2
from PIL import Image

from ...data.masks import UNREADABLE
from .sources import is_video

NO_FRAME = -1  # the frame's number of an image


class Place(NamedTuple):
    """Where a picture is: a path, and the number of a video's frame or ``NO_FRAME``."""

    path: str
    frame: int

    def __str__(self) -> str:
        return self.path if self.frame == NO_FRAME else f"{self.path}, frame {self.frame}"


@dataclass(frozen=True)
class Picture:
    """An image or a frame, or what is wrong with a video.

    Attributes:
        place: where it is.
        fault: in words, if this is no picture but a notice about the video.
    """

    place: Place
    fault: str = ""
    _video: Any = None  # cv2.VideoCapture, which has decoded this frame last
    _pixels: Any = None

    def kept(self) -> "Picture":
        """This picture, readable also after the next one was asked for."""
        if self._video is None:
            return self
        found, bgr = self._video.retrieve()
        return replace(
            self, _video=None, _pixels=cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB) if found else None
        )

    def read(self) -> Image.Image:
        """The picture in RGB.

        Raises:
            UNREADABLE: it is faulty.
        """
        if self._pixels is not None:
            return Image.fromarray(self._pixels)
        if self.place.frame != NO_FRAME:
            raise OSError("the frame cannot be decoded")
        with Image.open(self.place.path) as image:
            return image.convert("RGB")


def pictures(paths: Sequence[str], every: int = 1) -> Iterator[Picture]:
    """The images, and of each video the frames 0, ``every``, 2 ``every``, ...

    Frames are decoded in turn, as jumps in a video are not exact with every codec; one that is
    not asked for is not converted. Call :meth:`Picture.kept` before the next picture.

    A video that cannot be opened, or that ends before the number of frames that it announces,
    gives a notice (``Picture.fault``) after its frames.
    """
    for path in paths:
        if is_video(path):
            yield from _frames(path, every)
        else:
            yield Picture(Place(path, NO_FRAME))


def count_pictures(paths: Sequence[str], every: int = 1) -> int:
    """How many pictures there will be, by what the videos announce."""
    return sum(-(-_announced(path) // every) if is_video(path) else 1 for path in paths)


def read_places(places: Iterable[Place]) -> dict[Place, Image.Image | None]:
    """The pictures at some places, in RGB; None where none can be read."""
    found: dict[Place, Image.Image | None] = dict.fromkeys(places)
    for path in {place.path for place in found}:
        wanted = {place.frame for place in found if place.path == path}
        for picture in pictures([path]):
            if picture.place in found and not picture.fault:
                with contextlib.suppress(*UNREADABLE):
                    found[picture.place] = picture.kept().read()
            if picture.place.frame >= max(wanted):
                break
    return found


def _frames(path: str, every: int) -> Iterator[Picture]:
    video = cv2.VideoCapture(path)
    try:
        if not video.isOpened():
            yield Picture(Place(path, NO_FRAME), "cannot be opened as a video")
            return
        number = 0
        while video.grab():
            if number % every == 0:
                yield Picture(Place(path, number), _video=video)
            number += 1
        announced = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        if number < announced or number == 0:
            yield Picture(
                Place(path, NO_FRAME),
                f"the video announces {max(announced, 0)} frames, only {number} could be "
                "decoded" + (", which were taken" if number else ""),
            )
    finally:
        video.release()


def _announced(path: str) -> int:
    video = cv2.VideoCapture(path)
    try:
        return max(int(video.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
    finally:
        video.release()
