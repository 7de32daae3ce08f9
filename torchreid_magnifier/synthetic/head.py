"""Head of a person: hair, face and hat; all of it carries the label of the head."""

import numpy as np

from ..parts import HEAD
from ..shapes import ellipse
from .body import SIDES
from .brush import Brush
from .canvas import FLAT, tint


def draw_neck(brush: Brush) -> None:
    """Draw the neck, in the shadow of the head."""
    start, end = brush.at(brush.bones.spine(0.98)), brush.at(brush.bones.head)
    brush.limb(start, end, 0.062, 0.052, tint(brush.person.skin, 0.9), HEAD)


def draw_head(brush: Brush) -> None:
    """Draw skull, hair, face and hat."""
    person = brush.person
    turn = brush.view.yaw + brush.bones.heading
    front, side = float(np.cos(turn)), float(np.sin(turn))
    centre = brush.at(brush.bones.head)
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
                outline = brush.capsule(lock, lock + 0.09 * down, 0.026, 0.03)
                brush.fill(outline, person.hair, HEAD)
        if not bald:
            fringe = brush.oval(centre + side * 0.03 * right - 0.062 * down, width, 0.030)
            brush.fill(fringe, person.hair, HEAD)
    elif person.hair_style == "bob":
        brush.ball(centre + 0.03 * down, half * 1.08, 0.11, person.hair, HEAD)
    _face(brush, front, side)
    if person.hat != "none":
        _hat(brush, centre, half, front, side)


def draw_long_hair(brush: Brush) -> None:
    """Draw hair that falls behind the neck: behind the body or, from the back, over it."""
    bones, hair = brush.bones, brush.person.hair
    back = np.array((-np.sin(bones.heading), 0.0, -np.cos(bones.heading)))
    if brush.person.hair_style == "long":
        top, end = bones.head + 0.045 * back, bones.spine(0.72) + 0.13 * back
        brush.limb(brush.at(top), brush.at(end), 0.086, 0.075, hair, HEAD)
    elif brush.person.hair_style == "ponytail":
        knot, end = bones.head + 0.10 * back, bones.spine(0.85) + 0.17 * back
        brush.limb(brush.at(knot), brush.at(end), 0.036, 0.024, hair, HEAD)


def _face(brush: Brush, front: float, side: float) -> None:
    """Draw eyes, glasses, mouth and nose, where they are seen."""
    skin, unit = brush.person.skin, brush.unit
    nose, *eyes = brush.at(brush.bones.keypoints()[:3])
    for eye, sign in zip(eyes, SIDES, strict=True):
        if front - sign * side * 0.6 < 0.25:
            continue
        radius = 0.011 * unit
        brush.fill(ellipse(eye, radius * 1.3, radius), tint(skin, 0.35), None)
        if brush.person.glasses:
            rim = ellipse(eye, 0.026 * unit, 0.02 * unit)
            brush.stroke(np.vstack([rim, rim[:1]]), (24, 24, 26), 0.0, HEAD)
    if front > 0.1:
        lips = (int(skin[0] * 0.75), skin[1] // 2, skin[2] // 2)
        mouth = nose + brush.down * 0.045 * unit
        brush.fill(ellipse(mouth, 0.02 * unit * front, 0.007 * unit), lips, None)
        brush.fill(ellipse(nose, 2, 2), tint(skin, 0.8), None)


def _hat(brush: Brush, centre: np.ndarray, half: float, front: float, side: float) -> None:
    hat, colour = brush.person.hat, brush.person.hat_colour
    right, down = brush.across * brush.unit, brush.down * brush.unit
    angle = np.linspace(np.pi, 2 * np.pi, 12)
    dome = centre - 0.035 * down
    dome = dome + np.outer(np.cos(angle) * half * 1.14, right)
    dome = dome + np.outer(np.sin(angle) * 0.098, down)
    brush.fill(dome, colour, HEAD, FLAT)
    if hat == "cap" and front > -0.5:
        tip = centre + (side * 0.15) * right + (-0.035 + 0.03 * max(front, 0)) * down
        brim = brush.capsule(centre - 0.04 * down, tip, half * 0.9, 0.03)
        low = (brim - centre) @ brush.down
        flat = np.clip(low, -0.05 * brush.unit, -0.018 * brush.unit)
        brush.fill(brim + (flat - low)[:, None] * brush.down, tint(colour, 0.75), HEAD, FLAT)
    elif hat == "beanie":
        brush.stroke(dome[[0, -1]] + 0.012 * down, tint(colour, 0.8), 0.03, HEAD)
