"""Five cameras: their backdrop, their light, and what their optics do to a picture.

A backdrop is painted once for each camera and process, as a wide strip of street out of which every
picture is cut; it depends on the seed and the camera alone.
"""

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
    """One camera: how it sees and records."""

    place: str  # name of the backdrop
    horizon: float  # where the ground begins: of a picture's height above the walkway
    pitch: float  # how far it looks down, radians
    roll: float  # tilt, radians
    yaw: float  # the way people usually walk, see :class:`body.View`
    zoom: float  # usual height of a person, of the picture's
    shift: float  # usual offset of the person across, of the picture's width
    light: float  # where the light comes from, -1 (left) to 1 (right)
    gain: tuple[float, float, float]  # red, green and blue factors
    gamma: float  # above 1 darkens the middle tones
    contrast: float  # slope around middle grey
    saturation: float  # 0 grey to 1 as drawn, more is stronger
    blur: float  # standard deviation in pixels of the final image
    noise: float  # standard deviation in grey levels
    quality: int  # JPEG quality
    indoors: bool = False  # neither cars nor bushes


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
    strip = _Strip(rng, horizon)
    _PLACES[CAMERAS[camera].place](strip)
    grain = smooth_noise(rng, STRIP_HEIGHT, STRIP_WIDTH, (3, 9, 60, 200))
    picture = strip.image * (1 + 0.05 * grain[..., None])
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
    gamma = camera.gamma * rng.normal(1, 0.05)
    picture = np.clip(picture * gain.astype(np.float32), 0, 1) ** gamma
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


class _Strip(Canvas):
    """A backdrop while it is painted: what is behind, down to the horizon, and the ground."""

    def __init__(self, rng: np.random.Generator, horizon: int) -> None:
        super().__init__(np.zeros((STRIP_HEIGHT, STRIP_WIDTH, 3), np.uint8))
        self.rng, self.horizon = rng, horizon

    def boxes(self, x: float, *boxes: tuple[float, float, float, float, Colour]) -> None:
        """Paint upright rectangles: left and right against ``x``, top, bottom, colour."""
        for left, top, right, bottom, colour in boxes:
            self.fill(box(x + left, top, x + right, bottom), colour)

    def facade(self, top: Colour, bottom: Colour) -> None:
        """Paint a plain wall that darkens downwards."""
        blend = np.linspace(0, 1, self.horizon)[:, None, None]
        self.image[: self.horizon] = (1 - blend) * np.array(top) + blend * np.array(bottom)

    def paving(self, colour: Colour, joint: Colour, tile: tuple[int, int], uneven: float) -> None:
        """Pave the ground with rectangular tiles (width, height) in perspective."""
        (wide, tall), rows, columns = tile, 40, 60
        flat = cv2.resize(
            _uneven(self.rng, colour, uneven, rows, columns),
            (columns * wide, rows * tall),
            interpolation=cv2.INTER_NEAREST,
        )
        flat[::tall] = joint
        for row in range(rows):
            flat[row * tall : (row + 1) * tall, (row % 2) * wide // 2 :: wide] = joint
        height, width = flat.shape[:2]
        depth = STRIP_HEIGHT - self.horizon
        seen = [(0, 0), (STRIP_WIDTH, 0), (STRIP_WIDTH * 1.25, depth), (-STRIP_WIDTH * 0.25, depth)]
        matrix = cv2.getPerspectiveTransform(
            box(0, 0, width, height).astype(np.float32), np.array(seen, np.float32)
        )
        self.image[self.horizon :] = cv2.warpPerspective(
            flat, matrix, (STRIP_WIDTH, depth), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT
        )

    def row(
        self, draw: objects.Draw, foot: float, size: tuple[float, float], gap: tuple[float, float]
    ) -> None:
        """Draw objects side by side that stand ``foot`` below the horizon."""
        rng = self.rng
        x = float(rng.uniform(0, gap[1]))
        while x < STRIP_WIDTH:
            y = self.horizon + foot + float(rng.normal(0, 4))
            draw(self, rng, x, y, float(rng.uniform(*size)))
            x += float(rng.uniform(*gap))


def _uneven(
    rng: np.random.Generator, colour: Colour, uneven: float, rows: int, columns: int
) -> np.ndarray:
    """Return (rows, columns, 3) uint8: about the same colour everywhere."""
    shades = 1 + uneven * rng.standard_normal((rows, columns, 1)).astype(np.float32)
    return np.clip(np.array(colour, np.float32) * shades, 0, 255).astype(np.uint8)


def _square(strip: _Strip) -> None:
    strip.facade((150, 152, 150), (112, 112, 108))
    low = strip.horizon - 76
    for x in range(0, STRIP_WIDTH, 210):
        strip.boxes(
            x,
            (0, 0, 120, low + 6, (92, 102, 110)),
            (6, 0, 57, low, (66, 78, 88)),
            (63, 0, 114, low, (70, 84, 94)),
        )
    strip.paving((142, 138, 132), (112, 110, 106), (46, 28), 0.07)
    strip.row(objects.bush, 12, (70, 110), (70, 130))
    strip.row(objects.bicycle, 50, (90, 120), (60, 210))
    strip.row(objects.pole, 30, (420, 520), (300, 700))


def _shops(strip: _Strip) -> None:
    strip.facade((176, 160, 140), (150, 134, 114))
    rng, h = strip.rng, strip.horizon
    for x in range(0, STRIP_WIDTH, 260):
        frame = pick(rng, ((60, 52, 46), (120, 48, 44), (52, 74, 70)))
        strip.boxes(
            x,
            (10, 60, 240, h - 18, frame),
            (22, 120, 160, h - 34, (118, 124, 122)),
            (172, 120, 228, h - 18, (74, 78, 80)),
        )
        for _ in range(6):  # goods in the window
            left, tall = 28 + rng.uniform(0, 110), rng.uniform(30, 110)
            colour = tint(pick(rng, objects.CAR_COLOURS), 0.9)
            strip.boxes(x, (left, h - 40 - tall, left + 20, h - 40, colour))
        strip.fill(np.array([(x + 22, 120), (x + 90, 120), (x + 40, h - 34)]), (150, 156, 156))
        strip.boxes(x, (16, 74, 234, 112, tint(frame, 1.4)))
    strip.paving((128, 120, 112), (104, 98, 92), (70, 46), 0.05)
    strip.row(objects.crate, 16, (60, 90), (260, 620))
    strip.row(objects.pole, 60, (440, 540), (420, 800))


def _park(strip: _Strip) -> None:
    strip.facade((186, 200, 206), (150, 164, 150))
    strip.row(objects.bush, 20, (170, 260), (90, 160))
    strip.paving((112, 128, 78), (108, 124, 76), (30, 20), 0.10)
    edge = strip.horizon + 60  # a gravel path through the grass
    strip.image[edge:] = _uneven(strip.rng, (172, 160, 140), 0.05, STRIP_HEIGHT - edge, STRIP_WIDTH)
    strip.boxes(0, (0, edge, STRIP_WIDTH, edge + 8, (142, 138, 130)))
    strip.row(objects.tree, 42, (420, 520), (200, 420))
    strip.row(objects.bush, 44, (50, 80), (140, 400))


def _hall(strip: _Strip) -> None:
    strip.facade((206, 204, 198), (184, 182, 176))
    h = strip.horizon
    for x in range(0, STRIP_WIDTH, 340):
        poster = pick(strip.rng, ((70, 104, 140), (170, 84, 66), (206, 186, 110)))
        strip.boxes(
            x,
            (30, h - 330, 130, h, (128, 102, 78)),  # a door
            (38, h - 322, 122, h, (146, 118, 90)),
            (108, h - 170, 116, h - 150, (60, 60, 60)),
            (190, h - 250, 270, h - 130, (70, 70, 72)),
            (194, h - 246, 266, h - 134, poster),
            (202, h - 190, 258, h - 150, tint(poster, 1.4)),
            (165, h - 48, 300, h - 40, (96, 74, 56)),  # a bench
            (175, h - 40, 181, h + 6, (70, 70, 72)),
            (285, h - 40, 291, h + 6, (70, 70, 72)),
        )
    strip.boxes(0, (0, h - 22, STRIP_WIDTH, h, (104, 104, 104)))
    strip.paving((172, 170, 164), (124, 124, 122), (64, 48), 0.035)
    mirror = strip.image[h - 150 : h][::-1].astype(np.float32)  # polished floor
    fade = np.linspace(0.35, 0.0, 150, dtype=np.float32)[:, None, None]
    floor = strip.image[h : h + 150]
    floor[:] = cv2.blur((1 - fade) * floor + fade * mirror, (9, 15))
    strip.row(objects.crate, 24, (70, 100), (420, 800))


def _bricks(strip: _Strip) -> None:
    h, tall, wide, mortar = strip.horizon, 12, 30, (150, 138, 126)
    rows = h // tall + 1
    shades = 1 + 0.10 * strip.rng.standard_normal((rows, STRIP_WIDTH // wide + 2, 1))
    bricks = np.clip(np.array((134, 88, 74)) * shades, 0, 255).astype(np.uint8)
    for row in range(rows):
        shift = (row % 2) * wide // 2
        course = np.repeat(bricks[row], wide, axis=0)[shift : shift + STRIP_WIDTH]
        course[(wide - shift) % wide :: wide] = mortar
        top, bottom = row * tall, min((row + 1) * tall, h)
        strip.image[top:bottom] = course
        strip.image[top:bottom][:1] = mortar
    for x in range(80, STRIP_WIDTH, 380):
        strip.boxes(x, (0, 0, 110, h - 130, (196, 190, 178)), (10, 0, 100, h - 142, (64, 74, 84)))
    strip.paving((104, 106, 108), (98, 100, 102), (50, 40), 0.03)
    strip.boxes(
        0,
        (0, h, STRIP_WIDTH, h + 26, (132, 130, 126)),
        (0, h + 26, STRIP_WIDTH, h + 36, (92, 92, 92)),
    )
    strip.row(objects.car, 56, (130, 160), (420, 700))


_PLACES = {"square": _square, "shops": _shops, "park": _park, "hall": _hall, "bricks": _bricks}
