"""Draws one person: skeleton to shaded, clothed body and its exact part labels.

What a label means: clothes, bags and straps carry the label of the body part that they cover, so a
skirt or a coat's tail is upper leg down to the knee and lower leg below it; a bag beside the body
is background. Neck, hair and hat are head. Hands are lower arm.
"""

from __future__ import annotations

import cv2
import numpy as np

from ...parts import BACKGROUND, PARTS
from .body import SIDES, Skeleton, View
from .canvas import FLAT, Canvas, Colour, capsule, ellipse, hull, tint
from .identity import Identity

HEAD, TORSO, UPPER_ARM, LOWER_ARM, UPPER_LEG, LOWER_LEG, FOOT = (
    PARTS.index(name)
    for name in ("head", "torso", "upper_arm", "lower_arm", "upper_leg", "lower_leg", "foot")
)

# (position along the spine, half width, half depth) of the trunk, metres for a height of 1.75
_TRUNK = (
    (-0.16, 0.100, 0.085),
    (-0.04, 0.158, 0.112),
    (0.12, 0.160, 0.115),
    (0.40, 0.136, 0.100),
    (0.72, 0.160, 0.115),
    (0.88, 0.172, 0.105),
    (0.96, 0.128, 0.085),
    (1.03, 0.060, 0.060),
)
_EDGE = 160  # shading at the border of something round; within it (width, shift, shade):
_ROUNDING = ((0.72, 0.24, 203), (0.36, 0.42, 224))


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
    figure = _Figure(canvas, person, skeleton, view, light, labelled)
    figure.draw()


class _Figure:
    def __init__(
        self,
        canvas: Canvas,
        person: Identity,
        skeleton: Skeleton,
        view: View,
        light: float,
        labelled: bool,
    ) -> None:
        self.canvas, self.person, self.bones, self.view = canvas, person, skeleton, view
        self.light, self.labelled = light, labelled
        self.unit = view.scale * person.height / 1.75  # pixels of a metre on a 1.75 m person
        self.front = float(np.cos(view.yaw))
        self.side = float(np.sin(view.yaw))
        self.across = np.array((np.cos(view.roll), np.sin(view.roll)))
        self.down = np.array((-self.across[1], self.across[0]))
        self.cloth = self._cloth()
        bare_arms = not person.long_sleeves
        self.sleeve = tint(person.upper, 0.96)
        self.forearm_colour = person.skin if bare_arms else self.sleeve

    # -- order of painting: far to near ---------------------------------------------------------

    def draw(self) -> None:
        near = [s for s in (0, 1) if self._arm_nearness(s) > -0.035]
        hands_near = [s for s in (0, 1) if self._hand_nearness(s) > -0.06]
        self._shadow()
        if self.front > 0.1:
            self._backpack()
            self._long_hair()
        for side in (0, 1):
            if side not in hands_near:
                self._forearm(side)
        for side in (0, 1):
            if side not in near:
                self._upper_arm(side)
        self._neck()
        if self.person.bag_side * self.side > 0.2:  # hangs on the far side
            self._hanging_bag()
        for side in sorted((0, 1), key=self._leg_nearness):
            self._leg(side)
        self._skirt()
        self._trunk()
        self._straps()
        for side in near:
            self._upper_arm(side)
            self._smooth_shoulder(side)
        self._head()
        for side in sorted(hands_near, key=self._hand_nearness):
            self._forearm(side)
        if self.person.bag_side * self.side <= 0.2:
            self._hanging_bag()
        if self.front <= 0.1:
            self._backpack()
            self._long_hair()

    def _nearness(self, point: np.ndarray) -> float:
        return float(self.view.nearness(point) - self.view.nearness(self.bones.spine(0.7)))

    def _arm_nearness(self, side: int) -> float:
        return self._nearness((self.bones.shoulder[side] + self.bones.elbow[side]) / 2)

    def _hand_nearness(self, side: int) -> float:
        return self._nearness((self.bones.elbow[side] + self.bones.wrist[side]) / 2)

    def _leg_nearness(self, side: int) -> float:
        bones = self.bones
        return float(self.view.nearness(bones.hip[side] + bones.knee[side] + bones.ankle[side]))

    # -- primitives -----------------------------------------------------------------------------

    def _at(self, point: np.ndarray) -> np.ndarray:
        return self.view.project(point)

    def _label(self, part: int | None) -> int | None:
        return part if part is None or self.labelled else BACKGROUND

    def _fill(
        self,
        outline: np.ndarray,
        colour: Colour | np.ndarray | None,
        part: int | None,
        shade: int | None = None,
    ) -> None:
        self.canvas.fill(outline, colour, self._label(part), shade)

    def _limb(
        self,
        start: np.ndarray,
        end: np.ndarray,
        start_radius: float,
        end_radius: float,
        colour: Colour | np.ndarray,
        part: int,
    ) -> None:
        """A rounded tapering limb between two canvas points; radii in metres."""
        r, q = start_radius * self.unit, end_radius * self.unit
        self._fill(capsule(start, end, r, q), colour, part, _EDGE)
        for width, shift, shade in _ROUNDING:
            offset = self.across * self.light * shift
            outline = capsule(start + offset * r, end + offset * q, width * r, width * q)
            self._fill(outline, None, None, shade)

    def _ball(self, centre: np.ndarray, rx: float, ry: float, colour: Colour, part: int) -> None:
        """A rounded ellipse; half-axes in metres."""
        a, b = rx * self.unit, ry * self.unit
        self._fill(ellipse(centre, a, b, self.view.roll), colour, part, _EDGE)
        for width, shift, shade in _ROUNDING:
            middle = centre + self.across * self.light * shift * a
            outline = ellipse(middle, width * a, width * b, self.view.roll)
            self._fill(outline, None, None, shade)

    # -- clothes --------------------------------------------------------------------------------

    def _cloth(self) -> Colour | np.ndarray:
        """The upper garment's colour, or its pattern as a picture as large as the canvas."""
        p = self.person
        if p.pattern not in ("stripes", "pinstripes", "checks", "yoke"):
            return p.upper
        picture = np.empty_like(self.canvas.image)
        picture[:] = p.upper
        neck = self._at(self.bones.neck)
        size = 0.6 * self.unit

        def band(offset: float, thickness: float, direction: np.ndarray, colour: Colour) -> None:
            middle = neck + offset * self.unit * np.array((-direction[1], direction[0]))
            ends = np.stack([middle - size * direction, middle + size * direction])
            corners = np.round(ends).astype(np.int32)
            width = max(1, round(thickness * self.unit))
            cv2.line(picture, corners[0].tolist(), corners[1].tolist(), colour, width)

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
        """(2, L, 2): left and right outline of the trunk at L heights of the spine."""
        p, table = self.person, np.array(_TRUNK).T
        width = np.interp(heights, table[0], table[1]) * self.front * p.shoulders
        depth = np.interp(heights, table[0], table[2]) * self.side * (0.5 + 0.5 * p.build)
        girth = np.where(heights < 0.6, p.build, (1 + p.build) / 2)
        half = (np.hypot(width, depth) * girth + bulge) * self.unit
        centres = self._at(
            self.bones.pelvis + heights[:, None] * (self.bones.neck - self.bones.pelvis)
        )
        offset = half[:, None] * self.across
        return np.stack([centres - offset, centres + offset])

    def _trunk_outline(self, low: float, high: float, bulge: float = 0.0) -> np.ndarray:
        """Outline of the trunk between two heights of the spine."""
        inner = [row[0] for row in _TRUNK if low < row[0] < high]
        left, right = self._trunk_sides(np.array([low, *inner, high]), bulge)
        return np.concatenate([left, right[::-1]])

    def _round(self, outline: np.ndarray) -> None:
        """Shade something large as if it were a column."""
        across = (outline - outline.mean(axis=0)) @ self.across
        reach = 0.5 * np.ptp(across)
        self._fill(outline, None, None, _EDGE)
        for width, shift, shade in _ROUNDING:
            move = across * (width - 1) + self.light * shift * reach
            self._fill(outline + move[:, None] * self.across, None, None, shade)

    def _trunk(self) -> None:
        p = self.person
        self._fill(self._trunk_outline(-0.16, 0.2, 0.004), p.lower_colour, TORSO)
        hem = 0.1 if p.lower in ("skirt", "long skirt") else -0.08
        outline = self._trunk_outline(hem, 1.03, 0.012 if p.coat else 0.004)
        self._fill(outline, self.cloth, TORSO)
        self._round(self._trunk_outline(-0.16, 1.03))
        crease = self._trunk_sides(np.array([hem + 0.015]), 0.0)[:, 0]
        self.canvas.stroke(crease, tint(p.upper, 0.7), 0.012 * self.unit)
        self._collar()
        if p.pattern == "logo":
            self._logo()
        if p.pattern == "open jacket" and self.front > 0:
            self._shirt()

    def _on_chest(self, x: float, fraction: float, z: float = 0.11) -> np.ndarray:
        """Canvas position of a point on the surface of the chest (z > 0) or back (z < 0)."""
        spine = self.bones.spine(fraction)
        return self._at(spine + np.array((x, 0.0, z)) * self.person.height / 1.75)

    def _collar(self) -> None:
        p = self.person
        if self.front > -0.2:
            centre = self._on_chest(0, 1.0, 0.05)
            depth = 0.05 if p.long_sleeves else 0.035
            width = 0.05 * max(self.front, 0.35)
            opening = ellipse(centre, width * self.unit, depth * self.unit, self.view.roll)
            self._fill(opening, p.skin, HEAD)

    def _logo(self) -> None:
        """A print on the chest, none on the back."""
        if self.front < 0.25:
            return
        corners = [(-0.07, 0.82), (0.07, 0.82), (0.07, 0.58), (-0.07, 0.58)]
        self._fill(np.array([self._on_chest(x, f) for x, f in corners]), self.person.accent, None)

    def _shirt(self) -> None:
        """What an open jacket shows."""
        corners = [(-0.045, 0.98), (0.045, 0.98), (0.06, 0.5), (0.075, -0.05), (-0.075, -0.05)]
        corners.append((-0.06, 0.5))
        outline = np.array([self._on_chest(x, f) for x, f in corners])
        self._fill(outline, self.person.accent, None)

    # -- limbs ----------------------------------------------------------------------------------

    def _upper_arm(self, side: int) -> None:
        b = self.person.build
        shoulder, elbow = self._at(self.bones.shoulder[side]), self._at(self.bones.elbow[side])
        if self.person.long_sleeves:
            self._limb(shoulder, elbow, 0.055 * b, 0.047 * b, self._sleeve_cloth(), UPPER_ARM)
        else:
            self._limb(shoulder, elbow, 0.050 * b, 0.040 * b, self.person.skin, UPPER_ARM)
            cuff = shoulder + 0.62 * (elbow - shoulder)
            self._limb(shoulder, cuff, 0.055 * b, 0.057 * b, self._sleeve_cloth(), UPPER_ARM)

    def _smooth_shoulder(self, side: int) -> None:
        """Even out the shading where trunk and sleeve meet."""
        start, end = self._at(self.bones.spine(0.95)), self._at(self.bones.shoulder[side])
        start = start + 0.4 * (end - start)
        outline = capsule(start, end, 0.045 * self.unit, 0.045 * self.unit)
        self._fill(outline, None, None, 203)

    def _sleeve_cloth(self) -> Colour | np.ndarray:
        return (
            self.sleeve
            if self.person.pattern == "yoke"
            else (self.cloth if isinstance(self.cloth, np.ndarray) else self.sleeve)
        )

    def _forearm(self, side: int) -> None:
        p, b = self.person, self.person.build
        elbow, wrist = self._at(self.bones.elbow[side]), self._at(self.bones.wrist[side])
        beyond = wrist + 0.45 * (wrist - elbow) * 0.7
        self._limb(wrist, beyond, 0.034, 0.030, p.skin, LOWER_ARM)
        if p.long_sleeves:
            self._limb(elbow, wrist, 0.047 * b, 0.036 * b, self._sleeve_cloth(), LOWER_ARM)
        else:
            self._limb(elbow, wrist, 0.040 * b, 0.029 * b, p.skin, LOWER_ARM)

    def _leg(self, side: int) -> None:
        p, b = self.person, 0.4 + 0.6 * self.person.build
        hip, knee = self._at(self.bones.hip[side]), self._at(self.bones.knee[side])
        ankle, toe = self._at(self.bones.ankle[side]), self._at(self.bones.toe[side])
        heel = ankle + self.down * 0.03 * self.unit
        self._limb(heel, toe, 0.045, 0.034, p.shoes, FOOT)
        sole = np.stack([heel, toe]) + self.down * 0.036 * self.unit
        self.canvas.stroke(sole, tint(p.shoes, 0.6), 0.014 * self.unit)
        if p.lower == "trousers":
            self._limb(knee, ankle, 0.062 * b, 0.050 * b, p.lower_colour, LOWER_LEG)
            self._limb(hip, knee, 0.092 * b, 0.064 * b, p.lower_colour, UPPER_LEG)
            if p.side_stripe and SIDES[side] * self.side < 0.35:
                outward = self.across * (0.05 * b * self.unit * SIDES[side] * self.front)
                line = np.stack([hip + outward * 1.3, knee + outward, ankle + outward * 0.7])
                self.canvas.stroke(line, (230, 230, 228), 0.022 * self.unit)
            return
        self._limb(knee, ankle, 0.054 * b, 0.038 * b, p.skin, LOWER_LEG)
        self._limb(hip, knee, 0.082 * b, 0.056 * b, p.skin, UPPER_LEG)
        if p.lower == "shorts":
            hem = hip + 0.84 * (knee - hip)
            self._limb(hip, hem, 0.094 * b, 0.082 * b, p.lower_colour, UPPER_LEG)

    def _skirt(self) -> None:
        """A skirt, or the tail of a coat, around both legs."""
        p = self.person
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
            rings = [waist]
            for hip, knee, ankle in zip(
                self.bones.hip, self.bones.knee, self.bones.ankle, strict=True
            ):
                bone = hip + min(level, 1.0) * (knee - hip) + max(0.0, level - 1) * (ankle - knee)
                rings.append(
                    ellipse(self._at(bone), radius * self.unit, 0.03 * self.unit, self.view.roll)
                )
            return hull(*rings)

        whole = down_to(length, flare)
        if length > 1:
            self._fill(whole, colour, LOWER_LEG)
            self._fill(down_to(1.0, flare * 0.9), colour, UPPER_LEG)
        else:
            self._fill(whole, colour, UPPER_LEG)
        self._round(whole)

    # -- head -----------------------------------------------------------------------------------

    def _neck(self) -> None:
        neck = self._at(self.bones.spine(0.98))
        self._limb(neck, self._at(self.bones.head), 0.062, 0.052, tint(self.person.skin, 0.9), HEAD)

    def _head(self) -> None:
        p = self.person
        turn = self.view.yaw + self.bones.heading
        front, side = float(np.cos(turn)), float(np.sin(turn))
        centre = self._at(self.bones.head)
        half = float(np.hypot(0.074 * front, 0.094 * side))
        right, down = self.across * self.unit, self.down * self.unit
        bald = p.hair_style == "bald"
        grown = 1.0 if bald or p.hair_style == "cropped" else 1.10
        self._ball(centre, half, 0.112, p.skin if bald else p.hair, HEAD)
        if not bald:
            self._ball(centre - 0.018 * down, half * grown, 0.104 * grown, p.hair, HEAD)
        if front > -0.45:
            shown = min(1.0, front + 0.55)
            width = (0.066 * max(front, 0.0) + 0.056 * abs(side)) * (0.6 + 0.4 * shown)
            face = centre + side * 0.042 * right + 0.022 * down
            self._ball(face, width, 0.092, p.skin, HEAD)
            if p.hair_style == "bob" and front > 0:
                for edge in (-1, 1):
                    lock = centre + edge * half * 0.9 * right
                    outline = capsule(lock, lock + 0.09 * down, 0.026 * self.unit, 0.03 * self.unit)
                    self._fill(outline, p.hair, HEAD)
            if not bald:  # fringe
                top = centre + side * 0.03 * right - 0.062 * down
                fringe = ellipse(top, width * self.unit, 0.030 * self.unit, self.view.roll)
                self._fill(fringe, p.hair, HEAD)
        elif p.hair_style == "bob":
            self._ball(centre + 0.03 * down, half * 1.08, 0.11, p.hair, HEAD)
        self._face(front, side)
        if p.hat != "none":
            self._hat(centre, half, front, side)

    def _face(self, front: float, side: float) -> None:
        """Eyes, mouth and glasses, where they are seen."""
        p = self.person
        nose, *eyes = self.bones.keypoints()[:3]
        for eye, sign in zip(eyes, SIDES, strict=True):
            if front * 1.0 - sign * side * 0.6 < 0.25:
                continue
            spot = self._at(eye)
            radius = 0.011 * self.unit
            self._fill(ellipse(spot, radius * 1.3, radius), tint(p.skin, 0.35), None)
            if p.glasses:
                rim = ellipse(spot, 0.026 * self.unit, 0.02 * self.unit)
                self.canvas.stroke(rim, (24, 24, 26), 1, closed=True)
        if front > 0.1:
            mouth = self._at(nose) + self.down * 0.045 * self.unit
            outline = ellipse(mouth, 0.02 * self.unit * front, 0.007 * self.unit)
            self._fill(outline, (int(p.skin[0] * 0.75), int(p.skin[1] * 0.5), p.skin[2] // 2), None)
            self._fill(ellipse(self._at(nose), 2, 2), tint(p.skin, 0.8), None)

    def _hat(self, centre: np.ndarray, half: float, front: float, side: float) -> None:
        p = self.person
        right, down = self.across * self.unit, self.down * self.unit
        angle = np.linspace(np.pi, 2 * np.pi, 12)
        dome = (
            centre
            - 0.035 * down
            + np.outer(np.cos(angle) * half * 1.14, right)
            + np.outer(np.sin(angle) * 0.098, down)
        )
        self._fill(dome, p.hat_colour, HEAD, FLAT)
        if p.hat == "cap" and front > -0.5:
            tip = centre + (side * 0.15) * right + (-0.035 + 0.03 * max(front, 0)) * down
            brim = capsule(centre - 0.04 * down, tip, half * 0.9 * self.unit, 0.03 * self.unit)
            flat = np.clip((brim - centre) @ self.down, -0.05 * self.unit, -0.018 * self.unit)
            brim = brim + (flat - (brim - centre) @ self.down)[:, None] * self.down
            self._fill(brim, tint(p.hat_colour, 0.75), HEAD, FLAT)
        elif p.hat == "beanie":
            rim = dome[[0, -1]] + 0.012 * down
            self.canvas.stroke(rim, tint(p.hat_colour, 0.8), 0.03 * self.unit, self._label(HEAD))

    def _long_hair(self) -> None:
        """Hair that falls behind the neck; drawn behind the body or, from the back, over it."""
        p = self.person
        if p.hair_style not in ("long", "ponytail"):
            return
        turn = self.bones.heading
        back = np.array((-np.sin(turn), 0.0, -np.cos(turn)))
        top = self._at(self.bones.head + 0.045 * back)
        if p.hair_style == "long":
            end = self._at(self.bones.spine(0.72) + 0.13 * back)
            self._limb(top, end, 0.086, 0.075, p.hair, HEAD)
        else:
            knot = self._at(self.bones.head + 0.10 * back)
            end = self._at(self.bones.spine(0.85) + 0.17 * back)
            self._limb(knot, end, 0.036, 0.024, p.hair, HEAD)

    # -- bags -----------------------------------------------------------------------------------

    def _backpack(self) -> None:
        p = self.person
        if p.bag != "backpack":
            return
        corners = []
        for x in (-0.15, 0.15):
            for f, z in ((0.93, -0.09), (0.9, -0.20), (0.2, -0.24), (0.16, -0.09)):
                corners.append(self._on_chest(x * (0.85 if f > 0.5 else 1.0), f, z))
        outline = hull(np.array(corners))
        self._fill(outline, p.bag_colour, None, 180)
        middle = outline.mean(axis=0)
        self._fill(middle + 0.8 * (outline - middle), None, None, 205)
        if self.front < -0.3:
            pocket = [(-0.1, 0.5), (0.1, 0.5), (0.1, 0.24), (-0.1, 0.24)]
            shape = np.array([self._on_chest(x, f, -0.24) for x, f in pocket])
            self._fill(shape, tint(p.bag_colour, 1.25), None, 195)
            zip_line = np.array([self._on_chest(x, 0.74, -0.22) for x in (-0.11, 0.11)])
            self.canvas.stroke(zip_line, tint(p.bag_colour, 0.6), 0.012 * self.unit)

    def _straps(self) -> None:
        p = self.person
        if p.bag == "backpack" and self.front > -0.5:
            for x in (-0.105, 0.105):
                if self.front < 0.5 and x * self.side > 0:
                    continue  # the far strap of a side view
                line = [self._on_chest(x * 0.85, 0.97, 0.02), self._on_chest(x, 0.86, 0.11)]
                line += [self._on_chest(x * 1.1, 0.55, 0.09), self._on_chest(x * 1.25, 0.42, 0.0)]
                self.canvas.stroke(np.array(line), p.bag_colour, 0.036 * self.unit)
        elif p.bag == "messenger":
            z = 0.11 if self.front > 0 else -0.11
            line = [self._on_chest(-p.bag_side * 0.10, 0.97, 0.0)]
            line += [self._on_chest(-p.bag_side * 0.02, 0.66, z)]
            line += [self._on_chest(p.bag_side * 0.15, 0.12, 0.02)]
            self.canvas.stroke(np.array(line), p.bag_colour, 0.03 * self.unit)

    def _hanging_bag(self) -> None:
        """Shoulder bag, messenger bag or carrier bag at the person's side."""
        p = self.person
        if p.bag not in ("shoulder", "messenger", "carrier"):
            return
        side = 0 if p.bag_side == 1 else 1
        if p.bag == "carrier":
            hand = self.bones.wrist[side] + 0.3 * (self.bones.wrist[side] - self.bones.elbow[side])
            top, size = hand - np.array((0, 0.10, 0)), (0.05, 0.26, 0.13)
            anchor = hand
        else:
            out = 0.22 if p.bag == "shoulder" else 0.20
            top = self.bones.spine(0.32 if p.bag == "shoulder" else 0.12)
            top = top + np.array((p.bag_side * out, 0.0, -0.03))
            size = (0.055, 0.22, 0.15)
            anchor = self.bones.shoulder[side] + np.array((0, 0.05, 0))
        corners = np.array(
            [
                top + np.array((x * size[0], -y * size[1], z * size[2] * (0.85 + 0.15 * y)))
                for x in (-1, 1)
                for y in (0, 1)
                for z in (-1, 1)
            ]
        )
        if p.bag != "messenger":
            for z in (-0.07, 0.07):
                handle = np.stack([self._at(anchor), self._at(top + np.array((0, 0, z)))])
                self.canvas.stroke(handle, tint(p.bag_colour, 0.8), 0.02 * self.unit)
        outline = hull(self._at(corners))
        self._fill(outline, p.bag_colour, None, 190)
        self.canvas.stroke(outline[:3], tint(p.bag_colour, 0.7), 0.01 * self.unit)

    def _shadow(self) -> None:
        """A soft dark patch on the ground."""
        feet = np.mean([self._at(ankle) for ankle in self.bones.ankle], axis=0)
        feet = feet + self.down * 0.05 * self.unit
        for size, shade in ((0.36, 170), (0.26, 140)):
            middle = feet - self.across * self.light * 0.12 * self.unit
            patch = ellipse(middle, size * self.unit, 0.24 * size * self.unit)
            self._fill(patch, None, None, shade)
