"""Sheets of images, each beside pictures of itself: its parts, its heat, its texture."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from .canvas import FAINT, INK, TITLE, draw_picture, sheet
from .overlays import HeatBar, add_heat_bar, add_parts_legend, mask_overlay

_TALL = 1.5  # inches of a picture
_WIDE = 11.0  # inches of a sheet, if there are rows enough to fill it
_GAP, _SPACE = 0.07, 0.35  # between pictures of one row; between rows side by side
_CAPTION = 0.24  # inches below a picture
_LETTERS = 14  # of a heading, to the inch


class PictureRow(NamedTuple):
    """Pictures that belong together, and a short text below the first one.

    Attributes:
        pictures: RGB, uint8 (H, W, 3), of any size, or a few words in place of one.
        caption: the text.
    """

    pictures: Sequence[np.ndarray | str]
    caption: str = ""


def pictures_figure(
    rows: Sequence[PictureRow],
    title: str,
    headings: Sequence[str] = (),
    below: float = 0.1,
    least: float = 4.0,
) -> Figure:
    """Draw rows of pictures, as many side by side as have room.

    Args:
        rows: as many pictures each as there are headings, if there are any.
        title: of the figure; its first line large.
        headings: what the pictures show, from left to right.
        below: inches that stay free for a legend.
        least: inches of width.
    """
    shapes = [p.shape for row in rows for p in row.pictures if not isinstance(p, str)]
    # One panorama among the images does not widen all.
    width = _TALL * min(1.0, max(wide / tall for tall, wide, _ in shapes))
    step = width + _GAP
    block = max(len(row.pictures) for row in rows) * step - _GAP + _SPACE
    across = max(1, min(len(rows), round((_WIDE + _SPACE) / block)))
    down = -(-len(rows) // across)
    headings = [_broken(heading, round(width * _LETTERS)) for heading in headings]
    above = TITLE + 0.15 * max((1 + heading.count("\n") for heading in headings), default=0)
    line = _TALL + (_CAPTION if any(row.caption for row in rows) else _GAP)
    figure, axes = sheet(title, max(across * block - _SPACE, least), down * line, above, below)
    for index, (pictures, caption) in enumerate(rows):
        top, left = line * (index // across), block * (index % across)
        for number, picture in enumerate(pictures):
            draw_picture(axes, picture, (left + number * step, top, width, _TALL))
        axes.text(left, top + _TALL + 0.03, caption, va="top", fontsize=6, color=FAINT)
    for column in range(across):
        for number, heading in enumerate(headings):
            middle = column * block + number * step + width / 2
            axes.text(middle, -0.06, heading, ha="center", va="bottom", fontsize=8.5, color=INK)
    return figure


def heat_figure(
    rows: Sequence[PictureRow], headings: Sequence[str], title: str, bar: HeatBar
) -> Figure:
    """Draw rows of pictures under headings, and the bar that says what their colours mean."""
    figure = pictures_figure(rows, title, headings, below=0.6, least=6.2)
    add_heat_bar(figure, bar)
    return figure


def masks_figure(rows: Sequence[PictureRow], title: str, headings: Sequence[str] = ()) -> Figure:
    """Draw each image beside itself with its parts in colour, and a legend of the parts.

    Args:
        rows: an image, and its labels 0..7 by one source or several, of any size (they are scaled
            to the image), or why there are none.
        title, headings: see ``pictures_figure``.
    """
    drawn = []
    for (image, *labels), caption in rows:
        assert isinstance(image, np.ndarray)
        parts = [one if isinstance(one, str) else mask_overlay(image, one) for one in labels]
        drawn.append(PictureRow([image, *parts], caption))
    figure = pictures_figure(drawn, title, headings, below=0.5, least=5.0)
    add_parts_legend(figure)
    return figure


def _broken(heading: str, letters: int) -> str:
    """The heading in lines of at most so many letters, where its words allow that."""
    lines = [""]
    for word in re.split(r"(?<=[ _-])", heading):
        if lines[-1] and len(lines[-1]) + len(word.rstrip()) > letters:
            lines.append("")
        lines[-1] += word
    return "\n".join(line.rstrip() for line in lines)
