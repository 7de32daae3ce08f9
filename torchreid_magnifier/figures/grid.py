"""Images, each in a row of pictures of itself under common headings."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from .canvas import DPI, FAINT, INK, add_title, blank_axes, draw_fitting
from .heat import HeatBar, add_heat_bar

_TALL = 1.5  # inches of a picture
_WIDE = 9.0  # inches of a figure, if there are rows enough to fill them
_LETTERS = 14  # of a heading, to the inch


class PictureRow(NamedTuple):
    """Pictures of one image, each RGB, uint8 (H, W, 3), and a short text below the first one."""

    pictures: Sequence[np.ndarray]
    caption: str = ""


def heat_figure(
    rows: Sequence[PictureRow],
    headings: Sequence[str],
    title: str,
    bar: HeatBar,
) -> Figure:
    """Rows of pictures under headings, in as many blocks side by side as have room; a heat bar.

    Args:
        rows: as many pictures each as there are headings.
        headings: what the pictures show; of the first, the image, and of the others.
        title: of the figure.
        bar: what the colours of the pictures tell.
    """
    shapes = [picture.shape for row in rows for picture in row.pictures]
    width = _TALL * min(1.0, max(wide / tall for tall, wide, _ in shapes))
    gap, space, line = 0.07, 0.35, _TALL + 0.24
    block = len(headings) * (width + gap) - gap
    across = max(1, min(len(rows), round((_WIDE + space) / (block + space))))
    down = -(-len(rows) // across)
    total = max(across * (block + space) - space, 6.2)  # the title and the bar need room
    headings = [_broken(heading, round(width * _LETTERS)) for heading in headings]
    top, bottom = 0.75 + 0.15 * max(1 + heading.count("\n") for heading in headings), 0.5
    figure = Figure(figsize=(total + 0.5, down * line + top + bottom), dpi=DPI, facecolor="white")
    wide, tall = figure.get_figwidth(), figure.get_figheight()
    axes = figure.add_axes((0.25 / wide, bottom / tall, total / wide, down * line / tall))
    blank_axes(axes, total, down * line)
    for index, row in enumerate(rows):
        place, column = divmod(index, across)
        for number, picture in enumerate(row.pictures):
            left = column * (block + space) + number * (width + gap)
            draw_fitting(axes, picture, (left, place * line, width, _TALL))
        left = column * (block + space)
        axes.text(left, place * line + _TALL + 0.03, row.caption, va="top", fontsize=6, color=FAINT)
    for column in range(across):
        for number, heading in enumerate(headings):
            middle = column * (block + space) + number * (width + gap) + width / 2
            axes.text(middle, -0.06, heading, ha="center", va="bottom", fontsize=8.5, color=INK)
    add_title(figure, title)
    add_heat_bar(figure, bar)
    return figure


def _broken(heading: str, letters: int) -> str:
    """The heading in lines of at most so many letters, where its words allow that."""
    lines = [""]
    for word in re.split(r"(?<=[ _-])", heading):
        if lines[-1] and len(lines[-1]) + len(word.rstrip()) > letters:
            lines.append("")
        lines[-1] += word
    return "\n".join(line.rstrip() for line in lines)
