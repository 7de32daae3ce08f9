"""Draws the part labels of a pose: limbs as capsules, the trunk as a polygon, the head an ellipse.

Thickness follows the body's height. The fractions below are those of clothed people (widths of
Drillis and Contini's segments and a little cloth), tuned on drawn pedestrians.
"""

import cv2
import numpy as np

from ..parts import BACKGROUND, FOOT, HEAD, LOWER_ARM, LOWER_LEG, TORSO, UPPER_ARM, UPPER_LEG
from ..shapes import capsule, ellipse, hull
from .poses import ANKLES, ELBOWS, HIPS, KNEES, SHOULDERS, WRISTS, Pose, middle

# Radii at both ends of a limb.
_UPPER_ARM = (0.035, 0.028)
_FOREARM = (0.027, 0.020)
_THIGH = (0.058, 0.042)
_SHIN = (0.038, 0.030)
_FOOT = (0.029, 0.024)
_NECK = 0.037
# Distances: hand beyond the wrist, toes before the ankle and below it, heel below the ankle.
# Keypoints of feet lie on the skin: the shoe around them.
_SHOE = 0.02
_HAND, _TOE, _SOLE, _HEEL, _FORESHORTENED, _TIPTOE = 0.3, 0.097, 0.033, 0.019, 0.02, 0.12
# The trunk is the hull of discs at shoulders and hips, the chest, which people seen from the
# side have too, and the collar. In lengths of the trunk, the place of the chest below the shoulders
# and of the collar above them.
_SHOULDER, _HIP, _CHEST = 0.012, 0.052, 0.078
_CHEST_AT, _COLLAR = 0.37, 0.06
# The head: its half width against its half height, from the front and more from the side; its half
# height where only the face is known.
_HEAD_SLIM, _HEAD_LONG, _HEAD_HALF = 0.75, 0.1, 0.078

# A limb that is drawn longer than this has a joint that is somebody else's or at random. Chosen on
# people of Market-1501, one in 13 of whom has such a limb.
_ASTRAY = 0.34
_FOOT_ASTRAY = 0.2  # toes farther from the heel are somebody else's
_BEHIND = 0.6  # a heading beyond it hides what is on the trunk's other side
_FRACTION_BITS = 4  # cv2 takes polygon corners as fixed-point numbers


def draw_parts(pose: Pose, height: int, width: int) -> np.ndarray:
    """Return the label map of one person.

    A limb needs both its joints, near enough to each other for the body's height, and the trunk a
    shoulder and a hip; what lacks them is left out.

    Args:
        pose: joints in pixels; they may lie outside the image.
        height, width: of the image in pixels.

    Returns:
        uint8 (height, width) with values 0 to 7 of :data:`torchreid_magnifier.parts.PARTS`; all
        background if the pose has no bone.
    """
    figure = _Figure(pose, height, width)
    if np.isfinite(figure.unit):
        figure.draw()
    return figure.labels


class _Figure:
    def __init__(self, pose: Pose, height: int, width: int) -> None:
        self.pose, self.unit = pose, pose.height
        self.labels = np.full((height, width), BACKGROUND, np.uint8)
        self.reach = 4 * max(height, width)  # farther points would overflow cv2's integers

    def draw(self) -> None:
        """Far to near: what is drawn later hides what lies below it."""
        aside, front = self.pose.heading
        behind = [aside > _BEHIND, aside < -_BEHIND]  # the arm on the trunk's far side
        before = front < -_BEHIND  # hands that busy themselves before a person who walks away
        for side in (0, 1):
            self._leg(side)
            if behind[side]:
                self._upper_arm(side)
            if behind[side] or before:
                self._forearm(side)
        self._neck()
        self._trunk()
        for side in (0, 1):
            if not behind[side]:
                self._upper_arm(side)
        self._head()
        for side in (0, 1):
            if not (behind[side] or before):
                self._forearm(side)

    def _fill(self, outline: np.ndarray, part: int) -> None:
        outline = np.clip(outline, -self.reach, self.reach)
        corners = np.round(outline * (1 << _FRACTION_BITS)).astype(np.int32)
        cv2.fillPoly(self.labels, [corners], part, shift=_FRACTION_BITS)

    def _radius(self, share: float) -> float:
        """Pixels of a share of the height; cv2 also fills the pixels that an outline touches."""
        return max(share * self.unit - 0.5, 0.3)

    def _is_limb(self, start: np.ndarray, end: np.ndarray) -> bool:
        """Return if both ends are known and near enough to each other."""
        return bool(np.hypot(*(end - start)) <= _ASTRAY * self.unit)

    def _limb(
        self, start: np.ndarray, end: np.ndarray, radii: tuple[float, float], part: int
    ) -> None:
        if self._is_limb(start, end):
            self._fill(capsule(start, end, *map(self._radius, radii)), part)

    def _leg(self, side: int) -> None:
        hip, knee, ankle = (self.pose.joints[rows][side] for rows in (HIPS, KNEES, ANKLES))
        if self._is_limb(knee, ankle):  # an ankle alone is too often somebody else's
            if not self._seen_foot(self.pose.feet[side], ankle):
                self._foot(knee, ankle)
        self._limb(knee, ankle, _SHIN, LOWER_LEG)
        self._limb(hip, knee, _THIGH, UPPER_LEG)

    def _foot(self, knee: np.ndarray, ankle: np.ndarray) -> None:
        aside, front = self.pose.heading
        across, down = ankle - knee
        # A shin that leans forward stands on its toes.
        lean = np.arctan2(-across * np.sign(aside), down)
        tip = _TIPTOE * np.clip(lean - 0.25, 0, 1.2) * abs(aside)
        toe = np.array((_TOE * aside, _SOLE + _FORESHORTENED * front + tip))
        self._limb(ankle + self.unit * np.array((0, _HEEL)), ankle + self.unit * toe, _FOOT, FOOT)

    def _seen_foot(self, foot: np.ndarray, ankle: np.ndarray) -> bool:
        """Draw a foot whose toes are known; return if they are."""
        toes, heel = _known(foot[:2]), foot[2]
        back = ankle + self.unit * np.array((0, _HEEL)) if np.isnan(heel[0]) else heel
        ends = [toe for toe in toes if np.hypot(*(toe - back)) <= _FOOT_ASTRAY * self.unit]
        if ends:
            above = self._disc(ankle + self.unit * np.array((0, _HEEL)), _FOOT[1])
            discs = [self._disc(end, _SHOE) for end in (*ends, back)]
            self._fill(hull(above, *discs), FOOT)
        return bool(ends)

    def _upper_arm(self, side: int) -> None:
        shoulder, elbow = (self.pose.joints[rows][side] for rows in (SHOULDERS, ELBOWS))
        self._limb(shoulder, elbow, _UPPER_ARM, UPPER_ARM)

    def _forearm(self, side: int) -> None:
        elbow, wrist = (self.pose.joints[rows][side] for rows in (ELBOWS, WRISTS))
        self._limb(elbow, wrist + _HAND * (wrist - elbow), _FOREARM, LOWER_ARM)

    def _trunk(self) -> None:
        shoulders, hips = (_known(self.pose.joints[rows]) for rows in (SHOULDERS, HIPS))
        if not (len(shoulders) and len(hips)):
            return
        top, bottom = shoulders.mean(axis=0), hips.mean(axis=0)
        collar = self._disc(top + _COLLAR * (top - bottom), _NECK)
        chest = self._disc(top + _CHEST_AT * (bottom - top), _CHEST)
        corners = [self._disc(joint, _SHOULDER) for joint in shoulders]
        corners += [self._disc(joint, _HIP) for joint in hips]
        self._fill(hull(collar, chest, *corners), TORSO)

    def _disc(self, centre: np.ndarray, share: float) -> np.ndarray:
        return ellipse(centre, self._radius(share), self._radius(share))

    def _neck(self) -> None:
        head = _head(self.pose, self.unit)
        if head:
            self._limb(head[0], middle(self.pose.joints[SHOULDERS]), (_NECK, _NECK), HEAD)

    def _head(self) -> None:
        head = _head(self.pose, self.unit)
        if head:
            centre, up, half = head
            half = max(half - 0.5, 0.3)
            slim = _HEAD_SLIM + _HEAD_LONG * abs(self.pose.heading[0])
            tilt = float(np.arctan2(up[0], -up[1]))
            self._fill(ellipse(centre, slim * half, half, tilt), HEAD)


def _head(pose: Pose, unit: float) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Centre, upward direction and half height of the head in pixels, None if it is unknown."""
    axis = pose.crown - pose.neck
    centre, half = (pose.crown + pose.neck) / 2, float(np.hypot(*axis)) / 2
    if np.isnan(half):
        axis = pose.face - middle(pose.joints[SHOULDERS])
        centre, half = pose.face, _HEAD_HALF * unit
    if np.isnan(centre).any():
        return None
    length = np.hypot(*axis)
    up = axis / length if length > 0 else np.array((0.0, -1.0))
    return centre, up, half


def _known(points: np.ndarray) -> np.ndarray:
    return np.asarray(points[~np.isnan(points[:, 0])])
