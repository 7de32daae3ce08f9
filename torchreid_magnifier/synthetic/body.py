"""An articulated body: joint angles to points in space, and the view that projects them.

Body axes, in metres: X to the person's left, Y up, Z forward; the origin is the ground between the
feet. Proportions are fractions of the height (Drillis and Contini's segment lengths, rounded).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .identity import Identity, pick

STANDARD_HEIGHT = 1.75  # metres; clothes, heads and bags are measured on a person so tall
SIDES = (1, -1)  # left, right
_FACE = (  # nose, eyes and ears in the axes of the head
    (0, -0.02, 0.10),
    (0.032, 0.015, 0.085),
    (-0.032, 0.015, 0.085),
    (0.075, 0, 0.0),
    (-0.075, 0, 0.0),
)


@dataclass(frozen=True)
class Pose:
    """Joint angles in radians, forward flexion positive; pairs are (left, right)."""

    hip: Sequence[float] = (0.0, 0.0)
    knee: Sequence[float] = (0.0, 0.0)
    shoulder: Sequence[float] = (0.0, 0.0)
    spread: Sequence[float] = (0.0, 0.0)  # arm away from the body
    elbow: Sequence[float] = (0.0, 0.0)
    inward: Sequence[float] = (0.0, 0.0)  # forearm across the body
    lean: float = 0.0
    twist: float = 0.0  # shoulders against hips
    head_turn: float = 0.0


def draw_pose(rng: np.random.Generator) -> Pose:
    """Draw a walking (usual) or standing pose, sometimes with a busy arm."""
    if rng.random() < 0.72:
        phase, stride = rng.uniform(0, 2 * np.pi), rng.uniform(0.25, 0.5)
        swing, lifting = np.sin(phase) * stride, np.cos(phase)
        hip = [side * swing + 0.06 for side in SIDES]
        knee = [
            0.08 + 0.75 * max(0.0, side * lifting) * stride * 2 + 0.3 * max(0.0, -side * swing)
            for side in SIDES
        ]
        shoulder = [-0.9 * side * swing for side in SIDES]
        elbow = [0.25 + 0.5 * max(0.0, -side * swing) for side in SIDES]
        lean, twist = rng.uniform(0.0, 0.09), 0.35 * swing
    else:
        hip = rng.normal(0.02, 0.06, 2).tolist()
        knee = rng.uniform(0, 0.15, 2).tolist()
        shoulder = rng.normal(0, 0.1, 2).tolist()
        elbow = rng.uniform(0.05, 0.4, 2).tolist()
        lean, twist = rng.uniform(-0.03, 0.06), rng.normal(0, 0.06)
    spread = rng.uniform(0.05, 0.22, 2).tolist()
    inward = rng.uniform(0, 0.2, 2).tolist()
    if rng.random() < 0.35:
        side = int(rng.integers(2))
        busy = ((0.35, 1.9, 0.5), (-0.15, 0.8, 0.1), (0.3, 2.2, 0.4), (0.5, 1.0, 0.2))
        shoulder[side], elbow[side], inward[side] = pick(rng, busy)
    return Pose(hip, knee, shoulder, spread, elbow, inward, lean, twist, rng.normal(0, 0.3))


@dataclass(frozen=True)
class View:
    """One person as the camera sees it (weak perspective)."""

    yaw: float  # 0 the person faces the camera, pi/2 walks to the right, pi shows the back
    pitch: float  # the camera looks down by this angle
    roll: float  # tilt of the picture
    scale: float  # canvas pixels a metre
    x: float  # canvas position of the ground point between the feet
    y: float

    def project(self, points: np.ndarray) -> np.ndarray:
        """Return the canvas points (..., 2) of body points (..., 3)."""
        across = points[..., 0] * np.cos(self.yaw) + points[..., 2] * np.sin(self.yaw)
        down = self.nearness(points) * np.sin(self.pitch) - points[..., 1] * np.cos(self.pitch)
        c, s = np.cos(self.roll), np.sin(self.roll)
        x = self.x + self.scale * (c * across - s * down)
        return np.stack([x, self.y + self.scale * (s * across + c * down)], axis=-1)

    def nearness(self, points: np.ndarray) -> np.ndarray:
        """Return how many metres towards the camera body points (..., 3) are, (...)."""
        return np.asarray(points[..., 2] * np.cos(self.yaw) - points[..., 0] * np.sin(self.yaw))


@dataclass(frozen=True)
class Skeleton:
    """Joints in body coordinates, each (3,), or a (left, right) pair of them."""

    pelvis: np.ndarray
    neck: np.ndarray
    head: np.ndarray
    shoulder: Sequence[np.ndarray]
    elbow: Sequence[np.ndarray]
    wrist: Sequence[np.ndarray]
    hip: Sequence[np.ndarray]
    knee: Sequence[np.ndarray]
    ankle: Sequence[np.ndarray]
    toe: Sequence[np.ndarray]
    heading: float  # direction of the head about Y, relative to the body
    size: float  # the person's height by the standard height

    def spine(self, fraction: float) -> np.ndarray:
        """Return the point between pelvis (0) and neck base (1); below 0 it goes straight on."""
        return np.asarray(self.pelvis + fraction * (self.neck - self.pelvis))

    def on_trunk(self, x: float, height: float, z: float) -> np.ndarray:
        """Return the point beside (x) and before (z) the spine at a height of it.

        ``x`` and ``z`` are those on a person of standard height.
        """
        return self.spine(height) + np.array((x, 0.0, z)) * self.size

    def keypoints(self) -> np.ndarray:
        """Return the (17, 3) COCO keypoints in body coordinates."""
        c, s = np.cos(self.heading), np.sin(self.heading)
        face = [self.head + np.array((x * c + z * s, y, z * c - x * s)) for x, y, z in _FACE]
        limbs = (self.shoulder, self.elbow, self.wrist, self.hip, self.knee, self.ankle)
        return np.array(face + [joint for pair in limbs for joint in pair])


def build_skeleton(person: Identity, pose: Pose) -> Skeleton:
    """Compute the joints of a person in a pose; the standing foot rests on the ground."""
    h = person.height
    ankle_height = 0.045 * h

    def leg(side: int, flex: float, bend: float) -> tuple[np.ndarray, ...]:
        hip = np.array((side * 0.052 * h, 0.0, 0.0))
        knee = hip + 0.245 * h * np.array((side * 0.02, -np.cos(flex), np.sin(flex)))
        back = flex - bend
        ankle = knee + 0.235 * h * np.array((0.0, -np.cos(back), np.sin(back)))
        pitch = min(0.0, back + 0.25)  # a foot behind the body stands on its toes
        fall, forward = -ankle_height * 0.6 + 0.11 * h * np.sin(pitch), 0.10 * h * np.cos(pitch)
        return hip, knee, ankle, ankle + np.array((side * 0.02, fall, forward))

    def arm(
        side: int, flex: float, spread: float, bend: float, inward: float
    ) -> tuple[np.ndarray, ...]:
        reach = side * (0.100 * h * person.shoulders)
        across = np.array((reach * np.cos(pose.twist), 0.0, -reach * np.sin(pose.twist)))
        shoulder = neck - 0.044 * h * up + across
        outward, raised = side * np.sin(spread), flex + bend
        upper = (outward, -np.cos(flex) * np.cos(spread), np.sin(flex))
        elbow = shoulder + 0.175 * h * np.array(upper)
        fore = (
            outward - side * np.sin(inward),
            -np.cos(raised) * np.cos(inward),
            np.sin(raised) * np.cos(inward),
        )
        return shoulder, elbow, elbow + 0.150 * h * np.array(fore)

    legs = [leg(*angles) for angles in zip(SIDES, pose.hip, pose.knee, strict=True)]
    lift = ankle_height - min(ankle[1] for _, _, ankle, _ in legs)
    for joint in (joint for joints in legs for joint in joints):
        joint[1] += lift
    pelvis = np.array((0.0, lift, 0.0))
    up = np.array((0.0, np.cos(pose.lean), np.sin(pose.lean)))
    neck = pelvis + 0.315 * h * up
    bends = (pose.shoulder, pose.spread, pose.elbow, pose.inward)
    arms = [arm(*angles) for angles in zip(SIDES, *bends, strict=True)]
    head = neck + 0.084 * h * up + np.array((0.0, 0.0, 0.015 * h))
    turn, size = pose.head_turn, h / STANDARD_HEIGHT
    shoulders, elbows, wrists = zip(*arms, strict=True)
    hips, knees, ankles, toes = zip(*legs, strict=True)
    return Skeleton(
        pelvis, neck, head, shoulders, elbows, wrists, hips, knees, ankles, toes, turn, size
    )
