"""Queries and the gallery images that networks find nearest."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from .canvas import ASKED, FAINT, INK, RIGHT, UNKNOWN, WRONG, draw_picture, sheet
from .overlays import HeatBar, add_heat_bar, add_parts_legend

_FRAMES = {
    True: (RIGHT, "the same person"),
    False: (WRONG, "somebody else"),
    None: (UNKNOWN, "found"),
}


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
        why: the query again, as ``Hit.why``.
    """

    query: np.ndarray
    rankings: Mapping[str, Sequence[Hit]]
    caption: str = ""
    why: np.ndarray | None = None


def rankings_figure(
    examples: Sequence[RankingExample],
    title: str,
    bar: HeatBar | None = None,
    parts: bool = False,
) -> Figure:
    """Draw the nearest gallery images of each query by each network, side by side.

    Right ones have a green frame, wrong ones a red frame and a cross, others a grey one; below each
    is why it was found, if that is given. Images may have any sizes: they are drawn equally tall.

    Args:
        examples: all with the same networks.
        title: of the figure; its first line large.
        bar: what the colours of ``Hit.why`` say.
        parts: they say body parts.
    """
    hits = [hit for example in examples for found in example.rankings.values() for hit in found]
    shapes = [image.shape for image in [e.query for e in examples] + [h.image for h in hits]]
    # In inches: every image is one inch tall, and its room as wide as the widest one needs, but one
    # panorama does not widen all.
    width = min(1.0, max(wide / tall for tall, wide, _ in shapes))
    step, space = 1.14 * width, 0.75 * width  # from image to image; between networks
    count = max(len(found) for example in examples for found in example.rankings.values())
    block = max(count * step - 0.14 * width, 1.9)  # names need room
    names = list(examples[0].rankings)
    starts = [width + space + number * (block + space) for number in range(len(names))]
    whys = 1.05 if any(hit.why is not None for hit in hits) else 0.0
    line = 1.34 + whys + 0.13 * any(hit.caption for hit in hits)
    lines = max(name.count("\n") for name in names)
    size = max(starts[-1] + block, 6.4), len(examples) * line - 0.3  # title and legend need room
    below = 0.95 if bar is not None or parts else 0.4
    figure, axes = sheet(title, *size, above=1.2 + 0.17 * lines, below=below)
    for row, example in enumerate(examples):
        top = row * line
        draw_picture(axes, example.query, (0, top, width, 1), ASKED)
        if example.why is not None:
            draw_picture(axes, example.why, (0, top + whys, width, 1))
        axes.text(0, top - 0.05, example.caption, fontsize=8, color=INK, va="bottom")
        for start, found in zip(starts, example.rankings.values(), strict=True):
            for rank, hit in enumerate(found):
                left, colour = start + rank * step, _FRAMES[hit.right][0]
                draw_picture(axes, hit.image, (left, top, width, 1), colour, hit.right is False)
                if hit.why is not None:
                    draw_picture(axes, hit.why, (left, top + whys, width, 1))
                x, y = left + width / 2, top + 1.03 + whys
                axes.text(x, y, hit.caption, ha="center", va="top", fontsize=6.5, color=FAINT)
    for start, name in zip(starts, names, strict=True):
        first, _, rest = name.partition("\n")
        middle: Any = {"x": start + block / 2, "ha": "center", "va": "bottom", "color": INK}
        axes.text(y=-0.24, s=rest, fontsize=8.5, **middle)
        axes.text(y=-0.24 - 0.17 * lines, s=first, fontsize=11, weight="bold", **middle)
    rights = {hit.right for hit in hits}
    frames = [frame for right, frame in _FRAMES.items() if right in rights] + [(ASKED, "query")]
    figure.legend(
        handles=[Patch(fc="white", ec=colour, lw=2.5, label=label) for colour, label in frames],
        loc="lower center",
        bbox_to_anchor=(0.5, (below - 0.35) / figure.get_figheight()),
        ncol=len(frames),
        frameon=False,
        fontsize=9,
    )
    if bar is not None:
        add_heat_bar(figure, bar)
    if parts:
        add_parts_legend(figure)
    return figure
