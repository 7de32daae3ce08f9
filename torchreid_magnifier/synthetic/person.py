"""Draws one person: skeleton to shaded, clothed body and its exact part labels.

What a label means: clothes, bags and straps carry the label of the body part that they cover, so a
skirt or a coat's tail is upper leg down to the knee and lower leg below it; a bag beside the body
is background. Neck, hair and hat are head. Hands are lower arm.
"""

from collections.abc import Sequence
from itertools import product

import cv2
import numpy as np

from ..parts import FOOT, HEAD, LOWER_ARM, LOWER_LEG, TORSO, UPPER_ARM, UPPER_LEG
from ..shapes import ellipse, hull
from .body import SIDES, Skeleton, View
from .brush import LIT, Brush
from .canvas import Canvas, Colour, tint
from .head import draw_head, draw_long_hair, draw_neck
from .identity import Identity

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
    """Draw a person over what is on the canvas; arguments as for :class:`Brush`."""
    _Figure(canvas, person, skeleton, view, light, labelled).draw()


class _Figure(Brush):
    def draw(self) -> None:
        """Paint from far to near."""
        bones = self.bones
        self.cloth = self._cloth()
        plain_sleeves = self.person.pattern == "yoke" or not isinstance(self.cloth, np.ndarray)
        self.sleeve = tint(self.person.upper, 0.96) if plain_sleeves else self.cloth
        arms = self._nearness(bones.shoulder, bones.elbow)
        hands = self._nearness(bones.elbow, bones.wrist)
        legs = self._nearness(bones.hip, bones.knee, bones.ankle)
        bag_is_far = self.person.bag_side * self.side > 0.2
        back_is_far = self.front > 0.1
        self._shadow()
        if back_is_far:
            self._backpack()
            draw_long_hair(self)
        for side in (0, 1):
            if hands[side] <= -0.06:
                self._forearm(side)
        for side in (0, 1):
            if arms[side] <= -0.035:
                self._upper_arm(side)
        draw_neck(self)
        if bag_is_far:
            self._hanging_bag()
        for side in sorted((0, 1), key=legs.__getitem__):
            self._leg(side)
        self._skirt()
        self._trunk()
        self._straps()
        for side in (0, 1):
            if arms[side] > -0.035:
                self._upper_arm(side)
                self._smooth_shoulder(side)
        draw_head(self)
        for side in sorted((0, 1), key=hands.__getitem__):
            if hands[side] > -0.06:
                self._forearm(side)
        if not bag_is_far:
            self._hanging_bag()
        if not back_is_far:
            self._backpack()
            draw_long_hair(self)

    def _nearness(self, *joints: Sequence[np.ndarray]) -> list[float]:
        """Return by how many metres (left, right) joints are before the chest for the camera."""
        middles = (sum(points) / len(points) for points in zip(*joints, strict=True))
        return [float(self.view.nearness(middle - self.bones.spine(0.7))) for middle in middles]

    # -- trunk and clothes ----------------------------------------------------------------------

    def _cloth(self) -> Colour | np.ndarray:
        """Return the upper garment's colour, or its pattern as a picture as large as the canvas."""
        p = self.person
        if p.pattern not in ("stripes", "pinstripes", "checks", "yoke"):
            return p.upper
        picture = np.empty_like(self.canvas.image)
        picture[:] = p.upper
        neck, reach = self.at(self.bones.neck), 0.6 * self.unit

        def band(offset: float, width: float, direction: np.ndarray, colour: Colour) -> None:
            middle = neck + offset * self.unit * np.array((-direction[1], direction[0]))
            ends = np.stack([middle - reach * direction, middle + reach * direction])
            start, end = np.round(ends).astype(int).tolist()
            cv2.line(picture, start, end, colour, max(1, round(width * self.unit)))

        if p.pattern == "yoke":
            band(0.05, 0.28, self.across, p.accent)
        elif p.pattern == "stripes":
            for k in range(-1, 9):
                band(0.05 + 0.085 * k, 0.04, self.across, p.accent)
        elif p.pattern == "pinstripes":
            for k in range(-6, 7):
                band(0.05 * k, 0.014, self.down, p.accent)
        else:
            for k in range(-4, 10):
                band(0.085 * k, 0.028, self.across, p.accent)
                band(0.085 * (k - 3), 0.028, self.down, tint(p.upper, 0.6))
        return picture

    def _trunk_sides(self, heights: np.ndarray, bulge: float) -> np.ndarray:
        """Return (2, L, 2): left and right outline of the trunk at L heights of the spine."""
        p, bones = self.person, self.bones
        at, widths, depths = TRUNK.T
        width = np.interp(heights, at, widths) * self.front * p.shoulders
        depth = np.interp(heights, at, depths) * self.side * (0.5 + 0.5 * p.build)
        girth = np.where(heights < 0.6, p.build, (1 + p.build) / 2)
        half = (np.hypot(width, depth) * girth + bulge) * self.unit
        centres = self.at(bones.pelvis + heights[:, None] * (bones.neck - bones.pelvis))
        offset = half[:, None] * self.across
        return np.stack([centres - offset, centres + offset])

    def _trunk_outline(self, low: float, high: float, bulge: float = 0.0) -> np.ndarray:
        """Return the outline of the trunk between two heights of the spine."""
        inner = [height for height in TRUNK[:, 0] if low < height < high]
        left, right = self._trunk_sides(np.array([low, *inner, high]), bulge)
        return np.concatenate([left, right[::-1]])

    def _trunk(self) -> None:
        p = self.person
        self.fill(self._trunk_outline(_CROTCH, 0.2, 0.004), p.lower_colour, TORSO)
        hem = 0.1 if p.lower in ("skirt", "long skirt") else -0.08
        outline = self._trunk_outline(hem, _COLLAR, 0.012 if p.coat else 0.004)
        self.fill(outline, self.cloth, TORSO)
        self.column(self._trunk_outline(_CROTCH, _COLLAR))
        crease = self._trunk_sides(np.array([hem + 0.015]), 0.0)[:, 0]
        self.stroke(crease, tint(p.upper, 0.7), 0.012, TORSO)
        if self.front > -0.2:
            [neckline] = self.on_trunk((0, 1.0, 0.05))
            depth = 0.05 if p.long_sleeves else 0.035
            self.fill(self.oval(neckline, 0.05 * max(self.front, 0.35), depth), p.skin, HEAD)
        if p.pattern == "logo" and self.front > 0.25:
            self._print_on_chest((0.07, 0.82), (0.07, 0.58))
        if p.pattern == "open jacket" and self.front > 0:
            self._print_on_chest((0.045, 0.98), (0.06, 0.5), (0.075, -0.05))

    def _print_on_chest(self, *corners: tuple[float, float]) -> None:
        """Draw a symmetrical patch; its left corners are (x, height along the spine)."""
        left = [(x, height, 0.11) for x, height in corners]
        right = [(-x, height, 0.11) for x, height in reversed(corners)]
        self.fill(self.on_trunk(*left, *right), self.person.accent, None)

    def _skirt(self) -> None:
        """Draw a skirt, or the tail of a coat, around both legs."""
        p, bones = self.person, self.bones
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
                rings.append(self.oval(self.at(bone), radius, 0.03))
            return hull(*rings)

        whole = down_to(length, flare)
        self.fill(whole, colour, LOWER_LEG if length > 1 else UPPER_LEG)
        if length > 1:
            self.fill(down_to(1.0, flare * 0.9), colour, UPPER_LEG)
        self.column(whole)

    # -- limbs ----------------------------------------------------------------------------------

    def _upper_arm(self, side: int) -> None:
        p, b = self.person, self.person.build
        shoulder, elbow = self.at(self.bones.shoulder[side]), self.at(self.bones.elbow[side])
        if p.long_sleeves:
            self.limb(shoulder, elbow, 0.055 * b, 0.047 * b, self.sleeve, UPPER_ARM)
        else:
            self.limb(shoulder, elbow, 0.050 * b, 0.040 * b, p.skin, UPPER_ARM)
            cuff = shoulder + 0.62 * (elbow - shoulder)
            self.limb(shoulder, cuff, 0.055 * b, 0.057 * b, self.sleeve, UPPER_ARM)

    def _smooth_shoulder(self, side: int) -> None:
        """Even out the shading where trunk and sleeve meet."""
        start, end = self.at(self.bones.spine(0.95)), self.at(self.bones.shoulder[side])
        self.shade(self.capsule(start + 0.4 * (end - start), end, 0.045, 0.045), LIT)

    def _forearm(self, side: int) -> None:
        p, b = self.person, self.person.build
        elbow, wrist = self.at(self.bones.elbow[side]), self.at(self.bones.wrist[side])
        self.limb(wrist, wrist + 0.315 * (wrist - elbow), 0.034, 0.030, p.skin, LOWER_ARM)
        if p.long_sleeves:
            self.limb(elbow, wrist, 0.047 * b, 0.036 * b, self.sleeve, LOWER_ARM)
        else:
            self.limb(elbow, wrist, 0.040 * b, 0.029 * b, p.skin, LOWER_ARM)

    def _leg(self, side: int) -> None:
        p, b, bones = self.person, 0.4 + 0.6 * self.person.build, self.bones
        joints = (bones.hip[side], bones.knee[side], bones.ankle[side], bones.toe[side])
        hip, knee, ankle, toe = self.at(np.array(joints))
        heel = ankle + self.down * 0.03 * self.unit
        self.limb(heel, toe, 0.045, 0.034, p.shoes, FOOT)
        sole = np.stack([heel, toe]) + self.down * 0.036 * self.unit
        self.stroke(sole, tint(p.shoes, 0.6), 0.014, FOOT)
        if p.lower == "trousers":
            self.limb(knee, ankle, 0.062 * b, 0.050 * b, p.lower_colour, LOWER_LEG)
            self.limb(hip, knee, 0.092 * b, 0.064 * b, p.lower_colour, UPPER_LEG)
            if p.side_stripe and SIDES[side] * self.side < 0.35:  # not on a far leg's outside
                outward = self.across * (0.05 * b * self.unit * SIDES[side] * self.front)
                line = np.stack([hip + outward * 1.3, knee + outward, ankle + outward * 0.7])
                self.stroke(line, (230, 230, 228), 0.022)
            return
        self.limb(knee, ankle, 0.054 * b, 0.038 * b, p.skin, LOWER_LEG)
        self.limb(hip, knee, 0.082 * b, 0.056 * b, p.skin, UPPER_LEG)
        if p.lower == "shorts":
            hem = hip + 0.84 * (knee - hip)
            self.limb(hip, hem, 0.094 * b, 0.082 * b, p.lower_colour, UPPER_LEG)

    def _shadow(self) -> None:
        """Draw a soft dark patch on the ground."""
        feet = np.mean([self.at(ankle) for ankle in self.bones.ankle], axis=0)
        feet = feet + (self.down * 0.05 - self.across * self.light * 0.12) * self.unit
        for size, shade in ((0.36, 170), (0.26, 140)):
            self.shade(ellipse(feet, size * self.unit, 0.24 * size * self.unit), shade)

    # -- bags: they change the picture, and no label of the person who carries them -------------

    def _backpack(self) -> None:
        if self.person.bag != "backpack":
            return
        colour = self.person.bag_colour
        shape = ((0.15, 0.93, -0.09), (0.15, 0.9, -0.20), (0.15, 0.2, -0.24), (0.15, 0.16, -0.09))
        corners = [
            (side * x * (0.85 if height > 0.5 else 1.0), height, z)
            for side, (x, height, z) in product((-1, 1), shape)
        ]
        outline = hull(self.on_trunk(*corners))
        self.fill(outline, colour, None, 180)
        middle = outline.mean(axis=0)
        self.shade(middle + 0.8 * (outline - middle), 205)
        if self.front < -0.3:
            pocket = (
                (-0.1, 0.5, -0.24),
                (0.1, 0.5, -0.24),
                (0.1, 0.24, -0.24),
                (-0.1, 0.24, -0.24),
            )
            self.fill(self.on_trunk(*pocket), tint(colour, 1.25), None, 195)
            zip_line = self.on_trunk((-0.11, 0.74, -0.22), (0.11, 0.74, -0.22))
            self.stroke(zip_line, tint(colour, 0.6), 0.012)

    def _straps(self) -> None:
        """Draw what crosses chest and shoulders."""
        p = self.person
        if p.bag == "backpack" and self.front > -0.5:
            path = [(0.85, 0.97, 0.02), (1.0, 0.86, 0.11), (1.1, 0.55, 0.09), (1.25, 0.42, 0.0)]
            for x in (-0.105, 0.105):
                if self.front >= 0.5 or x * self.side <= 0:  # not the far strap of a side view
                    line = self.on_trunk(*((x * out, height, z) for out, height, z in path))
                    self.stroke(line, p.bag_colour, 0.036)
        elif p.bag == "messenger":
            middle = 0.11 if self.front > 0 else -0.11
            path = [(-0.10, 0.97, 0.0), (-0.02, 0.66, middle), (0.15, 0.12, 0.02)]
            line = self.on_trunk(*((p.bag_side * x, height, z) for x, height, z in path))
            self.stroke(line, p.bag_colour, 0.03)

    def _hanging_bag(self) -> None:
        """Draw a shoulder, messenger or carrier bag at the person's side."""
        p, bones = self.person, self.bones
        side = SIDES.index(p.bag_side)
        if p.bag == "carrier":
            anchor = bones.wrist[side] + 0.3 * (bones.wrist[side] - bones.elbow[side])
            top, size = anchor - np.array((0, 0.10, 0)), (0.05, 0.26, 0.13)
        elif p.bag in ("shoulder", "messenger"):
            out, height = (0.22, 0.32) if p.bag == "shoulder" else (0.20, 0.12)
            anchor = bones.shoulder[side] + np.array((0, 0.05, 0))
            top = bones.spine(height) + np.array((p.bag_side * out, 0.0, -0.03))
            size = (0.055, 0.22, 0.15)
        else:
            return
        if p.bag != "messenger":
            for z in (-0.07, 0.07):
                handle = self.at(np.stack([anchor, top + np.array((0, 0, z))]))
                self.stroke(handle, tint(p.bag_colour, 0.8), 0.02)
        corners = [
            top + np.array((x * size[0], -y * size[1], z * size[2] * (0.85 + 0.15 * y)))
            for x, y, z in product((-1, 1), (0, 1), (-1, 1))
        ]
        outline = hull(self.at(np.array(corners)))
        self.fill(outline, p.bag_colour, None, 190)
        self.stroke(outline[:3], tint(p.bag_colour, 0.7), 0.01)
