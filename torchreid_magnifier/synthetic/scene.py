"""One picture of the data set: who, where, what is in the way, and the exact labels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..parts import PARTS
from . import objects
from .body import Skeleton, View, build_skeleton, draw_pose
from .camera import CAMERAS, STRIP_WIDTH, WALKWAY, Camera, backdrop, photograph
from .canvas import HEIGHT, SCALE, WIDTH, Canvas, smooth_noise
from .identity import identity, pick
from .person import draw_person

_ROWS, _COLUMNS = HEIGHT * SCALE, WIDTH * SCALE
_PASSERS_BY = 7  # identity stream of people who belong to no image of their own
HEAVY = (0.30, 0.62)  # share of the person's pixels that is hidden in a heavily occluded image
LIGHT = (0.06, 0.25)

_HEAD, _TORSO, _UPPER_ARM, _LOWER_ARM, _UPPER_LEG, _LOWER_LEG, _FOOT = (
    PARTS.index(name)
    for name in ("head", "torso", "upper_arm", "lower_arm", "upper_leg", "lower_leg", "foot")
)
_FURNITURE = (
    objects.pole,
    objects.crate,
    objects.bush,
    objects.bicycle,
    objects.car,
    objects.tree,
)
# Parts at each COCO keypoint; a keypoint is seen where one of its parts is.
_AT_KEYPOINT = (
    *[(_HEAD,)] * 5,
    *[(_TORSO, _UPPER_ARM)] * 2,
    *[(_UPPER_ARM, _LOWER_ARM)] * 2,
    *[(_LOWER_ARM,)] * 2,
    *[(_TORSO, _UPPER_LEG)] * 2,
    *[(_UPPER_LEG, _LOWER_LEG)] * 2,
    *[(_LOWER_LEG, _FOOT)] * 2,
)


@dataclass(frozen=True)
class Shot:
    """Everything a picture depends on.

    Attributes:
        seed: seed of the whole data set.
        stream: identity stream (the split).
        person: 0-based number of the person in the stream, or None: nobody, or a passer-by.
        camera: 0-based.
        index: distinguishes the pictures of one person by one camera.
        occlusion: "none", "light" or "heavy".
    """

    seed: int
    stream: int
    person: int | None
    camera: int
    index: int
    occlusion: str = "none"


@dataclass(frozen=True)
class Picture:
    """A finished picture.

    Attributes:
        image: (128, 64, 3) uint8 RGB.
        labels: (128, 64) uint8 part labels.
        keypoints: (17, 3) COCO keypoints: x, y in pixels, visibility (0 outside the picture,
            1 hidden, 2 seen).
        quality: JPEG quality of the camera.
    """

    image: np.ndarray
    labels: np.ndarray
    keypoints: np.ndarray
    quality: int


def render(shot: Shot) -> Picture:
    """Draw one picture. It depends on ``shot`` alone, not on what was drawn before."""
    number = shot.person if shot.person is not None else 9999
    rng = np.random.default_rng([shot.seed, shot.stream, number, shot.camera, shot.index, 2])
    camera = CAMERAS[shot.camera]
    if shot.person is None:
        return _distractor(shot, camera, rng)
    person = identity(shot.seed, shot.stream, shot.person)
    canvas, view = _empty_street(shot, camera, rng, person.height)
    light = float(np.clip(camera.light + rng.normal(0, 0.2), -1, 1))
    if rng.random() < 0.3:
        _passer_by(canvas, shot.seed, rng, camera, view, light, beside=True)
    skeleton = build_skeleton(person, draw_pose(rng))
    draw_person(canvas, person, skeleton, view, light)
    canvas = _occlude(canvas, shot, rng, camera, view, light)
    image, labels = canvas.finish(_folds(shot.seed))
    keypoints = _keypoints(skeleton, view, labels)
    return Picture(photograph(image, camera, rng), labels, keypoints, camera.quality)


def _empty_street(
    shot: Shot, camera: Camera, rng: np.random.Generator, height: float
) -> tuple[Canvas, View]:
    """Return a cut of the camera's backdrop and the view of a person who stands in it."""
    sloppy = 2.0 if rng.random() < 0.15 else 1.0  # an imperfect bounding box
    tall = _ROWS * camera.zoom * float(np.clip(1 + sloppy * rng.normal(0, 0.035), 0.75, 1.25))
    middle = 0.5 + camera.shift + sloppy * rng.normal(0, 0.035)
    feet = (_ROWS + tall) / 2 * (1 + sloppy * rng.normal(0, 0.018))
    turned = np.pi if rng.random() < 0.25 else 0.0
    view = View(
        yaw=camera.yaw + turned + float(rng.normal(0, 0.55)),
        pitch=camera.pitch,
        roll=camera.roll + float(rng.normal(0, 0.015)),
        scale=tall / (height * 1.03),
        x=float(middle * _COLUMNS),
        y=float(feet) - 0.03 * _ROWS,
    )
    top = round(WALKWAY + rng.uniform(-40, 40) - feet)
    left = int(rng.integers(0, STRIP_WIDTH - _COLUMNS))
    street = backdrop(shot.seed, shot.camera)[top : top + _ROWS, left : left + _COLUMNS]
    return Canvas(street), view


def _passer_by(
    canvas: Canvas,
    seed: int,
    rng: np.random.Generator,
    camera: Camera,
    view: View,
    light: float,
    beside: bool,
) -> None:
    """Somebody else: at the edge and further away, or in front."""
    other = identity(seed, _PASSERS_BY, int(rng.integers(64)))
    side = pick(rng, (-1, 1))
    if beside:
        x = view.x + side * rng.uniform(0.34, 0.62) * _COLUMNS
        y, scale = view.y - rng.uniform(0.02, 0.10) * _ROWS, view.scale * rng.uniform(0.75, 0.95)
    else:
        x = view.x + side * rng.uniform(0.06, 0.30) * _COLUMNS
        y, scale = view.y + rng.uniform(0.02, 0.14) * _ROWS, view.scale * rng.uniform(1.0, 1.12)
    yaw = camera.yaw + float(rng.normal(0, 0.8))
    placed = View(yaw, view.pitch, view.roll, float(scale), float(x), float(y))
    skeleton = build_skeleton(other, draw_pose(rng))
    draw_person(canvas, other, skeleton, placed, light, labelled=False)


def _occlude(
    canvas: Canvas, shot: Shot, rng: np.random.Generator, camera: Camera, view: View, light: float
) -> Canvas:
    """Put something in front until the wanted share of the person is hidden."""
    if shot.occlusion == "none":
        return canvas
    low, high = HEAVY if shot.occlusion == "heavy" else LIGHT
    visible = np.count_nonzero(canvas.labels)
    for _ in range(200):
        trial = Canvas(canvas.image)
        trial.labels[:], trial.shade[:] = canvas.labels, canvas.shade
        _obstacle(trial, shot, rng, camera, view, light)
        if low <= 1 - np.count_nonzero(trial.labels) / visible <= high:
            return trial
    raise AssertionError(f"no obstacle hides between {low} and {high} of the person in {shot}")


def _obstacle(
    canvas: Canvas, shot: Shot, rng: np.random.Generator, camera: Camera, view: View, light: float
) -> None:
    heavy = shot.occlusion == "heavy"
    kinds = ("crate", "wall", "pole", "person", "car", "bush", "bicycle")
    weights = [2, 2, 1, 5, 4, 3, 0] if heavy else [2, 1, 3, 3, 1, 2, 2]
    if camera.indoors:
        weights[4:] = [0, 0, 0]
    kind = pick(rng, kinds, weights)
    if kind == "person":
        _passer_by(canvas, shot.seed, rng, camera, view, light, beside=False)
        return
    share = rng.uniform(0.3, 0.62) if heavy else rng.uniform(0.12, 0.35)
    tall = share * _ROWS
    side = pick(rng, (-1, 1))
    x = view.x + side * rng.uniform(0.0, 0.45) * _COLUMNS
    foot = view.y + rng.uniform(0.02, 0.1) * _ROWS
    if kind == "car":
        objects.car(canvas, rng, x, foot + 0.04 * _ROWS, max(tall, 0.3 * _ROWS))
    elif kind == "crate":
        objects.crate(canvas, rng, x, foot, 1.2 * tall)
    elif kind == "bush":
        objects.bush(canvas, rng, x, foot, 1.3 * tall)
    elif kind == "wall":
        objects.wall(canvas, rng, x, float(_ROWS) + 4, tall)
    elif kind == "bicycle":
        objects.bicycle(canvas, rng, x, foot, 0.5 * _ROWS)
    else:
        objects.pole(canvas, rng, x, foot + 10, _ROWS * (2.2 if heavy else 1.2))


def _distractor(shot: Shot, camera: Camera, rng: np.random.Generator) -> Picture:
    """Return a false detection: a piece of street, an object, or a badly cut passer-by."""
    canvas, view = _empty_street(shot, camera, rng, 1.7)
    light = camera.light
    if rng.random() < 0.6:
        _passer_by(canvas, shot.seed, rng, camera, view, light, beside=True)
    if rng.random() < 0.6:
        draw = pick(rng, _FURNITURE[:2] if camera.indoors else _FURNITURE)
        size = _ROWS * (1.0 if draw in (objects.pole, objects.tree) else rng.uniform(0.3, 0.6))
        draw(canvas, rng, view.x, view.y, size)
    image, labels = canvas.finish(_folds(shot.seed))
    nothing = np.zeros((17, 3))
    return Picture(photograph(image, camera, rng), labels, nothing, camera.quality)


def _keypoints(skeleton: Skeleton, view: View, labels: np.ndarray) -> np.ndarray:
    body = skeleton.keypoints()
    points = (view.project(body) - SCALE // 2) / SCALE  # canvas to final pixel indices
    faces_away = view.nearness(body) < view.nearness(skeleton.head) - 0.02
    result = np.zeros((17, 3))
    for row, ((x, y), parts) in enumerate(zip(points, _AT_KEYPOINT, strict=True)):
        column, line = round(float(x)), round(float(y))
        if 0 <= column < WIDTH and 0 <= line < HEIGHT:
            seen = labels[line, column] in parts and not (row < 5 and faces_away[row])
            result[row] = (round(float(x), 2), round(float(y), 2), 2 if seen else 1)
    return result


@lru_cache(maxsize=2)
def _folds(seed: int) -> np.ndarray:
    """Creases of clothes: (ROWS, COLUMNS) float32 factors around 1."""
    rng = np.random.default_rng([seed, 999])
    return 1 + 0.055 * smooth_noise(rng, _ROWS, _COLUMNS, (7, 14, 30))
