"""Contact sheets: images, each beside another picture."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from .canvas import DPI, INK, WRONG, add_title, blank_axes, draw_fitting

_TALL = 1.95  # inches of a row
_WIDE = 11.4  # inches of a sheet, about
_WIDEST = 13.0  # and at most: one panorama among the images does not widen all


class Pair(NamedTuple):
    """An image and a picture beside it, or why there is none.

    Attributes:
        image: RGB, uint8 (H, W, 3).
        picture: RGB, uint8, of any size, drawn as high as the image; or a few words.
        caption: a short text above them.
    """

    image: np.ndarray
    picture: np.ndarray | str
    caption: str = ""


def pairs_figure(
    pairs: Sequence[Pair], title: str, columns: int | None = None, below: float = 0.1
) -> Figure:
    """Each image beside its picture.

    Args:
        columns: pairs side by side; as many as have room without it.
        below: inches that stay free below them.
    """
    aspect = max(map(_aspect, pairs))
    columns = columns or max(1, min(len(pairs), int(_WIDE / (_TALL * aspect))))
    rows = -(-len(pairs) // columns)
    # A title needs some room even above a single pair.
    wide = min(max(_TALL * aspect * columns, 4.0), _WIDEST)
    size = (wide, _TALL * rows + 0.7 + below)
    figure = Figure(figsize=size, dpi=DPI, facecolor="white")
    tall = figure.get_figheight()
    grid = figure.add_gridspec(
        rows,
        columns,
        left=0.02,
        right=0.98,
        wspace=0.1,
        hspace=0.1,
        top=1 - 0.75 / tall,
        bottom=below / tall,
    )
    for index, pair in enumerate(pairs):
        axes = figure.add_subplot(grid[divmod(index, columns)])
        height, width = pair.image.shape[:2]
        right = 1.06 * width
        beside = _width_beside(pair)
        blank_axes(axes, right + beside, height)
        draw_fitting(axes, pair.image, (0, 0, width, height))
        if isinstance(pair.picture, str):
            axes.text(
                right + beside / 2,
                height / 2,
                pair.picture,
                ha="center",
                va="center",
                fontsize=7,
                color=WRONG,
            )
        else:
            draw_fitting(axes, pair.picture, (right, 0, beside, height))
        axes.set_title(pair.caption, fontsize=5.5, color=INK, pad=2)
    add_title(figure, title)
    return figure


def _width_beside(pair: Pair) -> float:
    """Of the picture, in pixels of the image."""
    height, width = pair.image.shape[:2]
    if isinstance(pair.picture, str):
        return width
    return height * pair.picture.shape[1] / pair.picture.shape[0]


def _aspect(pair: Pair) -> float:
    height, width = pair.image.shape[:2]
    return (1.06 * width + _width_beside(pair)) / height
