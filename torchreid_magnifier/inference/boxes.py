"""Boxes of people in frames: what they must be, and the crops that they mean."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import MagnifierError

_MOST = 3  # boxes that a message names


class BoxError(MagnifierError, ValueError):
    """A frame or boxes that cannot be what was meant."""


def as_corners(boxes: Any) -> np.ndarray:
    """Return boxes as float64 (N, 4), after a look at whether they can be meant.

    Args:
        boxes: corners x1, y1, x2, y2 in pixels, (N, 4), or ``supervision.Detections``; N may be 0.

    Raises:
        BoxError: another shape, numbers that are not finite, corners in another order, or shares of
            the frame.
    """
    given: ArrayLike = getattr(boxes, "xyxy", boxes)
    try:
        corners = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BoxError(f"boxes: expected numbers (N, 4), found {given!r}") from error
    if corners.size == 0:
        return corners.reshape(0, 4)
    if corners.ndim != 2 or corners.shape[1] != 4:
        raise BoxError(
            f"boxes: expected x1, y1, x2, y2 of each, shape (N, 4), found shape {corners.shape}"
        )
    if not np.isfinite(corners).all():
        rows = np.flatnonzero(~np.isfinite(corners).all(1))
        raise BoxError(f"boxes: expected finite numbers, found {_listed(corners, rows)}")
    if (corners[:, :2] > corners[:, 2:]).any():
        rows = np.flatnonzero((corners[:, :2] > corners[:, 2:]).any(1))
        raise BoxError(
            f"boxes: expected x1, y1, x2, y2 with x1 <= x2 and y1 <= y2, found "
            f"{_listed(corners, rows)}. Are they x, y, width, height?"
        )
    if ((corners >= 0) & (corners <= 1)).all():
        raise BoxError(
            "boxes: expected pixels, found no number above 1: multiply them by the frame's width "
            "and height"
        )
    return corners


def crop_bounds(corners: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels that boxes touch inside a frame.

    Args:
        corners: of ``as_corners``, (N, 4).
        width, height: of the frame.

    Returns:
        Left, top, right and bottom, the last two exclusive, int (N, 4); and which boxes have no
        pixel in the frame, bool (N,).
    """
    inside = corners.clip(0, [width, height, width, height])
    bounds = np.concatenate([np.floor(inside[:, :2]), np.ceil(inside[:, 2:])], 1).astype(int)
    return bounds, np.asarray((inside[:, :2] >= inside[:, 2:]).any(1))


def require_inside(corners: np.ndarray, empty: np.ndarray, width: int, height: int) -> None:
    """Check that no box is beyond the frame.

    Raises:
        BoxError: some have no pixel in it, as ``crop_bounds`` says.
    """
    if empty.any():
        raise BoxError(
            f"{int(empty.sum())} of {len(corners)} boxes have no pixel in the frame of "
            f"{width}x{height}: {_listed(corners, np.flatnonzero(empty))}. Are they of an image of "
            "another size?"
        )


def _listed(corners: np.ndarray, rows: np.ndarray) -> str:
    named = [f"number {row}: {corners[row].tolist()}" for row in rows[:_MOST]]
    return "; ".join(named) + ("; …" if len(rows) > _MOST else "")
