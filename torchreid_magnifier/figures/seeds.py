"""Measurements that were repeated with several seeds."""

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import offset_copy

from .canvas import DPI, SERIES, add_title, diagram_axes


class Repeated(NamedTuple):
    """One measurement, made once with each seed."""

    values: Sequence[float]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def spread(self) -> float | None:
        """Sample standard deviation; None of a single value."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


def variants_figure(panels: Mapping[str, Mapping[str, Repeated | None]], title: str) -> Figure:
    """Variants side by side, one diagram a measure: every seed, the mean and the spread.

    Args:
        panels: by the measure's name, what was found by the variant's name; None if nothing yet.
        title: of the figure.
    """
    count = max(len(variants) for variants in panels.values())
    figure = Figure(
        figsize=(max(7.0, 1.1 + 0.95 * count * len(panels)), 3.9), dpi=DPI, facecolor="white"
    )
    grid = figure.add_gridspec(
        1, len(panels), left=0.08, right=0.98, top=0.78, bottom=0.12, wspace=0.2
    )
    for index, (measure, variants) in enumerate(panels.items()):
        axes = figure.add_subplot(grid[index])
        for place, found in enumerate(variants.values()):
            if found is not None:
                _repeated(figure, axes, place, found, SERIES[1])
                beside = offset_copy(axes.transData, figure, x=9, units="points")
                text = f"{found.mean:.1f}"
                axes.text(place, found.mean, text, transform=beside, va="center", fontsize=8)
        axes.set_xlim(-0.5, len(variants) - 0.35)
        axes.set_xticks(range(len(variants)), list(variants))
        axes.margins(y=0.12)
        diagram_axes(axes, measure)
    add_title(figure, title)
    return figure


def sweep_figure(
    curves: Mapping[str, Mapping[int, Repeated]], title: str, xlabel: str, ylabel: str
) -> Figure:
    """Curves of means over a whole number, with every seed and the spread at each point."""
    figure = Figure(figsize=(7.0, 4.2), dpi=DPI, facecolor="white")
    axes = figure.add_axes((0.1, 0.13, 0.87, 0.66))
    for index, (name, points) in enumerate(curves.items()):
        colour = SERIES[1 + index]
        shift = 0.03 * (index - (len(curves) - 1) / 2)  # where curves meet, both bars are seen
        for x, found in points.items():
            _repeated(figure, axes, x + shift, found, colour)
        means = [found.mean for found in points.values()]
        axes.plot([x + shift for x in points], means, color=colour, lw=1.8, label=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(xlabel, fontsize=9)
    axes.margins(y=0.12)
    diagram_axes(axes, ylabel)
    axes.legend(frameon=False, fontsize=9)
    add_title(figure, title)
    return figure


def _repeated(figure: Figure, axes: Axes, x: float, found: Repeated, colour: str) -> None:
    """The mean as a dot with the spread as bars, and each seed as a ring to the left of it."""
    beside = offset_copy(axes.transData, figure, x=-8, units="points")
    (rings,) = axes.plot([x] * len(found.values), found.values, "o", ms=4.5, transform=beside)
    rings.set(markerfacecolor="none", markeredgecolor=colour)
    axes.errorbar(x, found.mean, yerr=found.spread, fmt="o", color=colour, capsize=4, lw=1.4)
