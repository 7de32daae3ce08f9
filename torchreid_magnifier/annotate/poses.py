"""One person's pose in an image, from whichever set of keypoints."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .skeletons import SKELETONS

# Rows of Pose.joints: COCO's order from the shoulders on, left before right.
SHOULDERS, ELBOWS, WRISTS, HIPS, KNEES, ANKLES = (np.s_[i : i + 2] for i in range(0, 12, 2))

_JOINTS = [
    f"{side}_{joint}"
    for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    for side in ("left", "right")
]
_FEET = [
    f"{side}_{point}" for side in ("left", "right") for point in ("big_toe", "small_toe", "heel")
]
_EARS = ("left_ear", "right_ear")
_FACE = ("nose", "left_eye", "right_eye", *_EARS)

# Bones as fractions of the body's height (Drillis and Contini 1966, rounded).
_TRUNK, _THIGH, _SHIN, _UPPER_ARM, _FOREARM, _SHOULDER_WIDTH = 0.29, 0.24, 0.24, 0.18, 0.15, 0.22
# How far, at most, the nose is before the ears, a knee before the line from hip to ankle and the
# toes before the heel.
_NOSE_TO_EARS, _KNEE_BEND, _HEEL_TO_TOES = 0.05, 0.06, 0.15


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
        feet: (2, 3, 2) of the left and the right foot the big toe, the small toe and the heel.
        is_target: if the image is about this person, where its source says so.
    """

    joints: np.ndarray
    face: np.ndarray
    crown: np.ndarray
    neck: np.ndarray
    heading: np.ndarray
    score: float = 1.0
    feet: np.ndarray = field(default_factory=lambda: np.full((2, 3, 2), np.nan))
    is_target: bool | None = None

    @property
    def points(self) -> np.ndarray:
        """(P, 2) all known points."""
        head = self.face, self.crown, self.neck
        points = np.concatenate([self.joints, head, self.feet.reshape(-1, 2)])
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


def pose_from_keypoints(
    keypoints: np.ndarray,
    min_score: float,
    score: float = 1.0,
    *,
    skeleton: str = "coco",
    is_target: bool | None = None,
) -> Pose:
    """Return a pose from keypoints.

    Args:
        keypoints: (K, 3) x, y, and a score or COCO's visibility (0, 1, 2).
        min_score: keypoints whose third value is below it, or 0, are unknown.
        score: of the person.
        skeleton: a key of ``SKELETONS``: which keypoints these are.
        is_target: if the image is about this person, where that is known.
    """
    points = np.array(keypoints[:, :2], np.float64)
    known = (keypoints[:, 2] >= min_score) & (keypoints[:, 2] != 0)
    points[~known | ~np.isfinite(points).all(axis=1)] = np.nan
    at = dict(zip(SKELETONS[skeleton], points, strict=True))
    unknown = np.full(2, np.nan)

    def get(names: Sequence[str]) -> np.ndarray:
        return np.array([at.get(name, unknown) for name in names])

    ears, joints = get(_EARS), get(_JOINTS)
    pose = Pose(
        joints,
        face=middle(get(_FACE) if np.isnan(ears).any() else ears),
        crown=at.get("crown", unknown),
        neck=at.get("neck", unknown),
        heading=np.zeros(2),
        score=score,
        feet=get(_FEET).reshape(2, 3, 2),
        is_target=is_target,
    )
    # The shoulders say how far the body is turned; nose, knees, which bend forward, and toes to
    # which side.
    width = joints[SHOULDERS][0, 0] - joints[SHOULDERS][1, 0]
    bend = joints[KNEES] - (joints[HIPS] + joints[ANKLES]) / 2
    looks = (at.get("nose", unknown) - middle(ears))[0]
    points_to = [(middle(foot[:2]) - foot[2])[0] / _HEEL_TO_TOES for foot in pose.feet]
    side = np.nansum([looks / _NOSE_TO_EARS, *bend[:, 0] / _KNEE_BEND, *points_to])
    front = np.clip(np.nan_to_num(width / (_SHOULDER_WIDTH * pose.height)), -1, 1)
    return replace(pose, heading=np.array((np.sign(side) * (1 - front**2) ** 0.5, front)))


def central_pose(poses: Sequence[Pose], height: int, width: int) -> Pose | None:
    """Return the person whom an image (``height`` x ``width`` pixels) is about, None without any.

    That is the one who is marked as its target, or else the most prominent.
    """
    seen = [pose for pose in poses if len(pose.points)]
    targets = [pose for pose in seen if pose.is_target]
    return max(targets or seen, key=lambda p: prominence(p, height, width), default=None)


def prominence(pose: Pose, height: int, width: int) -> float:
    """Return how large and central a person with known points is in an image, 0 to 1.

    A crop shows its person large and in the middle; others stand at its sides or far behind.
    """
    low, high = pose.points.min(axis=0), pose.points.max(axis=0)
    low, high = np.clip((low, high), 0, (width - 1, height - 1))
    share = np.prod(high - low + 1) / (height * width)
    off_centre = abs((low + high)[0] / 2 - (width - 1) / 2) / (width / 2)
    return float(pose.score * share * (1 - off_centre))
