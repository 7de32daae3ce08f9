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
    count = max(len(found) for example in examples for found in example.rankings.values())
    # In inches: every image is one inch tall, and its room as wide as the widest one needs.
    width = max(
        _aspect(image) for image in [*(h.image for h in hits), *(e.query for e in examples)]
    )
    gap, space = 0.14 * width, 0.75 * width  # between images, between networks
    block = count * (width + gap) - gap
    whys = 1.05 if any(hit.why is not None for hit in hits) else 0.0
    room = 1 + whys + (0.13 if any(hit.caption for hit in hits) else 0)
    line = room + 0.34
    total = width + len(names) * (space + block)
    bottom = 0.35 if bar is None else 0.85  # legend, bar
    above = 0.75 + 0.2 * max(1 + name.count("\n") for name in names)  # title, names
    figure = Figure(
        figsize=(total + 0.5, len(examples) * line - 0.34 + above + bottom),
        dpi=DPI,
        facecolor="white",
    )
    wide, tall = figure.get_figwidth(), figure.get_figheight()
    axes = figure.add_axes((0.25 / wide, bottom / tall, total / wide, 1 - (above + bottom) / tall))
    blank_axes(axes, total, len(examples) * line - 0.34)
    for row, example in enumerate(examples):
        top = row * line
        _draw_framed(axes, example.query, (0, top, width, 1), ASKED)
        axes.text(0, top - 0.05, example.caption, fontsize=8, color=INK, va="bottom")
        for number, found in enumerate(example.rankings.values()):
            for rank, hit in enumerate(found):
                left = width + space + number * (block + space) + rank * (width + gap)
                colour = {True: RIGHT, False: WRONG, None: UNKNOWN}[hit.right]
                _draw_framed(axes, hit.image, (left, top, width, 1), colour, hit.right is False)
                if hit.why is not None:
                    draw_fitting(axes, hit.why, (left, top + whys, width, 1))
                axes.text(
                    left + width / 2,
                    top + 1.03 + whys,
                    hit.caption,
                    ha="center",
                    va="top",
                    fontsize=6.5,
                    color=FAINT,
                )
    for number, name in enumerate(names):
        first, _, rest = name.partition("\n")
        middle = width + space + number * (block + space) + block / 2
        rest_high = -0.24 if rest else -0.06
        for y, text, size, weight in ((rest_high, first, 11, "bold"), (-0.06, rest, 8.5, "normal")):
            axes.text(
                middle,
                y,
                text,
                ha="center",
                va="bottom",
                fontsize=size,
                fontweight=weight,
                color=INK,
            )
    add_title(figure, title)
    _legend(figure, {hit.right for hit in hits}, (bottom - 0.35) / tall)
    if bar is not None:
        add_heat_bar(figure, bar)
    return figure


def _legend(figure: Figure, rights: set[bool | None], above: float) -> None:
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
