"""Queries and the gallery images that networks find nearest."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from .canvas import (
    ASKED,
    DPI,
    FAINT,
    INK,
    RIGHT,
    UNKNOWN,
    WRONG,
    Box,
    add_title,
    blank_axes,
    draw_fitting,
)
from .heat import HeatBar, add_heat_bar

_BETWEEN = 0.34  # inches between the rows of two queries


class Hit(NamedTuple):
    """A gallery image in a ranking.

    Attributes:
        image: RGB, uint8 (H, W, 3).
        right: whether it shows the query's person; None if nobody knows.
        caption: a few letters below it, such as its similarity.
        why: the image again, in the colours of what explains its place; RGB, uint8.
    """

    image: np.ndarray
    right: bool | None
    caption: str = ""
    why: np.ndarray | None = None


class RankingExample(NamedTuple):
    """A query and, for each network, the gallery images that it finds nearest, nearest first.

    Attributes:
        query: RGB, uint8 (H, W, 3).
        rankings: the hits by the network's name.
        caption: a short text above the query.
    """

    query: np.ndarray
    rankings: Mapping[str, Sequence[Hit]]
    caption: str = ""


def rankings_figure(
    examples: Sequence[RankingExample], title: str, bar: HeatBar | None = None
) -> Figure:
    """The nearest gallery images of each query by each network, side by side.

    Right ones have a green frame, wrong ones a red frame and a cross, others a grey one; below each
    is why it was found, if that is given. Images may have any sizes: they are drawn equally tall.

    Args:
        examples: all with the same networks.
        title: of the figure; its first line large.
        bar: what the colours of ``Hit.why`` tell.
    """
    hits = [hit for example in examples for found in example.rankings.values() for hit in found]
    names = list(examples[0].rankings)
    # In inches: every image is one inch tall, and its room as wide as the widest one needs.
    width = max(
        _aspect(picture) for picture in [e.query for e in examples] + [h.image for h in hits]
    )
    step, space = 1.14 * width, 0.75 * width  # from image to image; between networks
    count = max(len(found) for example in examples for found in example.rankings.values())
    block = max(count * step - 0.14 * width, 1.9)  # names need room
    starts = [width + space + number * (block + space) for number in range(len(names))]
    total = max(starts[-1] + block, 6.4)  # so do title and legend
    whys = 1.05 if any(hit.why is not None for hit in hits) else 0.0
    captions = 0.13 if any(hit.caption for hit in hits) else 0.0
    line = 1 + whys + captions + _BETWEEN
    above = 0.94 + 0.15 * title.count("\n") + 0.17 * max(name.count("\n") for name in names)
    below = 0.35 if bar is None else 0.8  # legend, bar
    high = len(examples) * line - _BETWEEN
    figure = Figure(figsize=(total + 0.5, high + above + below), dpi=DPI, facecolor="white")
    wide, tall = figure.get_figwidth(), figure.get_figheight()
    axes = figure.add_axes((0.25 / wide, below / tall, total / wide, high / tall))
    blank_axes(axes, total, high)
    for row, example in enumerate(examples):
        top = row * line
        _draw_framed(axes, example.query, (0, top, width, 1), ASKED)
        axes.text(0, top - 0.05, example.caption, fontsize=8, color=INK, va="bottom")
        for start, found in zip(starts, example.rankings.values(), strict=True):
            for rank, hit in enumerate(found):
                _draw_hit(axes, hit, (start + rank * step, top, width, 1), whys)
    for start, name in zip(starts, names, strict=True):
        _draw_name(axes, name, start + block / 2)
    add_title(figure, title)
    _add_legend(figure, {hit.right for hit in hits}, (below - 0.35) / tall)
    if bar is not None:
        add_heat_bar(figure, bar)
    return figure


def _draw_hit(axes: Axes, hit: Hit, room: Box, whys: float) -> None:
    """A hit in its room, so far below why it was found, and below both its caption."""
    left, top, width, height = room
    colour = {True: RIGHT, False: WRONG, None: UNKNOWN}[hit.right]
    _draw_framed(axes, hit.image, room, colour, crossed=hit.right is False)
    if hit.why is not None:
        draw_fitting(axes, hit.why, (left, top + whys, width, height))
    middle, below = left + width / 2, top + height + whys + 0.03
    axes.text(middle, below, hit.caption, ha="center", va="top", fontsize=6.5, color=FAINT)


def _draw_name(axes: Axes, name: str, middle: float) -> None:
    """The name of a network, its further lines small, above the captions of queries."""
    first, *others = name.split("\n")
    y = -0.24
    for text in reversed(others):
        axes.text(middle, y, text, ha="center", va="bottom", fontsize=8.5, color=INK)
        y -= 0.17
    axes.text(middle, y, first, ha="center", va="bottom", fontsize=11, weight="bold", color=INK)


def _add_legend(figure: Figure, rights: set[bool | None], above: float) -> None:
    """Of the frames that occur; ``above`` of the figure's lower edge, as a share of its height."""
    meanings = {True: (RIGHT, "the same person"), False: (WRONG, "somebody else")}
    frames = [found for right, found in meanings.items() if right in rights]
    frames += [(UNKNOWN, "found")] if None in rights else []
    figure.legend(
        handles=[
            Patch(facecolor="white", edgecolor=colour, linewidth=2.5, label=label)
            for colour, label in [*frames, (ASKED, "query")]
        ],
        loc="lower center",
        bbox_to_anchor=(0.5, above),
        ncol=len(frames) + 1,
        frameon=False,
        fontsize=9,
    )


def _aspect(image: np.ndarray) -> float:
    """Width by height; of images wider than tall 1, so that one panorama does not widen all."""
    height, width = image.shape[:2]
    return min(width / height, 1.0)


def _draw_framed(
    axes: Axes, image: np.ndarray, room: Box, colour: str, crossed: bool = False
) -> None:
    left, top, width, height = draw_fitting(axes, image, room)
    axes.add_patch(
        Rectangle((left, top), width, height, fill=False, ec=colour, lw=2.2, clip_on=False)
    )
    if crossed:
        size = 0.2 * width
        right, bottom = left + width - 0.08 * width, top + 0.08 * width + size
        for x in ((right - size, right), (right, right - size)):
            axes.plot(x, (bottom - size, bottom), color=colour, lw=2, clip_on=False)
