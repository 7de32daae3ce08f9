"""What a training recorded, over its epochs."""

from collections.abc import Sequence
from itertools import cycle
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .canvas import DPI, FAINT, SERIES, add_title, diagram_axes


class Curve(NamedTuple):
    """One value an epoch; ``name`` goes into the legend."""

    name: str
    values: Sequence[float]


class Panel(NamedTuple):
    """A diagram of one quantity: its title, its curves, and the epochs before its first value."""

    title: str
    curves: Sequence[Curve]
    first_epoch: int = 0


def losses_figure(
    panels: Sequence[Panel], title: str, boundary: int | None = None, columns: int = 2
) -> Figure:
    """Curves over the epochs, one diagram a panel; ``boundary`` epochs make up stage 1."""
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(5.4 * columns, 2.9 * rows + 0.7), dpi=DPI, facecolor="white")
    grid = figure.add_gridspec(
        rows,
        columns,
        left=0.06,
        right=0.98,
        hspace=0.42,
        wspace=0.2,
        top=1 - 0.95 / figure.get_figheight(),
        bottom=0.55 / figure.get_figheight(),
    )
    names = dict.fromkeys(curve.name for panel in panels for curve in panel.curves)
    colours = dict(zip(names, cycle(SERIES), strict=False))
    last = max(p.first_epoch + len(c.values) for p in panels for c in p.curves)
    for index, panel in enumerate(panels):
        axes = figure.add_subplot(grid[divmod(index, columns)])
        for curve in panel.curves:
            epochs = np.arange(len(curve.values)) + panel.first_epoch + 1
            colour = colours[curve.name]
            axes.plot(epochs, curve.values, "-o", color=colour, ms=3.5, lw=1.8, label=curve.name)
        if boundary is not None:
            axes.axvspan(boundary + 0.5, last + 0.5, color="#0077bb", alpha=0.07, lw=0)
            for middle, name in (
                ((boundary + 1) / 2, "stage 1"),
                ((boundary + last + 1) / 2, "stage 2"),
            ):
                axes.text(
                    middle,
                    1.0,
                    name,
                    transform=axes.get_xaxis_transform(),
                    ha="center",
                    va="bottom",
                    fontsize=7.5,
                    color=FAINT,
                )
        axes.set_xlim(0.5, last + 0.5)
        diagram_axes(axes, panel.title, pad=14)
        axes.set_xlabel("epoch", fontsize=8.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False, fontsize=8.5)
    add_title(figure, title)
    return figure
