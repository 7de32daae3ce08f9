"""A supersampled drawing surface that keeps image, part labels and shading in step.

Everything is drawn ``SCALE`` times larger than the final image, without anti-aliasing. The image is
then averaged down, while the label of a final pixel is the label at its centre: smooth pictures
with exact hard labels.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from ..parts import BACKGROUND

HEIGHT, WIDTH = 128, 64
SCALE = 3  # odd, so that every final pixel has a centre sample
FLAT = 200  # value of the shading layer that leaves a colour as it is

_FRACTION_BITS = 4  # cv2 takes polygon corners as fixed-point numbers

Colour = tuple[int, int, int]


class Canvas:
    """RGB image, label map and shading layer of one scene, all ``SCALE`` times enlarged.

    Args:
        background: (H, W, 3) uint8 RGB picture to start from; it is copied.
    """

    def __init__(self, background: np.ndarray) -> None:
        self.image = np.ascontiguousarray(background).copy()
        self.labels = np.full(background.shape[:2], BACKGROUND, np.uint8)
        self.shade = np.full(background.shape[:2], FLAT, np.uint8)

    def fill(
        self,
        points: np.ndarray,
        colour: Colour | np.ndarray | None,
        label: int | None = None,
        shade: int | None = FLAT,
    ) -> None:
        """Fill one polygon.

        Args:
            points: (P, 2) corners as x, y in canvas pixels.
            colour: an RGB colour, or a picture as large as the canvas to take the pixels from, or
                None to leave the colours alone.
            label: part label to write, None to leave the labels alone.
            shade: shading to write, None to leave the shading alone.
        """
        corners = np.round(points * (1 << _FRACTION_BITS)).astype(np.int32)
        if isinstance(colour, np.ndarray):
            mask = np.zeros_like(self.labels)
            cv2.fillPoly(mask, [corners], 255, shift=_FRACTION_BITS)
            cv2.copyTo(colour, mask, self.image)
            colour = None
        for layer, value in ((self.image, colour), (self.labels, label), (self.shade, shade)):
            if value is not None:
                cv2.fillPoly(layer, [corners], value, shift=_FRACTION_BITS)

    def stroke(
        self,
        points: np.ndarray,
        colour: Colour,
        thickness: float,
        label: int | None = None,
        closed: bool = False,
    ) -> None:
        """Draw a line through ``points`` (P, 2), ``thickness`` canvas pixels wide."""
        corners = np.round(points * (1 << _FRACTION_BITS)).astype(np.int32)
        width = max(1, round(thickness))
        for layer, value in ((self.image, colour), (self.labels, label)):
            if value is not None:
                cv2.polylines(layer, [corners], closed, value, width, shift=_FRACTION_BITS)

    def finish(self, folds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Apply the shading and reduce to the final size.

        Args:
            folds: (H, W) float32 factors around 1, the creases of clothes; used where something
                rounded was drawn.

        Returns:
            image (H / SCALE, W / SCALE, 3) uint8 RGB, labels (H / SCALE, W / SCALE) uint8.
        """
        rounded = self.shade != FLAT
        shade = cv2.blur(self.shade, (5, 5)).astype(np.float32) / FLAT
        shade[rounded] *= folds[rounded]
        shaded = cv2.multiply(self.image, cv2.merge([shade] * 3), dtype=cv2.CV_8U)
        height, width = self.image.shape[:2]
        size = (width // SCALE, height // SCALE)
        centre = SCALE // 2
        small = cv2.resize(shaded, size, interpolation=cv2.INTER_AREA)
        return small, np.ascontiguousarray(self.labels[centre::SCALE, centre::SCALE])


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    """Return the outline (4, 2) of an upright rectangle."""
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float64)


def rgb(values: np.ndarray) -> Colour:
    """Return the colour of three numbers: cut down to whole ones from 0 to 255."""
    red, green, blue = np.clip(values, 0, 255).astype(int).tolist()
    return red, green, blue


def tint(colour: Colour, factor: float) -> Colour:
    """Return the colour made darker (factor < 1) or lighter (factor > 1)."""
    return rgb(np.round(np.array(colour) * factor))


def smooth_noise(
    rng: np.random.Generator, height: int, width: int, cells: Sequence[int]
) -> np.ndarray:
    """Draw (height, width) float32 noise of mean 0: one octave for each cell size in pixels."""
    total = np.zeros((height, width), np.float32)
    for cell in cells:
        grid = rng.standard_normal((height // cell + 2, width // cell + 2)).astype(np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return total / np.float32(len(cells) ** 0.5)
