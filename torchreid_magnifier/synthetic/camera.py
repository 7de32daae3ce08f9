"""Five cameras: their backdrop, their light, and what their optics do to a picture.

A backdrop is painted once for each camera and process, as a wide strip of street out of which every
picture is cut; it depends on the seed and the camera alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from . import objects
from .canvas import HEIGHT, SCALE, WIDTH, Canvas, Colour, box, smooth_noise, tint
from .identity import pick

STRIP_WIDTH = 12 * WIDTH * SCALE
STRIP_HEIGHT = 2 * HEIGHT * SCALE
WALKWAY = 1.35 * HEIGHT * SCALE  # height in the strip at which people walk


@dataclass(frozen=True)
class Camera:
    """One camera: how it sees and records.

    Attributes:
        place: name of the backdrop.
        horizon: where the ground begins, as a fraction of a picture's height above the walkway.
        pitch: how far it looks down, radians.
        roll: tilt, radians.
        yaw: the way people usually walk, see :class:`body.View`.
        zoom: usual height of a person in the picture, as a fraction of its height.
        shift: usual offset of the person across, as a fraction of the picture's width.
        light: where the light comes from, -1 (left) to 1 (right).
        gain: red, green and blue factors.
        gamma: above 1 darkens the middle tones.
        contrast: slope around middle grey.
        saturation: 0 grey to 1 as drawn, more is stronger.
        blur: standard deviation in pixels of the final image.
        noise: standard deviation in grey levels.
        quality: JPEG quality.
        indoors: neither cars nor bushes.
    """

    place: str
    horizon: float
    pitch: float
    roll: float
    yaw: float
    zoom: float
    shift: float
    light: float
    gain: tuple[float, float, float]
    gamma: float
    contrast: float
    saturation: float
    blur: float
    noise: float
    quality: int
    indoors: bool = False


CAMERAS = (
    Camera("square", 0.72, 0.26, 0.015, 0.3, 0.88, 0.00, -0.7,
           (1.02, 1.00, 0.97), 0.95, 1.05, 1.00, 0.45, 3.0, 90),
    Camera("shops", 0.50, 0.14, -0.03, 2.9, 0.86, 0.03, 0.6,
           (1.07, 1.00, 0.90), 1.05, 1.00, 1.05, 0.60, 4.0, 88),
    Camera("park", 0.62, 0.20, 0.03, 1.5, 0.84, -0.03, 0.8,
           (0.94, 1.04, 0.96), 0.82, 1.10, 0.85, 0.50, 3.0, 90),
    Camera("hall", 0.52, 0.24, -0.02, 4.4, 0.90, 0.02, -0.2,
           (0.95, 1.00, 1.05), 1.06, 1.00, 0.85, 0.65, 4.5, 85, indoors=True),
    Camera("bricks", 0.42, 0.10, 0.0, 5.6, 0.86, 0.00, -0.5,
           (0.98, 0.98, 1.02), 1.18, 1.00, 0.75, 0.75, 5.0, 84),
)  # fmt: skip


@lru_cache(maxsize=len(CAMERAS))
def backdrop(seed: int, camera: int) -> np.ndarray:
    """Return the (STRIP_HEIGHT, STRIP_WIDTH, 3) uint8 RGB strip behind everybody, read-only."""
    rng = np.random.default_rng([seed, 1000 + camera])
    horizon = round(WALKWAY - CAMERAS[camera].horizon * HEIGHT * SCALE)
    canvas = Canvas(np.zeros((STRIP_HEIGHT, STRIP_WIDTH, 3), np.uint8))
    _PLACES[CAMERAS[camera].place](canvas, rng, horizon)
    grain = smooth_noise(rng, STRIP_HEIGHT, STRIP_WIDTH, (3, 9, 60, 200))
    picture = canvas.image * (1 + 0.05 * grain[..., None])
    picture = np.clip(picture, 0, 255).astype(np.uint8)
    picture.flags.writeable = False
    return picture


def photograph(image: np.ndarray, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """Return what ``camera`` records of an (H, W, 3) uint8 RGB picture: light, optics and noise."""
    picture = image.astype(np.float32) / 255
    grey = picture.mean(axis=2, keepdims=True)
    saturation = camera.saturation * rng.normal(1, 0.08)
    picture = grey + saturation * (picture - grey)
    gain = np.array(camera.gain) * rng.normal(1, 0.02, 3) * rng.normal(1, 0.07)
    picture = np.clip(picture * gain.astype(np.float32), 0, 1) ** (
        camera.gamma * rng.normal(1, 0.05)
    )
    picture = 0.5 + camera.contrast * rng.normal(1, 0.06) * (picture - 0.5)
    height, width = image.shape[:2]
    slope = rng.normal(0, 0.08) * np.linspace(-1, 1, width, dtype=np.float32)  # uneven light
    picture = picture * (1 + slope[None, :, None])
    blur = camera.blur * rng.uniform(0.7, 1.4)
    picture = cv2.GaussianBlur(picture, (0, 0), blur)
    if rng.random() < 0.2:  # somebody moved while the shutter was open
        picture = cv2.blur(picture, (3, 1))
    noise = rng.standard_normal((height, width, 3), np.float32) * (camera.noise / 255)
    return np.asarray(np.clip((picture + noise) * 255 + 0.5, 0, 255), np.uint8)


# -- places -------------------------------------------------------------------------------------


def _paving(
    canvas: Canvas,
    rng: np.random.Generator,
    horizon: int,
    colour: Colour,
    joint: Colour,
    tile: tuple[int, int],
    uneven: float,
) -> None:
    """Ground of rectangular tiles in perspective, from the horizon line down."""
    rows, columns = 40, 60
    shades = 1 + uneven * rng.standard_normal((rows, columns, 1)).astype(np.float32)
    cells = np.clip(np.array(colour, np.float32) * shades, 0, 255).astype(np.uint8)
    flat = cv2.resize(cells, (columns * tile[0], rows * tile[1]), interpolation=cv2.INTER_NEAREST)
    flat[:: tile[1]] = joint
    for row in range(rows):
        start = (row % 2) * tile[0] // 2
        flat[row * tile[1] : (row + 1) * tile[1], start :: tile[0]] = joint
    height, width = flat.shape[:2]
    depth = STRIP_HEIGHT - horizon
    source = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    target = np.array(
        [(0, 0), (STRIP_WIDTH, 0), (STRIP_WIDTH * 1.25, depth), (-STRIP_WIDTH * 0.25, depth)],
        np.float32,
    )
    matrix = cv2.getPerspectiveTransform(source, target)
    canvas.image[horizon:] = cv2.warpPerspective(
        flat, matrix, (STRIP_WIDTH, depth), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT
    )


def _facade(canvas: Canvas, horizon: int, top: Colour, bottom: Colour) -> None:
    """Everything above the ground: a plain wall that darkens downwards."""
    blend = np.linspace(0, 1, horizon)[:, None, None]
    canvas.image[:horizon] = (1 - blend) * np.array(top) + blend * np.array(bottom)


def _row(
    canvas: Canvas,
    rng: np.random.Generator,
    draw: objects.Draw,
    foot: float,
    size: tuple[float, float],
    gap: tuple[float, float],
) -> None:
    """Objects side by side along the strip."""
    x = float(rng.uniform(0, gap[1]))
    while x < STRIP_WIDTH:
        draw(canvas, rng, x, foot + float(rng.normal(0, 4)), float(rng.uniform(*size)))
        x += float(rng.uniform(*gap))


def _square(canvas: Canvas, rng: np.random.Generator, horizon: int) -> None:
    _facade(canvas, horizon, (150, 152, 150), (112, 112, 108))
    for x in range(0, STRIP_WIDTH, 210):
        canvas.fill(box(x, 0, x + 120, horizon - 70), (92, 102, 110))
        canvas.fill(box(x + 6, 0, x + 57, horizon - 76), (66, 78, 88))
        canvas.fill(box(x + 63, 0, x + 114, horizon - 76), (70, 84, 94))
    _paving(canvas, rng, horizon, (142, 138, 132), (112, 110, 106), (46, 28), 0.07)
    _row(canvas, rng, objects.bush, horizon + 12, (70, 110), (70, 130))
    _row(canvas, rng, objects.bicycle, horizon + 50, (90, 120), (60, 210))
    _row(canvas, rng, objects.pole, horizon + 30, (420, 520), (300, 700))


def _shops(canvas: Canvas, rng: np.random.Generator, horizon: int) -> None:
    _facade(canvas, horizon, (176, 160, 140), (150, 134, 114))
    for x in range(0, STRIP_WIDTH, 260):
        frame = pick(rng, ((60, 52, 46), (120, 48, 44), (52, 74, 70)))
        canvas.fill(box(x + 10, 60, x + 240, horizon - 18), frame)
        canvas.fill(box(x + 22, 120, x + 160, horizon - 34), (118, 124, 122))
        canvas.fill(box(x + 172, 120, x + 228, horizon - 18), (74, 78, 80))
        for _ in range(6):  # goods in the window
            left, tall = x + 28 + rng.uniform(0, 110), rng.uniform(30, 110)
            colour = pick(rng, objects.CAR_COLOURS)
            goods = box(left, horizon - 40 - tall, left + 20, horizon - 40)
            canvas.fill(goods, tint(colour, 0.9))
        canvas.fill(
            np.array([(x + 22, 120), (x + 90, 120), (x + 40, horizon - 34)]), (150, 156, 156)
        )
        canvas.fill(box(x + 16, 74, x + 234, 112), tint(frame, 1.4))
    _paving(canvas, rng, horizon, (128, 120, 112), (104, 98, 92), (70, 46), 0.05)
    _row(canvas, rng, objects.crate, horizon + 16, (60, 90), (260, 620))
    _row(canvas, rng, objects.pole, horizon + 60, (440, 540), (420, 800))


def _park(canvas: Canvas, rng: np.random.Generator, horizon: int) -> None:
    _facade(canvas, horizon, (186, 200, 206), (150, 164, 150))
    _row(canvas, rng, objects.bush, horizon + 20, (170, 260), (90, 160))
    _paving(canvas, rng, horizon, (112, 128, 78), (108, 124, 76), (30, 20), 0.10)
    edge = horizon + 60  # a gravel path through the grass
    canvas.fill(box(0, edge, STRIP_WIDTH, STRIP_HEIGHT), (172, 160, 140))
    path = canvas.image[edge:].astype(np.float32)
    grit = rng.standard_normal((*path.shape[:2], 1)).astype(np.float32)
    canvas.image[edge:] = np.clip(path * (1 + 0.05 * grit), 0, 255).astype(np.uint8)
    canvas.fill(box(0, edge, STRIP_WIDTH, edge + 8), (142, 138, 130))
    _row(canvas, rng, objects.tree, horizon + 42, (420, 520), (200, 420))
    _row(canvas, rng, objects.bush, horizon + 44, (50, 80), (140, 400))


def _hall(canvas: Canvas, rng: np.random.Generator, horizon: int) -> None:
    _facade(canvas, horizon, (206, 204, 198), (184, 182, 176))
    for x in range(0, STRIP_WIDTH, 340):
        canvas.fill(box(x + 30, horizon - 330, x + 130, horizon), (128, 102, 78))
        canvas.fill(box(x + 38, horizon - 322, x + 122, horizon), (146, 118, 90))
        canvas.fill(box(x + 108, horizon - 170, x + 116, horizon - 150), (60, 60, 60))
        poster = pick(rng, ((70, 104, 140), (170, 84, 66), (206, 186, 110)))
        canvas.fill(box(x + 190, horizon - 250, x + 270, horizon - 130), (70, 70, 72))
        canvas.fill(box(x + 194, horizon - 246, x + 266, horizon - 134), poster)
        canvas.fill(box(x + 202, horizon - 190, x + 258, horizon - 150), tint(poster, 1.4))
        canvas.fill(box(x + 165, horizon - 48, x + 300, horizon - 40), (96, 74, 56))
        for leg in (175, 285):
            canvas.fill(box(x + leg, horizon - 40, x + leg + 6, horizon + 6), (70, 70, 72))
    canvas.fill(box(0, horizon - 22, STRIP_WIDTH, horizon), (104, 104, 104))
    _paving(canvas, rng, horizon, (172, 170, 164), (124, 124, 122), (64, 48), 0.035)
    mirror = canvas.image[horizon - 150 : horizon][::-1].astype(np.float32)  # polished floor
    fade = np.linspace(0.35, 0.0, 150, dtype=np.float32)[:, None, None]
    floor = canvas.image[horizon : horizon + 150]
    floor[:] = cv2.blur((1 - fade) * floor + fade * mirror, (9, 15))
    _row(canvas, rng, objects.crate, horizon + 24, (70, 100), (420, 800))


def _bricks(canvas: Canvas, rng: np.random.Generator, horizon: int) -> None:
    rows, columns, tall, wide = horizon // 12 + 1, STRIP_WIDTH // 30 + 2, 12, 30
    shades = 1 + 0.10 * rng.standard_normal((rows, columns, 1))
    cells = np.clip(np.array((134, 88, 74)) * shades, 0, 255).astype(np.uint8)
    for row in range(rows):
        shift = (row % 2) * wide // 2
        course = np.repeat(cells[row], wide, axis=0)[shift : shift + STRIP_WIDTH]
        course[(wide - shift) % wide :: wide] = (150, 138, 126)
        block = np.repeat(course[None], tall, axis=0)
        block[0] = (150, 138, 126)
        canvas.image[row * tall : min((row + 1) * tall, horizon)] = block[: horizon - row * tall]
    for x in range(80, STRIP_WIDTH, 380):
        canvas.fill(box(x, 0, x + 110, horizon - 130), (196, 190, 178))
        canvas.fill(box(x + 10, 0, x + 100, horizon - 142), (64, 74, 84))
    _paving(canvas, rng, horizon, (104, 106, 108), (98, 100, 102), (50, 40), 0.03)
    canvas.fill(box(0, horizon, STRIP_WIDTH, horizon + 26), (132, 130, 126))
    canvas.fill(box(0, horizon + 26, STRIP_WIDTH, horizon + 36), (92, 92, 92))
    _row(canvas, rng, objects.car, horizon + 56, (130, 160), (420, 700))


_PLACES: dict[str, Callable[[Canvas, np.random.Generator, int], None]] = {
    "square": _square,
    "shops": _shops,
    "park": _park,
    "hall": _hall,
    "bricks": _bricks,
}
