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
    add_title,
    blank_axes,
    draw_picture,
)


class Hit(NamedTuple):
    """A gallery image in a ranking.

    Attributes:
        image: RGB, uint8 (H, W, 3).
        right: whether it shows the query's person; None if nobody knows.
        caption: a few letters below it, such as its similarity.
    """

    image: np.ndarray
    right: bool | None
    caption: str = ""


class RankingExample(NamedTuple):
    """A query and, for each network, the gallery images that it finds nearest, nearest first."""

    query: np.ndarray
    rankings: Mapping[str, Sequence[Hit]]
    caption: str = ""


def rankings_figure(examples: Sequence[RankingExample], title: str) -> Figure:
    """The nearest gallery images of each query by each network, side by side.

    Right ones have a green frame, wrong ones a red frame and a cross, others a grey one. Images may
    have any sizes: they are drawn equally tall.
    """
    hits = [hit for example in examples for hits in example.rankings.values() for hit in hits]
    names = list(examples[0].rankings)
    count = max(len(hits) for example in examples for hits in example.rankings.values())
    # In inches: every image is one inch tall, and its place as wide as the widest one needs.
    width = max(
        _aspect(image) for image in [*(h.image for h in hits), *(e.query for e in examples)]
    )
    gap, space = 0.14 * width, 0.75 * width  # between images, between networks
    block = count * (width + gap) - gap
    line = 1.34 + (0.1 if any(hit.caption for hit in hits) else 0)
    total = width + len(names) * (space + block)
    extra = 1.25  # title, legend and names of the networks
    figure = Figure(figsize=(total + 0.5, len(examples) * line + extra), dpi=DPI, facecolor="white")
    tall = figure.get_figheight()
    axes = figure.add_axes(
        (
            0.25 / figure.get_figwidth(),
            0.35 / tall,
            1 - 0.5 / figure.get_figwidth(),
            1 - extra / tall,
        )
    )
    blank_axes(axes, total, len(examples) * line - (line - 1))
    for row, example in enumerate(examples):
        top = row * line
        _draw_framed(axes, example.query, (0, top, width), ASKED)
        axes.text(0, top - 0.05, example.caption, fontsize=8, color=INK, va="bottom")
        for block_index, ranking in enumerate(example.rankings.values()):
            for rank, hit in enumerate(ranking):
                left = width + space + block_index * (block + space) + rank * (width + gap)
                colour = {True: RIGHT, False: WRONG, None: UNKNOWN}[hit.right]
                _draw_framed(axes, hit.image, (left, top, width), colour, hit.right is False)
                axes.text(
                    left + width / 2,
                    top + 1.04,
                    hit.caption,
                    ha="center",
                    va="top",
                    fontsize=6.5,
                    color=FAINT,
                )
    for block_index, name in enumerate(names):
        left = width + space + block_index * (block + space)
        axes.text(
            left + block / 2,
            -0.24,
            name,
            ha="center",
            va="bottom",
            fontsize=11,
            fontweight="bold",
            color=INK,
        )
    add_title(figure, title)
    known = {hit.right for hit in hits}
    shown = {
        RIGHT: "the same person" if known != {None} else None,
        WRONG: "somebody else" if known != {None} else None,
        UNKNOWN: "found" if None in known else None,
        ASKED: "query",
    }
    figure.legend(
        handles=[
            Patch(facecolor="white", edgecolor=colour, linewidth=2.5, label=label)
            for colour, label in shown.items()
            if label
        ],
        loc="lower center",
        ncol=len(shown),
        frameon=False,
        fontsize=9,
    )
    return figure


def _aspect(image: np.ndarray) -> float:
    """Width by height; of images wider than tall 1, so that one panorama does not widen all."""
    height, width = image.shape[:2]
    return min(width / height, 1.0)


def _draw_framed(
    axes: Axes,
    image: np.ndarray,
    place: tuple[float, float, float],
    colour: str,
    crossed: bool = False,
) -> None:
    """An image as large as fits into a place (left, top, width) one inch tall, in its middle."""
    left, top, room = place
    height = min(1.0, room * image.shape[0] / image.shape[1])
    width = height * image.shape[1] / image.shape[0]
    left, top = left + (room - width) / 2, top + (1 - height) / 2
    draw_picture(axes, image, left, top, width, height)
    axes.add_patch(
        Rectangle((left, top), width, height, fill=False, ec=colour, lw=2.2, clip_on=False)
    )
    if crossed:
        size = 0.2 * width
        right, bottom = left + width - 0.08 * width, top + 0.08 * width + size
        for x in ((right - size, right), (right, right - size)):
            axes.plot(x, (bottom - size, bottom), color=colour, lw=2, clip_on=False)
