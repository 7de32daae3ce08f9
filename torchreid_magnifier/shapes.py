"""Outlines of rounded things, as polygons: of limbs, heads and trunks, of people and of labels."""

import cmath
import math
from collections.abc import Sequence

import cv2
import numpy as np

_ARC = np.linspace(0, 1, 7)
_CIRCLE = np.exp(2j * np.pi * np.arange(20) / 20)
# A capsule's outline angles are heading + touch * _OPENING + _TURN: an arc around each end.
_OPENING = np.concatenate([2 * _ARC - 1, 1 - 2 * _ARC])
_TURN = np.concatenate([0 * _ARC, 2 * np.pi * _ARC])


def capsule(
    start: np.ndarray, end: np.ndarray, start_radius: float, end_radius: float
) -> np.ndarray:
    """Return the outline (P, 2) of two discs and what lies between them; radii in pixels."""
    a, b = complex(*start), complex(*end)
    length = abs(b - a)
    if length <= abs(start_radius - end_radius) + 1e-6:  # one disc lies inside the other
        centre, radius = (start, start_radius) if start_radius > end_radius else (end, end_radius)
        return ellipse(centre, radius, radius)
    touch = math.acos((start_radius - end_radius) / length)
    plane = np.exp(1j * (cmath.phase(b - a) + touch * _OPENING + _TURN))
    half = len(_ARC)
    plane[:half] = plane[:half] * end_radius + b
    plane[half:] = plane[half:] * start_radius + a
    return plane.view(np.float64).reshape(-1, 2)


def ellipse(
    centre: np.ndarray | Sequence[float], rx: float, ry: float, tilt: float = 0.0
) -> np.ndarray:
    """Return the outline (20, 2) of an ellipse; ``tilt`` turns it, in radians."""
    plane = (rx * _CIRCLE.real + 1j * ry * _CIRCLE.imag) * cmath.rect(1, tilt) + complex(*centre)
    return plane.view(np.float64).reshape(-1, 2)


def hull(*outlines: np.ndarray) -> np.ndarray:
    """Return the convex hull (P, 2) of the points of all outlines."""
    return cv2.convexHull(np.concatenate(outlines).astype(np.float32))[:, 0].astype(np.float64)
