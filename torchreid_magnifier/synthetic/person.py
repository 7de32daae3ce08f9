"""Draws one person: skeleton to shaded, clothed body and its exact part labels.

What a label means: clothes, bags and straps carry the label of the body part that they cover, so a
skirt or a coat's tail is upper leg down to the knee and lower leg below it; a bag beside the body
is background. Neck, hair and hat are head. Hands are lower arm.
"""

from __future__ import annotations

import cv2
import numpy as np

from ..parts import PARTS
from ..shapes import capsule, ellipse, hull
from .bags import draw_backpack, draw_hanging_bag, draw_straps
from .body import SIDES, Skeleton, View
from .brush import LIT, Brush
from .canvas import Canvas, Colour, tint
from .head import HEAD, draw_head, draw_long_hair, draw_neck
from .identity import Identity

TORSO, UPPER_ARM, LOWER_ARM, UPPER_LEG, LOWER_LEG, FOOT = (
    PARTS.index(name)
    for name in ("torso", "upper_arm", "lower_arm", "upper_leg", "lower_leg", "foot")
)

# (position along the spine, half width, half depth) of the trunk
TRUNK = np.array(
    (
        (-0.16, 0.100, 0.085),
        (-0.04, 0.158, 0.112),
        (0.12, 0.160, 0.115),
        (0.40, 0.136, 0.100),
        (0.72, 0.160, 0.115),
        (0.88, 0.172, 0.105),
        (0.96, 0.128, 0.085),
        (1.03, 0.060, 0.060),
    )
)
_CROTCH, _COLLAR = TRUNK[0, 0], TRUNK[-1, 0]


def draw_person(
    canvas: Canvas,
    person: Identity,
    skeleton: Skeleton,
    view: View,
    light: float,
    labelled: bool = True,
) -> None:
    """Draw a person over what is on the canvas.

    Args:
        light: where the light comes from across the picture, -1 (left) to 1 (right).
        labelled: False writes background labels: somebody else, not the person of this image.
    """
    _Figure(Brush(canvas, view, person.height, light, labelled), person, skeleton).draw()


class _Figure:
    def __init__(self, brush: Brush, person: Identity, bones: Skeleton) -> None:
        self.brush, self.person, self.bones = brush, person, bones
        self.cloth = self._cloth()
        plain_sleeves = person.pattern == "yoke" or not isinstance(self.cloth, np.ndarray)
        self.sleeve = tint(person.upper, 0.96) if plain_sleeves else self.cloth

    def draw(self) -> None:
        """Paint from far to near."""
        whole = self.brush, self.person, self.bones
        arms = [side for side in (0, 1) if self._arm_nearness(side) > -0.035]
        hands = [side for side in (0, 1) if self._hand_nearness(side) > -0.06]
        bag_is_far = self.person.bag_side * self.brush.side > 0.2
        back_is_far = self.brush.front > 0.1
        self._shadow()
        if back_is_far:
            draw_backpack(*whole)
            draw_long_hair(*whole)
        for side in {0, 1} - set(hands):
            self._forearm(side)
        for side in {0, 1} - set(arms):
            self._upper_arm(side)
        draw_neck(*whole)
        if bag_is_far:
            draw_hanging_bag(*whole)
        for side in sorted((0, 1), key=self._leg_nearness):
            self._leg(side)
        self._skirt()
        self._trunk()
        draw_straps(*whole)
        for side in arms:
            self._upper_arm(side)
            self._smooth_shoulder(side)
        draw_head(*whole)
        for side in sorted(hands, key=self._hand_nearness):
            self._forearm(side)
        if not bag_is_far:
            draw_hanging_bag(*whole)
        if not back_is_far:
            draw_backpack(*whole)
            draw_long_hair(*whole)

    def _nearness(self, *points: np.ndarray) -> float:
        """Return by how many metres the middle of the points is before the chest for the camera."""
        middle = sum(points) / len(points) - self.bones.spine(0.7)
        return float(self.brush.view.nearness(middle))

    def _arm_nearness(self, side: int) -> float:
        return self._nearness(self.bones.shoulder[side], self.bones.elbow[side])

    def _hand_nearness(self, side: int) -> float:
        return self._nearness(self.bones.elbow[side], self.bones.wrist[side])

    def _leg_nearness(self, side: int) -> float:
        return self._nearness(self.bones.hip[side], self.bones.knee[side], self.bones.ankle[side])

    # -- trunk and clothes ----------------------------------------------------------------------

    def _cloth(self) -> Colour | np.ndarray:
        """Return the upper garment's colour, or its pattern as a picture as large as the canvas."""
        p, brush = self.person, self.brush
        if p.pattern not in ("stripes", "pinstripes", "checks", "yoke"):
            return p.upper
        picture = np.empty_like(brush.canvas.image)
        picture[:] = p.upper
        neck, reach = brush.at(self.bones.neck), 0.6 * brush.unit

        def band(offset: float, width: float, direction: np.ndarray, colour: Colour) -> None:
            middle = neck + offset * brush.unit * np.array((-direction[1], direction[0]))
            ends = np.stack([middle - reach * direction, middle + reach * direction])
            start, end = np.round(ends).astype(int).tolist()
            cv2.line(picture, start, end, colour, max(1, round(width * brush.unit)))

        if p.pattern == "yoke":
            band(0.05, 0.28, brush.across, p.accent)
        elif p.pattern == "stripes":
            for k in range(-1, 9):
                band(0.05 + 0.085 * k, 0.04, brush.across, p.accent)
        elif p.pattern == "pinstripes":
            for k in range(-6, 7):
                band(0.05 * k, 0.014, brush.down, p.accent)
        else:
            for k in range(-4, 10):
                band(0.085 * k, 0.028, brush.across, p.accent)
                band(0.085 * (k - 3), 0.028, brush.down, tint(p.upper, 0.6))
        return picture

    def _trunk_sides(self, heights: np.ndarray, bulge: float) -> np.ndarray:
        """Return (2, L, 2): left and right outline of the trunk at L heights of the spine."""
        p, brush, bones = self.person, self.brush, self.bones
        at, widths, depths = TRUNK.T
        width = np.interp(heights, at, widths) * brush.front * p.shoulders
        depth = np.interp(heights, at, depths) * brush.side * (0.5 + 0.5 * p.build)
        girth = np.where(heights < 0.6, p.build, (1 + p.build) / 2)
        half = (np.hypot(width, depth) * girth + bulge) * brush.unit
        centres = brush.at(bones.pelvis + heights[:, None] * (bones.neck - bones.pelvis))
        offset = half[:, None] * brush.across
        return np.stack([centres - offset, centres + offset])

    def _trunk_outline(self, low: float, high: float, bulge: float = 0.0) -> np.ndarray:
        """Outline of the trunk between two heights of the spine."""
        inner = [height for height in TRUNK[:, 0] if low < height < high]
        left, right = self._trunk_sides(np.array([low, *inner, high]), bulge)
        return np.concatenate([left, right[::-1]])

    def _trunk(self) -> None:
        p, brush = self.person, self.brush
        brush.fill(self._trunk_outline(_CROTCH, 0.2, 0.004), p.lower_colour, TORSO)
        hem = 0.1 if p.lower in ("skirt", "long skirt") else -0.08
        outline = self._trunk_outline(hem, _COLLAR, 0.012 if p.coat else 0.004)
        brush.fill(outline, self.cloth, TORSO)
        brush.column(self._trunk_outline(_CROTCH, _COLLAR))
        crease = self._trunk_sides(np.array([hem + 0.015]), 0.0)[:, 0]
        brush.stroke(crease, tint(p.upper, 0.7), 0.012, TORSO)
        if brush.front > -0.2:
            neckline = brush.at(self.bones.on_trunk(0, 1.0, 0.05))
            depth = 0.05 if p.long_sleeves else 0.035
            brush.fill(brush.oval(neckline, 0.05 * max(brush.front, 0.35), depth), p.skin, HEAD)
        if p.pattern == "logo" and brush.front > 0.25:
            self._print_on_chest((-0.07, 0.82), (0.07, 0.82), (0.07, 0.58), (-0.07, 0.58))
        if p.pattern == "open jacket" and brush.front > 0:
            collar, belly, hem_line = (0.045, 0.98), (0.06, 0.5), (0.075, -0.05)
            right = (collar, belly, hem_line)
            self._print_on_chest(*right, *((-x, height) for x, height in reversed(right)))

    def _print_on_chest(self, *corners: tuple[float, float]) -> None:
        """Draw a patch in the accent colour; corners are (x, height along the spine)."""
        points = [self.brush.at(self.bones.on_trunk(x, height, 0.11)) for x, height in corners]
        self.brush.fill(np.array(points), self.person.accent, None)

    def _skirt(self) -> None:
        """Draw a skirt, or the tail of a coat, around both legs."""
        p, brush, bones = self.person, self.brush, self.bones
        if p.lower == "skirt":
            colour, length, flare = p.lower_colour, 0.82, 0.115
        elif p.lower == "long skirt":
            colour, length, flare = p.lower_colour, 1.6, 0.14
        elif p.coat:
            colour, length, flare = p.upper, 0.6, 0.112
        else:
            return
        waist = self._trunk_outline(-0.1, 0.2, 0.006)

        def down_to(level: float, radius: float) -> np.ndarray:
            """Outline from the waist to a level of the legs: 1 is the knees, 2 the ankles."""
            rings = [waist]
            for hip, knee, ankle in zip(bones.hip, bones.knee, bones.ankle, strict=True):
                bone = hip + min(level, 1.0) * (knee - hip) + max(0.0, level - 1) * (ankle - knee)
                rings.append(brush.oval(brush.at(bone), radius, 0.03))
            return hull(*rings)

        whole = down_to(length, flare)
        if length > 1:
            brush.fill(whole, colour, LOWER_LEG)
            brush.fill(down_to(1.0, flare * 0.9), colour, UPPER_LEG)
        else:
            brush.fill(whole, colour, UPPER_LEG)
        brush.column(whole)

    # -- limbs ----------------------------------------------------------------------------------

    def _upper_arm(self, side: int) -> None:
        p, b, brush = self.person, self.person.build, self.brush
        shoulder, elbow = brush.at(self.bones.shoulder[side]), brush.at(self.bones.elbow[side])
        if p.long_sleeves:
            brush.limb(shoulder, elbow, 0.055 * b, 0.047 * b, self.sleeve, UPPER_ARM)
        else:
            brush.limb(shoulder, elbow, 0.050 * b, 0.040 * b, p.skin, UPPER_ARM)
            cuff = shoulder + 0.62 * (elbow - shoulder)
            brush.limb(shoulder, cuff, 0.055 * b, 0.057 * b, self.sleeve, UPPER_ARM)

    def _smooth_shoulder(self, side: int) -> None:
        """Even out the shading where trunk and sleeve meet."""
        brush = self.brush
        start, end = brush.at(self.bones.spine(0.95)), brush.at(self.bones.shoulder[side])
        start = start + 0.4 * (end - start)
        brush.shade(capsule(start, end, 0.045 * brush.unit, 0.045 * brush.unit), LIT)

    def _forearm(self, side: int) -> None:
        p, b, brush = self.person, self.person.build, self.brush
        elbow, wrist = brush.at(self.bones.elbow[side]), brush.at(self.bones.wrist[side])
        brush.limb(wrist, wrist + 0.315 * (wrist - elbow), 0.034, 0.030, p.skin, LOWER_ARM)
        if p.long_sleeves:
            brush.limb(elbow, wrist, 0.047 * b, 0.036 * b, self.sleeve, LOWER_ARM)
        else:
            brush.limb(elbow, wrist, 0.040 * b, 0.029 * b, p.skin, LOWER_ARM)

    def _leg(self, side: int) -> None:
        p, b, brush = self.person, 0.4 + 0.6 * self.person.build, self.brush
        hip, knee = brush.at(self.bones.hip[side]), brush.at(self.bones.knee[side])
        ankle, toe = brush.at(self.bones.ankle[side]), brush.at(self.bones.toe[side])
        heel = ankle + brush.down * 0.03 * brush.unit
        brush.limb(heel, toe, 0.045, 0.034, p.shoes, FOOT)
        sole = np.stack([heel, toe]) + brush.down * 0.036 * brush.unit
        brush.stroke(sole, tint(p.shoes, 0.6), 0.014, FOOT)
        if p.lower == "trousers":
            brush.limb(knee, ankle, 0.062 * b, 0.050 * b, p.lower_colour, LOWER_LEG)
            brush.limb(hip, knee, 0.092 * b, 0.064 * b, p.lower_colour, UPPER_LEG)
            if p.side_stripe and SIDES[side] * brush.side < 0.35:  # not on a far leg's outside
                outward = brush.across * (0.05 * b * brush.unit * SIDES[side] * brush.front)
                line = np.stack([hip + outward * 1.3, knee + outward, ankle + outward * 0.7])
                brush.stroke(line, (230, 230, 228), 0.022)
            return
        brush.limb(knee, ankle, 0.054 * b, 0.038 * b, p.skin, LOWER_LEG)
        brush.limb(hip, knee, 0.082 * b, 0.056 * b, p.skin, UPPER_LEG)
        if p.lower == "shorts":
            hem = hip + 0.84 * (knee - hip)
            brush.limb(hip, hem, 0.094 * b, 0.082 * b, p.lower_colour, UPPER_LEG)

    def _shadow(self) -> None:
        """Draw a soft dark patch on the ground."""
        brush = self.brush
        feet = np.mean([brush.at(ankle) for ankle in self.bones.ankle], axis=0)
        feet = feet + (brush.down * 0.05 - brush.across * brush.light * 0.12) * brush.unit
        for size, shade in ((0.36, 170), (0.26, 140)):
            brush.shade(ellipse(feet, size * brush.unit, 0.24 * size * brush.unit), shade)
