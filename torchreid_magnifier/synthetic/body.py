"""An articulated body: joint angles to points in space, and the view that projects them.

Body axes, in metres: X to the person's left, Y up, Z forward; the origin is the ground between the
feet. Proportions are fractions of the height (Drillis and Contini's segment lengths, rounded).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .identity import Identity, pick

STANDARD_HEIGHT = 1.75  # metres; clothes, heads and bags are measured on a person so tall
SIDES = (1, -1)  # left, right


@dataclass(frozen=True)
class Pose:
    """Joint angles in radians, forward flexion positive; pairs are (left, right)."""

    hip: tuple[float, float]
    knee: tuple[float, float]
    shoulder: tuple[float, float]
    spread: tuple[float, float]  # arm away from the body
    elbow: tuple[float, float]
    inward: tuple[float, float]  # forearm across the body
    lean: float
    twist: float  # shoulders against hips
    head_turn: float


def draw_pose(rng: np.random.Generator) -> Pose:
    """Return a walking (usual) or standing pose, sometimes with a busy arm."""
    if rng.random() < 0.72:
        phase, stride = rng.uniform(0, 2 * np.pi), rng.uniform(0.25, 0.5)
        swing = float(np.sin(phase)) * stride
        lifting = float(np.cos(phase))
        hip = (swing + 0.06, -swing + 0.06)
        knee = (
            0.08 + 0.75 * max(0.0, lifting) * stride * 2 + 0.3 * max(0.0, -swing),
            0.08 + 0.75 * max(0.0, -lifting) * stride * 2 + 0.3 * max(0.0, swing),
        )
        shoulder = (-0.9 * swing, 0.9 * swing)
        elbow = (0.25 + 0.5 * max(0.0, -swing), 0.25 + 0.5 * max(0.0, swing))
        lean, twist = rng.uniform(0.0, 0.09), 0.35 * swing
    else:
        hip = (rng.normal(0.02, 0.06), rng.normal(0.02, 0.06))
        knee = (rng.uniform(0, 0.15), rng.uniform(0, 0.15))
        shoulder = (rng.normal(0, 0.1), rng.normal(0, 0.1))
        elbow = (rng.uniform(0.05, 0.4), rng.uniform(0.05, 0.4))
        lean, twist = rng.uniform(-0.03, 0.06), rng.normal(0, 0.06)
    spread = (rng.uniform(0.05, 0.22), rng.uniform(0.05, 0.22))
    inward = (rng.uniform(0, 0.2), rng.uniform(0, 0.2))
    if rng.random() < 0.35:
        side = int(rng.integers(2))
        busy = pick(rng, ((0.35, 1.9, 0.5), (-0.15, 0.8, 0.1), (0.3, 2.2, 0.4), (0.5, 1.0, 0.2)))
        shoulder, elbow, inward = (
            _with(pair, side, angle)
            for pair, angle in zip((shoulder, elbow, inward), busy, strict=True)
        )
    return Pose(hip, knee, shoulder, spread, elbow, inward, lean, twist, float(rng.normal(0, 0.3)))


def _with(pair: tuple[float, float], side: int, value: float) -> tuple[float, float]:
    return (value, pair[1]) if side == 0 else (pair[0], value)


@dataclass(frozen=True)
class View:
    """One person as the camera sees it (weak perspective).

    Attributes:
        yaw: 0 the person faces the camera, pi/2 walks to the right, pi shows the back.
        pitch: the camera looks down by this angle.
        roll: tilt of the picture.
        scale: canvas pixels a metre.
        x, y: canvas position of the ground point between the feet.
    """

    yaw: float
    pitch: float
    roll: float
    scale: float
    x: float
    y: float

    def project(self, points: np.ndarray) -> np.ndarray:
        """Return the canvas points (..., 2) of body points (..., 3)."""
        across = points[..., 0] * np.cos(self.yaw) + points[..., 2] * np.sin(self.yaw)
        down = self.nearness(points) * np.sin(self.pitch) - points[..., 1] * np.cos(self.pitch)
        c, s = np.cos(self.roll), np.sin(self.roll)
        result = np.empty((*points.shape[:-1], 2))
        result[..., 0] = self.x + self.scale * (c * across - s * down)
        result[..., 1] = self.y + self.scale * (s * across + c * down)
        return result

    def nearness(self, points: np.ndarray) -> np.ndarray:
        """Return how many metres towards the camera body points (..., 3) are, (...)."""
        return np.asarray(points[..., 2] * np.cos(self.yaw) - points[..., 0] * np.sin(self.yaw))


@dataclass(frozen=True)
class Skeleton:
    """Joints in body coordinates, each (3,), or a (left, right) pair of them."""

    pelvis: np.ndarray
    neck: np.ndarray
    head: np.ndarray
    shoulder: list[np.ndarray]
    elbow: list[np.ndarray]
    wrist: list[np.ndarray]
    hip: list[np.ndarray]
    knee: list[np.ndarray]
    ankle: list[np.ndarray]
    toe: list[np.ndarray]
    heading: float  # direction of the head about Y, relative to the body
    size: float  # the person's height by the standard height

    def spine(self, fraction: float) -> np.ndarray:
        """Point between pelvis (0) and neck base (1); beyond 0 straight below the pelvis."""
        return np.asarray(self.pelvis + fraction * (self.neck - self.pelvis))

    def on_trunk(self, x: float, height: float, z: float) -> np.ndarray:
        """Point beside (x) and before (z) the spine at a height of it; x, z as for 1.75 m."""
        return self.spine(height) + np.array((x, 0.0, z)) * self.size

    def keypoints(self) -> np.ndarray:
        """Return (17, 3) COCO keypoints in body coordinates."""
        c, s = np.cos(self.heading), np.sin(self.heading)

        def on_head(x: float, y: float, z: float) -> np.ndarray:
            return np.asarray(self.head + np.array((x * c + z * s, y, z * c - x * s)))

        face = [
            on_head(0, -0.02, 0.10),
            on_head(0.032, 0.015, 0.085),
            on_head(-0.032, 0.015, 0.085),
            on_head(0.075, 0, 0.0),
            on_head(-0.075, 0, 0.0),
        ]
        limbs = (self.shoulder, self.elbow, self.wrist, self.hip, self.knee, self.ankle)
        return np.array(face + [joint for pair in limbs for joint in pair])


def build_skeleton(person: Identity, pose: Pose) -> Skeleton:
    """Forward kinematics: the standing foot rests on the ground."""
    h = person.height
    thigh, shin, ankle_height = 0.245 * h, 0.235 * h, 0.045 * h
    upper_arm, forearm = 0.175 * h, 0.150 * h
    pelvis = np.array((0.0, 0.0, 0.0))
    hips: list[np.ndarray] = []
    knees: list[np.ndarray] = []
    ankles: list[np.ndarray] = []
    toes: list[np.ndarray] = []
    for side, flex, bend in zip(SIDES, pose.hip, pose.knee, strict=True):
        hip = pelvis + np.array((side * 0.052 * h, 0.0, 0.0))
        knee = hip + thigh * np.array((side * 0.02, -np.cos(flex), np.sin(flex)))
        back = flex - bend
        ankle = knee + shin * np.array((0.0, -np.cos(back), np.sin(back)))
        pitch = min(0.0, back + 0.25)  # a foot behind the body stands on its toes
        toe = ankle + np.array(
            (
                side * 0.02,
                -ankle_height * 0.6 + 0.11 * h * np.sin(pitch),
                0.10 * h * np.cos(pitch),
            )
        )
        for found, joint in zip((hips, knees, ankles, toes), (hip, knee, ankle, toe), strict=True):
            found.append(joint)
    lift = ankle_height - min(ankle[1] for ankle in ankles)
    for points in (hips, knees, ankles, toes):
        for point in points:
            point[1] += lift
    pelvis = pelvis + np.array((0.0, lift, 0.0))
    up = np.array((0.0, np.cos(pose.lean), np.sin(pose.lean)))
    neck = pelvis + 0.315 * h * up
    shoulders: list[np.ndarray] = []
    elbows: list[np.ndarray] = []
    wrists: list[np.ndarray] = []
    for side, flex, spread, bend, inward in zip(
        SIDES, pose.shoulder, pose.spread, pose.elbow, pose.inward, strict=True
    ):
        reach = 0.100 * h * person.shoulders
        shoulder = (
            neck
            - 0.044 * h * up
            + np.array((side * reach * np.cos(pose.twist), 0.0, -side * reach * np.sin(pose.twist)))
        )
        elbow = shoulder + upper_arm * np.array(
            (side * np.sin(spread), -np.cos(flex) * np.cos(spread), np.sin(flex))
        )
        raised = flex + bend
        wrist = elbow + forearm * np.array(
            (
                side * (np.sin(spread) - np.sin(inward)),
                -np.cos(raised) * np.cos(inward),
                np.sin(raised) * np.cos(inward),
            )
        )
        for found, joint in zip((shoulders, elbows, wrists), (shoulder, elbow, wrist), strict=True):
            found.append(joint)
    head = neck + 0.084 * h * up + np.array((0.0, 0.0, 0.015 * h))
    return Skeleton(
        pelvis,
        neck,
        head,
        shoulders,
        elbows,
        wrists,
        hips,
        knees,
        ankles,
        toes,
        pose.head_turn,
        h / STANDARD_HEIGHT,
    )
