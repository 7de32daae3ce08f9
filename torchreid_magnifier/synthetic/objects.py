"""Street furniture: backdrop of the cameras' pictures, and what hides people.

Every function draws one object that stands on the ground at ``(x, y)`` (canvas pixels, the middle
of its foot) and is ``size`` pixels tall. What it covers becomes background.
"""

from collections.abc import Callable

import numpy as np

from ..parts import BACKGROUND
from ..shapes import ellipse
from .canvas import Canvas, Colour, box, rgb, tint
from .identity import pick

CAR_COLOURS: tuple[Colour, ...] = (
    (196, 198, 200), (52, 54, 60), (120, 34, 38),
    (46, 66, 108), (228, 228, 226), (98, 104, 102),
)  # fmt: skip
GLASS = (62, 76, 88)
DARK = (32, 32, 34)


def car(canvas: Canvas, rng: np.random.Generator, x: float, y: float, size: float) -> None:
    """Draw a parked car seen from the side."""
    colour = pick(rng, CAR_COLOURS)
    facing = pick(rng, (-1, 1))
    length = 2.75 * size

    def at(points: list[tuple[float, float]]) -> np.ndarray:
        return np.array([(x + facing * u * length, y - v * size) for u, v in points])

    canvas.fill(ellipse((x, y - 0.04 * size), 0.52 * length, 0.08 * size), DARK, BACKGROUND)
    body = [(-0.5, 0.18), (-0.49, 0.5), (-0.36, 0.58), (-0.22, 0.97), (0.14, 1.0), (0.3, 0.64)]
    body += [(0.47, 0.52), (0.5, 0.18)]
    canvas.fill(at(body), colour, BACKGROUND)
    lower = [(-0.5, 0.18), (-0.49, 0.40), (0.49, 0.40), (0.5, 0.18)]
    canvas.fill(at(lower), tint(colour, 0.78), BACKGROUND)
    for window in (
        [(-0.31, 0.62), (-0.20, 0.91), (-0.04, 0.93), (-0.04, 0.62)],
        [(-0.02, 0.62), (-0.02, 0.93), (0.13, 0.93), (0.25, 0.63)],
    ):
        canvas.fill(at(window), GLASS, BACKGROUND)
        canvas.fill(at([*window[1:3], window[0]]), (88, 104, 116))
    canvas.stroke(at([(-0.03, 0.2), (-0.03, 0.6)]), tint(colour, 0.6), 0.015 * size)
    canvas.stroke(at([(-0.49, 0.52), (0.46, 0.52)]), tint(colour, 1.2), 0.015 * size)
    canvas.fill(at([(0.46, 0.42), (0.5, 0.40), (0.5, 0.48), (0.45, 0.5)]), (236, 226, 190))
    canvas.fill(at([(-0.5, 0.42), (-0.46, 0.42), (-0.46, 0.5), (-0.49, 0.5)]), (150, 40, 36))
    for centre in at([(-0.31, 0.19), (0.31, 0.19)]):
        canvas.fill(ellipse(centre, 0.21 * size, 0.21 * size), DARK, BACKGROUND)
        canvas.fill(ellipse(centre, 0.12 * size, 0.12 * size), (150, 152, 154))


def pole(canvas: Canvas, rng: np.random.Generator, x: float, y: float, size: float) -> None:
    """Draw a lamp post, sometimes with a sign."""
    colour = pick(rng, ((92, 96, 98), (58, 62, 60), (150, 150, 146)))
    half = size * rng.uniform(0.014, 0.03)
    canvas.fill(box(x - half, y - size, x + half, y), colour, BACKGROUND)
    canvas.fill(box(x - half, y - size, x - 0.3 * half, y), tint(colour, 0.7), BACKGROUND)
    canvas.fill(
        box(x - 1.8 * half, y - 0.03 * size, x + 1.8 * half, y), tint(colour, 0.8), BACKGROUND
    )
    if rng.random() < 0.5:
        high, wide = y - size * rng.uniform(0.72, 0.85), size * 0.085
        face = pick(rng, ((44, 74, 140), (170, 48, 44), (226, 226, 222), (50, 104, 76)))
        if rng.random() < 0.5:
            canvas.fill(ellipse((x, high), wide, wide), face, BACKGROUND)
            canvas.fill(ellipse((x, high), 0.6 * wide, 0.25 * wide), (235, 235, 232))
        else:
            canvas.fill(box(x - wide, high - wide, x + wide, high + wide), face, BACKGROUND)
            for line in (-0.4, 0.0, 0.4):
                ends = np.array([(x - 0.7 * wide, high + line * wide)] * 2)
                ends[1, 0] += 1.4 * wide
                canvas.stroke(ends, (236, 236, 232), 0.14 * wide)


def crate(canvas: Canvas, rng: np.random.Generator, x: float, y: float, size: float) -> None:
    """Draw a box, cabinet or litter bin."""
    colour = pick(rng, ((140, 112, 78), (70, 88, 76), (110, 112, 116), (54, 72, 104)))
    half = size * rng.uniform(0.3, 0.55)
    canvas.fill(box(x - half, y - size, x + half, y), colour, BACKGROUND)
    canvas.fill(box(x + 0.55 * half, y - size, x + half, y), tint(colour, 0.75), BACKGROUND)
    canvas.fill(box(x - half, y - size, x + half, y - 0.9 * size), tint(colour, 1.2), BACKGROUND)
    for level in (0.35, 0.65):
        line = np.array([(x - half, y - level * size), (x + half, y - level * size)])
        canvas.stroke(line, tint(colour, 0.8), 0.02 * size)
    label = box(x - 0.6 * half, y - 0.6 * size, x - 0.05 * half, y - 0.42 * size)
    canvas.fill(label, (216, 212, 200))


def bush(canvas: Canvas, rng: np.random.Generator, x: float, y: float, size: float) -> None:
    """Draw a shrub: a heap of leaves, darker at the bottom."""
    green = np.array(pick(rng, ((62, 84, 46), (78, 98, 52), (54, 74, 58), (96, 100, 56))))
    half = size * rng.uniform(0.5, 0.8)
    heap = ellipse((x, y - 0.45 * size), 0.85 * half, 0.47 * size)
    canvas.fill(heap, rgb(green * 0.7), BACKGROUND)
    for u, v, r, light in rng.random((46, 4)):
        angle, reach = 2 * np.pi * u, np.sqrt(v)
        centre = (
            x + 0.85 * half * reach * np.cos(angle),
            y - 0.47 * size + 0.42 * size * reach * np.sin(angle),
        )
        height = (y - centre[1]) / size
        radius = size * (0.05 + 0.07 * r)
        leaf = ellipse(centre, radius, 0.8 * radius)
        canvas.fill(leaf, rgb(green * (0.6 + 0.45 * height + 0.35 * light)), BACKGROUND)


def wall(canvas: Canvas, rng: np.random.Generator, x: float, y: float, size: float) -> None:
    """Draw a low wall that runs across the picture."""
    colour = pick(rng, ((150, 144, 134), (128, 84, 68), (168, 168, 164)))
    half = 4.0 * size
    canvas.fill(box(x - half, y - size, x + half, y), colour, BACKGROUND)
    course = size / 6
    for row in range(6):
        top = y - size + row * course
        canvas.stroke(np.array([(x - half, top), (x + half, top)]), tint(colour, 0.8), 1)
        for k in range(int(2 * half / (2 * course)) + 1):
            joint = x - half + (2 * k + row % 2) * course
            canvas.stroke(np.array([(joint, top), (joint, top + course)]), tint(colour, 0.8), 1)
    coping = box(x - half, y - 1.08 * size, x + half, y - 0.94 * size)
    canvas.fill(coping, tint(colour, 1.15), BACKGROUND)


def bicycle(canvas: Canvas, rng: np.random.Generator, x: float, y: float, size: float) -> None:
    """Draw a parked bicycle seen from the side: thin lines that hide little."""
    colour = pick(rng, ((60, 62, 66), (130, 40, 42), (44, 70, 120), (90, 120, 100)))
    facing, r = pick(rng, (-1, 1)), 0.33 * size
    thick = 0.035 * size

    def at(*points: tuple[float, float]) -> np.ndarray:
        return np.array([(x + facing * u * size, y - v * size) for u, v in points])

    for centre in at((-0.52, 0.33), (0.52, 0.33)):
        canvas.stroke(ellipse(centre, r, r), DARK, thick, BACKGROUND, closed=True)
        for angle in (0.3, 1.35, 2.4):
            spoke = np.array([np.cos(angle), np.sin(angle)]) * r
            line = np.stack([centre - spoke, centre + spoke])
            canvas.stroke(line, (120, 122, 124), 1, BACKGROUND)
    for line in (
        at((-0.52, 0.33), (-0.05, 0.30), (0.38, 0.74), (-0.18, 0.74), (-0.05, 0.30)),
        at((-0.52, 0.33), (-0.18, 0.74), (-0.22, 0.88)),
        at((0.52, 0.33), (0.36, 0.92), (0.30, 0.98)),
    ):
        canvas.stroke(line, colour, thick, BACKGROUND)
    canvas.stroke(at((-0.32, 0.90), (-0.12, 0.90)), DARK, 2 * thick, BACKGROUND)
    canvas.stroke(at((0.26, 0.98), (0.42, 0.98)), DARK, thick, BACKGROUND)


def tree(canvas: Canvas, rng: np.random.Generator, x: float, y: float, size: float) -> None:
    """Draw a trunk with leaves above."""
    bark = pick(rng, ((84, 70, 58), (104, 92, 80), (70, 64, 58)))
    half = 0.035 * size
    trunk = np.array([(x - 1.6 * half, y), (x - half, y - size), (x + half, y - size)])
    canvas.fill(np.vstack([trunk, [(x + 1.6 * half, y)]]), bark, BACKGROUND)
    canvas.fill(box(x - half, y - size, x - 0.2 * half, y), tint(bark, 0.75), BACKGROUND)
    bush(canvas, rng, x, y - 0.6 * size, 0.55 * size)


Draw = Callable[[Canvas, np.random.Generator, float, float, float], None]
