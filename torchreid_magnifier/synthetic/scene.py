"""One picture of the data set: who, where, what is in the way, and the exact labels."""

import copy
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..parts import FOOT, HEAD, LOWER_ARM, LOWER_LEG, TORSO, UPPER_ARM, UPPER_LEG
from . import objects
from .body import Skeleton, View, build_skeleton, draw_pose
from .camera import CAMERAS, STRIP_WIDTH, WALKWAY, backdrop, photograph
from .canvas import HEIGHT, SCALE, WIDTH, Canvas, smooth_noise
from .identity import identity, pick
from .person import draw_person

_ROWS, _COLUMNS = HEIGHT * SCALE, WIDTH * SCALE
_PASSERS_BY = 7  # identity stream of people who belong to no image of their own
HEAVY = (0.30, 0.62)  # share of the person's pixels that is hidden in a heavily occluded image
LIGHT = (0.06, 0.25)

_INDOORS = (objects.pole, objects.crate)
_OUTDOORS = (*_INDOORS, objects.bush, objects.bicycle, objects.car, objects.tree)
# Parts at each COCO keypoint; a keypoint is seen where one of its parts is.
_AT_KEYPOINT = (
    *[(HEAD,)] * 5,
    *[(TORSO, UPPER_ARM)] * 2,
    *[(UPPER_ARM, LOWER_ARM)] * 2,
    *[(LOWER_ARM,)] * 2,
    *[(TORSO, UPPER_LEG)] * 2,
    *[(UPPER_LEG, LOWER_LEG)] * 2,
    *[(LOWER_LEG, FOOT)] * 2,
)


@dataclass(frozen=True)
class Shot:
    """Everything a picture depends on."""

    seed: int  # of the whole data set
    stream: int  # identity stream (the split)
    person: int | None  # 0-based number in the stream, or None: nobody, or a passer-by
    camera: int  # 0-based
    index: int  # distinguishes the pictures of one person by one camera
    occlusion: str = "none"  # or "light" or "heavy"


@dataclass(frozen=True)
class Picture:
    """A finished picture."""

    image: np.ndarray  # (128, 64, 3) uint8 RGB
    labels: np.ndarray  # (128, 64) uint8 part labels
    keypoints: np.ndarray  # (17, 3) COCO: x, y in pixels; 0 outside the picture, 1 hidden, 2 seen
    quality: int  # JPEG quality of the camera


def render(shot: Shot) -> Picture:
    """Draw one picture. It depends on ``shot`` alone, not on what was drawn before."""
    if shot.person is None:
        return _Scene(shot, 9999, 1.7).draw_distractor()
    person = identity(shot.seed, shot.stream, shot.person)
    scene = _Scene(shot, shot.person, person.height)
    rng, view = scene.rng, scene.view
    scene.light = float(np.clip(scene.light + rng.normal(0, 0.2), -1, 1))
    if rng.random() < 0.3:
        scene.add_passer_by(beside=True)
    skeleton = build_skeleton(person, draw_pose(rng))
    draw_person(scene.canvas, person, skeleton, view, scene.light)
    if shot.occlusion != "none":
        scene.occlude()
    return scene.take(skeleton)


class _Scene:
    """A picture while it is drawn: first a cut of the camera's backdrop.

    Args:
        height: of the person who is to stand in it, in metres.
    """

    def __init__(self, shot: Shot, number: int, height: float) -> None:
        rng = np.random.default_rng([shot.seed, shot.stream, number, shot.camera, shot.index, 2])
        self.shot, self.rng, self.camera = shot, rng, CAMERAS[shot.camera]
        camera = self.camera
        self.light = camera.light
        sloppy = 2.0 if rng.random() < 0.15 else 1.0  # an imperfect bounding box
        tall = _ROWS * camera.zoom * float(np.clip(1 + sloppy * rng.normal(0, 0.035), 0.75, 1.25))
        middle = 0.5 + camera.shift + sloppy * rng.normal(0, 0.035)
        feet = (_ROWS + tall) / 2 * (1 + sloppy * rng.normal(0, 0.018))
        turned = np.pi if rng.random() < 0.25 else 0.0
        self.view = View(
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
        self.canvas = Canvas(street)

    def add_passer_by(self, beside: bool) -> None:
        """Draw somebody else: at the edge and further away, or in front."""
        rng, view = self.rng, self.view
        other = identity(self.shot.seed, _PASSERS_BY, int(rng.integers(64)))
        side = pick(rng, (-1, 1))
        across, along, sizes = (0.06, 0.30), (0.02, 0.14), (1.0, 1.12)
        if beside:
            across, along, sizes = (0.34, 0.62), (0.02, 0.10), (0.75, 0.95)
        x = view.x + side * rng.uniform(*across) * _COLUMNS
        y = view.y + (-1 if beside else 1) * rng.uniform(*along) * _ROWS
        scale = view.scale * rng.uniform(*sizes)
        yaw = self.camera.yaw + float(rng.normal(0, 0.8))
        placed = View(yaw, view.pitch, view.roll, float(scale), float(x), float(y))
        skeleton = build_skeleton(other, draw_pose(rng))
        draw_person(self.canvas, other, skeleton, placed, self.light, labelled=False)

    def occlude(self) -> None:
        """Put something in front until the wanted share of the person is hidden."""
        whole = self.canvas
        low, high = HEAVY if self.shot.occlusion == "heavy" else LIGHT
        visible = np.count_nonzero(whole.labels)
        for _ in range(200):
            self.canvas = copy.deepcopy(whole)
            self._add_obstacle()
            if low <= 1 - np.count_nonzero(self.canvas.labels) / visible <= high:
                return
        raise AssertionError(
            f"no obstacle hides between {low} and {high} of the person in {self.shot}"
        )

    def _add_obstacle(self) -> None:
        rng, heavy = self.rng, self.shot.occlusion == "heavy"
        kinds = ("crate", "wall", "pole", "person", "car", "bush", "bicycle")
        weights = [2, 2, 1, 5, 4, 3, 0] if heavy else [2, 1, 3, 3, 1, 2, 2]
        if self.camera.indoors:
            weights[4:] = [0, 0, 0]
        kind = pick(rng, kinds, weights)
        if kind == "person":
            self.add_passer_by(beside=False)
            return
        tall = _ROWS * (rng.uniform(0.3, 0.62) if heavy else rng.uniform(0.12, 0.35))
        side = pick(rng, (-1, 1))
        x = self.view.x + side * rng.uniform(0.0, 0.45) * _COLUMNS
        foot = self.view.y + rng.uniform(0.02, 0.1) * _ROWS
        draw, y, size = {
            "car": (objects.car, foot + 0.04 * _ROWS, max(tall, 0.3 * _ROWS)),
            "crate": (objects.crate, foot, 1.2 * tall),
            "bush": (objects.bush, foot, 1.3 * tall),
            "wall": (objects.wall, _ROWS + 4.0, tall),
            "bicycle": (objects.bicycle, foot, 0.5 * _ROWS),
            "pole": (objects.pole, foot + 10, _ROWS * (2.2 if heavy else 1.2)),
        }[kind]
        draw(self.canvas, rng, x, y, size)

    def draw_distractor(self) -> Picture:
        """Draw a false detection: a piece of street, an object, or a badly cut passer-by."""
        rng = self.rng
        if rng.random() < 0.6:
            self.add_passer_by(beside=True)
        if rng.random() < 0.6:
            draw = pick(rng, _INDOORS if self.camera.indoors else _OUTDOORS)
            size = _ROWS * (1.0 if draw in (objects.pole, objects.tree) else rng.uniform(0.3, 0.6))
            draw(self.canvas, rng, self.view.x, self.view.y, size)
        return self.take(None)

    def take(self, skeleton: Skeleton | None) -> Picture:
        """Return what the camera records, with the keypoints of the skeleton, if there is one."""
        image, labels = self.canvas.finish(_folds(self.shot.seed))
        keypoints = np.zeros((17, 3))
        if skeleton is not None:
            keypoints = _keypoints(skeleton, self.view, labels)
        image = photograph(image, self.camera, self.rng)
        return Picture(image, labels, keypoints, self.camera.quality)


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
