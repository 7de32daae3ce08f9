"""Whose parts a label map shows: the person whose box the image is, and how sure that is.

Everybody else in the image is background.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from ..parts import BACKGROUND, HEAD, TORSO
from .drawing import draw_parts
from .poses import Pose, central_pose, prominence

_RIVAL = 0.5  # share of the chosen one's prominence from which on somebody else may be meant
_SMALL = 0.35  # of the image's height: a box that was drawn around somebody is filled more
_SAME = 0.5  # intersection over union of two figures that are one person, found twice
_NEARER = 0.03  # of the image's height, by which feet stand lower that are nearer to the camera
# Of the image's pixels: a figure, and a head, that is more than a splinter.
_FIGURE, _HEAD = 0.03, 0.01


class Shown(NamedTuple):
    """A label map and how sure its person is.

    Attributes:
        labels: uint8 (H, W), 0 to 7.
        doubt: why it may be of somebody else than meant, "" if nothing speaks for that.
    """

    labels: np.ndarray
    doubt: str


def draw_person(poses: Sequence[Pose], height: int, width: int) -> Shown:
    """Return the parts of the person whose box the image is, drawn from poses.

    What others hide who stand nearer to the camera is background too.

    Args:
        poses: of all people in the image.
        height, width: of the image in pixels.
    """
    person = central_pose(poses, height, width)
    if person is None:
        return Shown(np.full((height, width), BACKGROUND, np.uint8), "")
    labels = draw_parts(person, height, width)
    drawn = labels != BACKGROUND
    rivals = 0
    for other in poses:
        if other is person or not len(other.points):
            continue
        figure = draw_parts(other, height, width) != BACKGROUND
        if (drawn & figure).sum() > _SAME * max((drawn | figure).sum(), 1):
            continue
        rivals += prominence(other, height, width) >= _RIVAL * prominence(person, height, width)
        if other.points[:, 1].max() > person.points[:, 1].max() + _NEARER * height:
            labels[figure] = BACKGROUND
    marked = sum(bool(pose.is_target) for pose in poses)
    if marked:
        return Shown(labels, f"{marked} people are marked as its target" if marked > 1 else "")
    return Shown(labels, _doubt(rivals, np.ptp(person.points[:, 1].clip(0, height)) / height))


def keep_person(labels: np.ndarray) -> Shown:
    """Return the parts of the person whose box the image is, from a label map of everybody in it.

    A figure that is apart from the others and has a head and a torso is a person; what else lies
    apart belongs to the nearest figure, as a hand beyond a sleeve does.

    Args:
        labels: uint8 (H, W), 0 to 7.
    """
    height, width = labels.shape
    count, places, boxes, _ = cv2.connectedComponentsWithStats(
        (labels != BACKGROUND).astype(np.uint8), connectivity=8
    )
    figures = [
        figure
        for figure in range(1, count)
        if boxes[figure, cv2.CC_STAT_AREA] >= _FIGURE * labels.size
        and {HEAD, TORSO} <= set(np.unique(labels[places == figure]))
    ]
    if not figures:
        return Shown(labels, "")
    sizes = {figure: _box_prominence(boxes[figure], height, width) for figure in figures}
    chosen = max(figures, key=sizes.__getitem__)
    rivals = sum(size >= _RIVAL * sizes[chosen] for size in sizes.values()) - 1
    if len(figures) > 1:
        away = np.array([
            cv2.distanceTransform((places != figure).astype(np.uint8), cv2.DIST_L2, 3)
            for figure in figures
        ])  # fmt: skip
        nearest = np.array(figures)[away.argmin(axis=0)]
        labels = np.where(nearest == chosen, labels, BACKGROUND).astype(np.uint8)
    elif _heads(labels) > 1:
        return Shown(labels, "2 heads in one figure")
    return Shown(labels, _doubt(rivals, boxes[chosen, cv2.CC_STAT_HEIGHT] / height))


def _doubt(rivals: int, tall: float) -> str:
    if rivals:
        return f"{rivals + 1} people are alike in size and place"
    return f"the person is {tall:.0%} of its height" if tall < _SMALL else ""


def _box_prominence(box: np.ndarray, height: int, width: int) -> float:
    left, _, across, down = box[:4]
    off_centre = abs(left + across / 2 - width / 2) / (width / 2)
    return float(across * down / (height * width) * (1 - off_centre))


def _heads(labels: np.ndarray) -> int:
    heads = cv2.connectedComponentsWithStats((labels == HEAD).astype(np.uint8), connectivity=8)
    areas = np.sort(heads[2][1:, cv2.CC_STAT_AREA])
    return int((areas >= max(_HEAD * labels.size, _RIVAL * areas[-1])).sum()) if len(areas) else 0
