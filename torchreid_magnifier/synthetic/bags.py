"""Bags and their straps: they change the picture, and no label of the person who carries them."""

from __future__ import annotations

import numpy as np

from ..shapes import hull
from .body import Skeleton
from .brush import Brush
from .canvas import tint
from .identity import Identity


def draw_backpack(brush: Brush, person: Identity, bones: Skeleton) -> None:
    """Draw the pack on the back."""
    if person.bag != "backpack":
        return

    def at(x: float, height: float, z: float) -> np.ndarray:
        return brush.at(bones.on_trunk(x, height, z))

    corners = [
        at(x * (0.85 if height > 0.5 else 1.0), height, z)
        for x in (-0.15, 0.15)
        for height, z in ((0.93, -0.09), (0.9, -0.20), (0.2, -0.24), (0.16, -0.09))
    ]
    outline = hull(np.array(corners))
    brush.fill(outline, person.bag_colour, None, 180)
    middle = outline.mean(axis=0)
    brush.shade(middle + 0.8 * (outline - middle), 205)
    if brush.front < -0.3:
        pocket = [at(x, h, -0.24) for x, h in ((-0.1, 0.5), (0.1, 0.5), (0.1, 0.24), (-0.1, 0.24))]
        brush.fill(np.array(pocket), tint(person.bag_colour, 1.25), None, 195)
        zip_line = np.array([at(x, 0.74, -0.22) for x in (-0.11, 0.11)])
        brush.stroke(zip_line, tint(person.bag_colour, 0.6), 0.012)


def draw_straps(brush: Brush, person: Identity, bones: Skeleton) -> None:
    """Draw what crosses chest and shoulders."""
    if person.bag == "backpack" and brush.front > -0.5:
        for x in (-0.105, 0.105):
            if brush.front < 0.5 and x * brush.side > 0:
                continue  # the far strap of a side view
            path = [(0.85, 0.97, 0.02), (1.0, 0.86, 0.11), (1.1, 0.55, 0.09), (1.25, 0.42, 0.0)]
            line = [brush.at(bones.on_trunk(x * out, height, z)) for out, height, z in path]
            brush.stroke(np.array(line), person.bag_colour, 0.036)
    elif person.bag == "messenger":
        middle = 0.11 if brush.front > 0 else -0.11
        path = [(-0.10, 0.97, 0.0), (-0.02, 0.66, middle), (0.15, 0.12, 0.02)]
        line = [brush.at(bones.on_trunk(person.bag_side * x, height, z)) for x, height, z in path]
        brush.stroke(np.array(line), person.bag_colour, 0.03)


def draw_hanging_bag(brush: Brush, person: Identity, bones: Skeleton) -> None:
    """Draw a shoulder, messenger or carrier bag at the person's side."""
    side = 0 if person.bag_side == 1 else 1
    if person.bag == "carrier":
        anchor = bones.wrist[side] + 0.3 * (bones.wrist[side] - bones.elbow[side])
        top, size = anchor - np.array((0, 0.10, 0)), (0.05, 0.26, 0.13)
    elif person.bag in ("shoulder", "messenger"):
        out, height = (0.22, 0.32) if person.bag == "shoulder" else (0.20, 0.12)
        anchor = bones.shoulder[side] + np.array((0, 0.05, 0))
        top = bones.spine(height) + np.array((person.bag_side * out, 0.0, -0.03))
        size = (0.055, 0.22, 0.15)
    else:
        return
    if person.bag != "messenger":
        for z in (-0.07, 0.07):
            handle = np.stack([brush.at(anchor), brush.at(top + np.array((0, 0, z)))])
            brush.stroke(handle, tint(person.bag_colour, 0.8), 0.02)
    corners = np.array(
        [
            top + np.array((x * size[0], -y * size[1], z * size[2] * (0.85 + 0.15 * y)))
            for x in (-1, 1)
            for y in (0, 1)
            for z in (-1, 1)
        ]
    )
    outline = hull(brush.at(corners))
    brush.fill(outline, person.bag_colour, None, 190)
    brush.stroke(outline[:3], tint(person.bag_colour, 0.7), 0.01)
