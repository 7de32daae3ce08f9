"""One person's pose in an image, from whichever set of keypoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

# Rows of Pose.joints: COCO's order from the shoulders on, left before right.
SHOULDERS, ELBOWS, WRISTS, HIPS, KNEES, ANKLES = (np.s_[i : i + 2] for i in range(0, 12, 2))

COCO_KEYPOINTS = 17
BODY_POINTS = 14  # the sets of Market-1501

_NOSE, _EARS, _FACE, _BODY = 0, np.s_[3:5], np.s_[:5], np.s_[5:]

# The 14 points: head top, neck, then shoulder, elbow, wrist of one side and the other, then hip,
# knee, ankle of one side and the other. The first side is the person's right.
_FROM_14 = (5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10)

# Bones as fractions of the body's height (Drillis and Contini 1966, rounded).
_TRUNK, _THIGH, _SHIN, _UPPER_ARM, _FOREARM, _SHOULDER_WIDTH = 0.29, 0.24, 0.24, 0.18, 0.15, 0.22
# How far, at most, the nose is before the ears and a knee before the line from hip to ankle.
_NOSE_TO_EARS, _KNEE_BEND = 0.05, 0.06


@dataclass(frozen=True)
class Pose:
    """Joints in pixels, the centre of an image's first pixel being (0, 0); NaN where unknown.

    Attributes:
        joints: (12, 2) x, y of left and right shoulder, elbow, wrist, hip, knee, ankle.
        face: (2,) centre of the head, or NaN if ``crown`` and ``neck`` are what is known.
        crown, neck: (2,) top of the head and the point between head and trunk.
        heading: (2,) the direction in which the body faces: x from -1 (the picture's left) to 1,
            and from -1 (away from the camera) to 1 (towards it); 0 where unknown.
        score: how sure it is that this is a person, 0 to 1.
    """

    joints: np.ndarray
    face: np.ndarray
    crown: np.ndarray
    neck: np.ndarray
    heading: np.ndarray
    score: float = 1.0

    @property
    def points(self) -> np.ndarray:
        """(P, 2) all known points."""
        points = np.concatenate([self.joints, self.face[None], self.crown[None], self.neck[None]])
        return np.asarray(points[~np.isnan(points[:, 0])])

    @property
    def height(self) -> float:
        """The body's height in pixels, by its bones; NaN if none is known or all are points.

        Every bone counts by its length, and of a pair the longer one: the other is foreshortened.
        """
        trunk = np.linalg.norm(middle(self.joints[SHOULDERS]) - middle(self.joints[HIPS]))
        pairs = [self.joints[rows] for rows in (SHOULDERS, ELBOWS, WRISTS, HIPS, KNEES, ANKLES)]

        def longer(upper: np.ndarray, lower: np.ndarray) -> float:
            return float(np.fmax(*np.linalg.norm(upper - lower, axis=1)))

        long_way = (
            (trunk, _TRUNK),
            (longer(pairs[3], pairs[4]), _THIGH),
            (longer(pairs[4], pairs[5]), _SHIN),
        )
        arms = (longer(pairs[0], pairs[1]), _UPPER_ARM), (longer(pairs[1], pairs[2]), _FOREARM)
        width = ((float(np.linalg.norm(pairs[0][0] - pairs[0][1])), _SHOULDER_WIDTH),)
        for bones in (long_way, arms, width):
            known = [(length, share) for length, share in bones if not np.isnan(length)]
            if known:
                lengths, shares = map(sum, zip(*known, strict=True))
                return lengths / shares or float("nan")
        return float("nan")


def middle(points: np.ndarray) -> np.ndarray:
    """Return the mean (2,) of the known ones of points (P, 2), NaN if none is."""
    known = points[~np.isnan(points[:, 0])]
    return known.mean(axis=0) if len(known) else np.full(2, np.nan)


def pose_from_coco(keypoints: np.ndarray, min_score: float, score: float = 1.0) -> Pose:
    """Return a pose from COCO's 17 keypoints.

    Args:
        keypoints: (17, 3) x, y, and a score or COCO's visibility (0, 1, 2).
        min_score: joints whose third value is below it are unknown.
        score: of the person.
    """
    points = np.array(keypoints[:, :2], np.float64)
    points[~(keypoints[:, 2] >= min_score) | ~np.isfinite(points).all(axis=1)] = np.nan
    ears = points[_EARS]
    face = points[_FACE] if np.isnan(ears).any() else ears
    looks = points[_NOSE] - middle(ears)
    return _pose(points[_BODY], looks[0], score, face=middle(face))


def pose_from_14(points: np.ndarray) -> Pose:
    """Return a pose from the 14 points of the Market-1501 sets.

    Args:
        points: (14, 2) x, y; the first pixel's centre is (0, 0).
    """
    points = np.where(np.isfinite(points).all(axis=1, keepdims=True), points, np.nan)
    return _pose(points[list(_FROM_14)], np.nan, 1.0, crown=points[0], neck=points[1])


def _pose(joints: np.ndarray, looks: float, score: float, **head: np.ndarray) -> Pose:
    """Completes a pose by its heading. ``looks``: pixels from the ears to the nose, in x."""
    points = dict.fromkeys(("face", "crown", "neck"), np.full(2, np.nan)) | head
    pose = Pose(joints, heading=np.zeros(2), score=score, **points)
    # The shoulders say how far the body is turned; nose and knees, which bend forward, to which
    # side.
    width = joints[SHOULDERS][0, 0] - joints[SHOULDERS][1, 0]
    bend = joints[KNEES] - (joints[HIPS] + joints[ANKLES]) / 2
    side = np.nansum([looks / _NOSE_TO_EARS, *bend[:, 0] / _KNEE_BEND])
    front = np.clip(np.nan_to_num(width / (_SHOULDER_WIDTH * pose.height)), -1, 1)
    return replace(pose, heading=np.array((np.sign(side) * (1 - front**2) ** 0.5, front)))


def central_pose(poses: Sequence[Pose], height: int, width: int) -> Pose | None:
    """Return the person whom an image (``height`` x ``width`` pixels) is about, None without any.

    A crop shows its person large and in the middle; others stand at its sides or far behind.
    """

    def prominence(pose: Pose) -> float:
        low, high = pose.points.min(axis=0), pose.points.max(axis=0)
        low, high = np.clip((low, high), 0, (width - 1, height - 1))
        share = np.prod(high - low + 1) / (height * width)
        off_centre = abs((low + high)[0] / 2 - (width - 1) / 2) / (width / 2)
        return float(pose.score * share * (1 - off_centre))

    return max((pose for pose in poses if len(pose.points)), key=prominence, default=None)
