"""Head of a person: hair, face and hat; all of it carries the label of the head."""

from __future__ import annotations

import numpy as np

from ..parts import PARTS
from ..shapes import capsule, ellipse
from .body import SIDES, Skeleton
from .brush import Brush
from .canvas import FLAT, tint
from .identity import Identity

HEAD = PARTS.index("head")


def draw_neck(brush: Brush, person: Identity, bones: Skeleton) -> None:
    """Draw the neck, in the shadow of the head."""
    start, end = brush.at(bones.spine(0.98)), brush.at(bones.head)
    brush.limb(start, end, 0.062, 0.052, tint(person.skin, 0.9), HEAD)


def draw_head(brush: Brush, person: Identity, bones: Skeleton) -> None:
    """Skull, hair, face and hat."""
    turn = brush.view.yaw + bones.heading
    front, side = float(np.cos(turn)), float(np.sin(turn))
    centre = brush.at(bones.head)
    half = float(np.hypot(0.074 * front, 0.094 * side))
    right, down = brush.across * brush.unit, brush.down * brush.unit
    bald = person.hair_style == "bald"
    grown = 1.0 if person.hair_style in ("bald", "cropped") else 1.10
    brush.ball(centre, half, 0.112, person.skin if bald else person.hair, HEAD)
    if not bald:
        brush.ball(centre - 0.018 * down, half * grown, 0.104 * grown, person.hair, HEAD)
    if front > -0.45:
        shown = min(1.0, front + 0.55)
        width = (0.066 * max(front, 0.0) + 0.056 * abs(side)) * (0.6 + 0.4 * shown)
        brush.ball(centre + side * 0.042 * right + 0.022 * down, width, 0.092, person.skin, HEAD)
        if person.hair_style == "bob" and front > 0:
            for edge in (-1, 1):
                lock = centre + edge * half * 0.9 * right
                ends = (lock, lock + 0.09 * down)
                brush.fill(capsule(*ends, 0.026 * brush.unit, 0.03 * brush.unit), person.hair, HEAD)
        if not bald:
            fringe = brush.oval(centre + side * 0.03 * right - 0.062 * down, width, 0.030)
            brush.fill(fringe, person.hair, HEAD)
    elif person.hair_style == "bob":
        brush.ball(centre + 0.03 * down, half * 1.08, 0.11, person.hair, HEAD)
    _face(brush, person, bones, front, side)
    if person.hat != "none":
        _hat(brush, person, centre, half, front, side)


def draw_long_hair(brush: Brush, person: Identity, bones: Skeleton) -> None:
    """Hair that falls behind the neck: behind the body or, from the back, over it."""
    back = np.array((-np.sin(bones.heading), 0.0, -np.cos(bones.heading)))
    if person.hair_style == "long":
        top = brush.at(bones.head + 0.045 * back)
        end = brush.at(bones.spine(0.72) + 0.13 * back)
        brush.limb(top, end, 0.086, 0.075, person.hair, HEAD)
    elif person.hair_style == "ponytail":
        knot = brush.at(bones.head + 0.10 * back)
        end = brush.at(bones.spine(0.85) + 0.17 * back)
        brush.limb(knot, end, 0.036, 0.024, person.hair, HEAD)


def _face(brush: Brush, person: Identity, bones: Skeleton, front: float, side: float) -> None:
    """Eyes, glasses, mouth and nose, where they are seen."""
    nose, *eyes = bones.keypoints()[:3]
    for eye, sign in zip(eyes, SIDES, strict=True):
        if front - sign * side * 0.6 < 0.25:
            continue
        spot = brush.at(eye)
        radius = 0.011 * brush.unit
        brush.fill(ellipse(spot, radius * 1.3, radius), tint(person.skin, 0.35), None)
        if person.glasses:
            rim = ellipse(spot, 0.026 * brush.unit, 0.02 * brush.unit)
            brush.stroke(np.vstack([rim, rim[:1]]), (24, 24, 26), 0.0, HEAD)
    if front > 0.1:
        red, green, blue = person.skin
        lips = (int(red * 0.75), green // 2, blue // 2)
        mouth = brush.at(nose) + brush.down * 0.045 * brush.unit
        brush.fill(ellipse(mouth, 0.02 * brush.unit * front, 0.007 * brush.unit), lips, None)
        brush.fill(ellipse(brush.at(nose), 2, 2), tint(person.skin, 0.8), None)


def _hat(
    brush: Brush, person: Identity, centre: np.ndarray, half: float, front: float, side: float
) -> None:
    right, down = brush.across * brush.unit, brush.down * brush.unit
    angle = np.linspace(np.pi, 2 * np.pi, 12)
    dome = centre - 0.035 * down
    dome = dome + np.outer(np.cos(angle) * half * 1.14, right)
    dome = dome + np.outer(np.sin(angle) * 0.098, down)
    brush.fill(dome, person.hat_colour, HEAD, FLAT)
    if person.hat == "cap" and front > -0.5:
        tip = centre + (side * 0.15) * right + (-0.035 + 0.03 * max(front, 0)) * down
        brim = capsule(centre - 0.04 * down, tip, half * 0.9 * brush.unit, 0.03 * brush.unit)
        low = (brim - centre) @ brush.down
        flat = np.clip(low, -0.05 * brush.unit, -0.018 * brush.unit)
        brim = brim + (flat - low)[:, None] * brush.down
        brush.fill(brim, tint(person.hat_colour, 0.75), HEAD, FLAT)
    elif person.hat == "beanie":
        rim = dome[[0, -1]] + 0.012 * down
        brush.stroke(rim, tint(person.hat_colour, 0.8), 0.03, HEAD)
