"""The whole surface of a person in one image, in which a position is the same part for everyone.

The left half shows the front of the body and what is at its left, the right half the back and what
is at the right; each half is as follows::

      bag   |   head   |  head from that side
    arm  |       trunk       |  arm
        leg       |       leg
              foot of that side

Nothing is drawn for it anew: :func:`draw_person` paints the person as in every picture, but of
standard build, in one pose, without light, and from four sides. The patches are cut out of that.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import cv2
import numpy as np

from .body import STANDARD_HEIGHT, Pose, Skeleton, View, build_skeleton
from .canvas import Canvas, Colour
from .identity import Identity, identity
from .person import TRUNK, draw_person

TEXTURE_SIZE = 256  # height and width
NOTHING: Colour = (128, 128, 128)  # where a bag would be

_HALF = TEXTURE_SIZE // 2
_SAMPLES = 3  # along each side of a texel
_PIXELS_PER_METRE = 300
_ROWS, _COLUMNS = 570, 540  # of the painted person
_BUILD: dict[str, Any] = {"height": STANDARD_HEIGHT, "build": 1.0, "shoulders": 1.0}
_FRONT, _BACK, _LEFT, _RIGHT = 0.0, np.pi, -np.pi / 2, np.pi / 2  # yaw: what the camera sees

Rectangle = tuple[int, int, int, int]  # top, left, bottom, right, in texels of a half
_BAG = (0, 0, 56, 40)
_HEAD = (0, 40, 56, 88)
_PROFILE = (0, 88, 56, 128)
_TRUNK = (56, 32, 144, 96)
_UPPER_ARMS = ((56, 0, 100, 32), (56, 96, 100, 128))
_LOWER_ARMS = ((100, 0, 144, 32), (100, 96, 144, 128))
_UPPER_LEGS = ((144, 0, 188, 64), (144, 64, 188, 128))
_LOWER_LEGS = ((188, 0, 232, 64), (188, 64, 232, 128))
_FOOT = (232, 0, 256, 128)


def draw_texture(person: Identity) -> np.ndarray:
    """Draw the texture of a person.

    Returns:
        (256, 256, 3) uint8 RGB: colours as they are, without light, shadow and camera.
    """
    side = TEXTURE_SIZE * _SAMPLES
    samples = np.full((side, side, 3), NOTHING, np.uint8)
    if person.bag != "none":
        for half, bag_side in ((0, 1), (_HALF, -1)):
            if person.bag == "backpack" or person.bag_side == bag_side:
                samples[_window(_BAG, half)] = person.bag_colour
    for yaw, patches in _patches().items():
        painted = _paint(person, yaw)
        for patch in patches:
            samples[patch.window] = painted[patch.rows, patch.columns]
    return cv2.resize(samples, (TEXTURE_SIZE, TEXTURE_SIZE), interpolation=cv2.INTER_AREA)


def _paint(person: Identity, yaw: float) -> np.ndarray:
    """Return (_ROWS, _COLUMNS, 3) uint8 RGB."""
    canvas = Canvas(np.full((_ROWS, _COLUMNS, 3), NOTHING, np.uint8))
    draw_person(canvas, replace(person, **_BUILD), _skeleton(), _view(yaw), light=0.0)
    return canvas.image


@cache
def _skeleton() -> Skeleton:
    """Everybody's: arms are away from the trunk, and from a bag beside it."""
    return build_skeleton(replace(identity(0, 0, 0), **_BUILD), Pose(spread=(0.5, 0.5)))


def _view(yaw: float) -> View:
    return View(yaw, 0.0, 0.0, _PIXELS_PER_METRE, _COLUMNS / 2, _ROWS - 30)


# -- which point of the painted person is where ---------------------------------------------------


@dataclass(frozen=True)
class _Patch:
    """Samples of the texture, and the painted pixels that they are."""

    window: tuple[slice, slice]
    rows: np.ndarray
    columns: np.ndarray


def _window(rectangle: Rectangle, half: int) -> tuple[slice, slice]:
    top, left, bottom, right = (_SAMPLES * texels for texels in rectangle)
    return slice(top, bottom), slice(left + _SAMPLES * half, right + _SAMPLES * half)


@cache
def _patches() -> dict[float, list[_Patch]]:
    """Return the patches that are seen at each yaw."""
    bones = _skeleton()
    parts = {
        _FRONT: (0, _broad_side(bones, (1, 0))),
        _BACK: (_HALF, _broad_side(bones, (0, 1))),
        _LEFT: (0, _narrow_side(bones, 0)),
        _RIGHT: (_HALF, _narrow_side(bones, 1)),
    }
    return {
        yaw: [_cut(_view(yaw), half, *part) for part in side] for yaw, (half, side) in parts.items()
    }


# A part of the body: where it goes, the line in the body from its top to its bottom, and the half
# width that is shown there, in metres, at positions on that line (0 to 1).
_Width = Callable[[np.ndarray], np.ndarray]
_Part = tuple[Rectangle, np.ndarray, np.ndarray, _Width]


def _broad_side(bones: Skeleton, sides: tuple[int, int]) -> Iterator[_Part]:
    """Front or back; ``sides`` are those of the body at the left and right of the picture."""
    yield _HEAD, *_skull(bones, 0.070)
    top, bottom = 0.97, -0.08

    def trunk(v: np.ndarray) -> np.ndarray:
        return 0.94 * np.interp(top + v * (bottom - top), TRUNK[:, 0], TRUNK[:, 1])

    yield _TRUNK, bones.spine(top), bones.spine(bottom), trunk
    for place, side in enumerate(sides):
        shoulder, elbow, wrist = bones.shoulder[side], bones.elbow[side], bones.wrist[side]
        finger_tips = wrist + 0.36 * (wrist - elbow)
        hip, knee, ankle = bones.hip[side], bones.knee[side], bones.ankle[side]
        yield _UPPER_ARMS[place], shoulder, elbow, _tapering(0.044, 0.034)
        yield _LOWER_ARMS[place], elbow, finger_tips, _tapering(0.034, 0.022)
        yield _UPPER_LEGS[place], hip + 0.1 * (knee - hip), knee, _tapering(0.072, 0.050)
        yield _LOWER_LEGS[place], knee, ankle, _tapering(0.048, 0.034)


def _narrow_side(bones: Skeleton, side: int) -> Iterator[_Part]:
    """Left or right."""
    yield _PROFILE, *_skull(bones, 0.088)
    middle, up = (bones.ankle[side] + bones.toe[side]) / 2, np.array((0.0, 0.01, 0.0))
    yield _FOOT, middle + 0.5 * up, middle - 3.5 * up, _tapering(0.08, 0.08)


def _skull(bones: Skeleton, half_width: float) -> tuple[np.ndarray, np.ndarray, _Width]:
    up = np.array((0.0, 0.106, 0.0))
    return bones.head + up, bones.head - up, lambda v: half_width * np.sqrt(1 - (2 * v - 1) ** 2)


def _tapering(start: float, end: float) -> _Width:
    return lambda v: start + v * (end - start)


def _cut(
    view: View,
    half: int,
    rectangle: Rectangle,
    start: np.ndarray,
    end: np.ndarray,
    half_width: _Width,
) -> _Patch:
    top, left, bottom, right = rectangle
    first, last = view.project(start), view.project(end)
    down = (last - first) / np.linalg.norm(last - first)
    beside = np.array((down[1], -down[0]))
    along = _centres((bottom - top) * _SAMPLES)[:, None, None]
    across = _centres((right - left) * _SAMPLES)[:, None] * 2 - 1
    points = first + along * (last - first) + half_width(along) * view.scale * across * beside
    columns, rows = np.moveaxis(np.round(points).astype(int), 2, 0)
    return _Patch(_window(rectangle, half), rows, columns)


def _centres(count: int) -> np.ndarray:
    """Return (count,) middles of as many parts of the line from 0 to 1."""
    return (np.arange(count) + 0.5) / count
