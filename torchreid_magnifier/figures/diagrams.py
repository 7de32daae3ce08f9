"""Numbers: over the epochs of a training, over several seeds, and of pairs of body regions."""

import statistics
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import offset_copy

from ..parts import PARTS
from .canvas import FAINT, INK, SERIES, diagrams, style_diagram

_SIMILAR, _CHANGED = "viridis", "PuOr_r"  # perceptually uniform; and diverging, white in the middle
_LEAST_CHANGE = 0.02  # that has full colour, so that next to nothing looks like that


class Curve(NamedTuple):
    """One value an epoch; ``name`` goes into the legend."""

    name: str
    values: Sequence[float]


class Panel(NamedTuple):
    """A diagram of one quantity: its title, its curves, and the epochs before its first value."""

    title: str
    curves: Sequence[Curve]
    first_epoch: int = 0


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


class Similarity(NamedTuple):
    """The mean cosine similarity of each two regions, and a text with the mean of all.

    Attributes:
        matrix: (K, K) in [-1, 1], NaN where there is none.
        caption: a text below the name.
    """

    matrix: np.ndarray
    caption: str = ""


def losses_figure(
    panels: Sequence[Panel], title: str, boundary: int | None = None, columns: int = 2
) -> Figure:
    """Draw curves over the epochs, one diagram a panel; ``boundary`` epochs make up stage 1."""
    rows = -(-len(panels) // columns)
    figure, places = diagrams(title, rows, columns, 5.4 * columns, 2.9 * rows + 0.7)
    names = dict.fromkeys(curve.name for panel in panels for curve in panel.curves)
    colours = dict(zip(names, cycle(SERIES), strict=False))
    last = max(p.first_epoch + len(c.values) for p in panels for c in p.curves)
    for axes, panel in zip(places, panels):
        for name, values in panel.curves:
            epochs = np.arange(len(values)) + panel.first_epoch + 1
            axes.plot(epochs, values, "-o", color=colours[name], ms=3.5, lw=1.8, label=name)
        style_diagram(axes, panel.title, pad=14)
        if boundary is not None:
            axes.axvspan(boundary + 0.5, last + 0.5, color="#0077bb", alpha=0.07, lw=0)
            place: Any = {"transform": axes.get_xaxis_transform(), "ha": "center", "va": "bottom"}
            for middle, stage in ((boundary + 1) / 2, 1), ((boundary + last + 1) / 2, 2):
                axes.text(middle, 1, f"stage {stage}", fontsize=7.5, color=FAINT, **place)
        axes.set_xlim(0.5, last + 0.5)
        axes.set_xlabel("epoch", fontsize=8.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False, fontsize=8.5)
    for axes in places[len(panels) :]:
        axes.remove()
    return figure


def variants_figure(panels: Mapping[str, Mapping[str, Repeated | None]], title: str) -> Figure:
    """Draw variants side by side, one diagram a measure: every seed, the mean and the spread.

    Args:
        panels: by the measure's name, what was found by the variant's name; None if nothing yet.
        title: of the figure.
    """
    count = max(len(variants) for variants in panels.values())
    width = max(7.0, 1.1 + 0.95 * count * len(panels))
    figure, places = diagrams(title, 1, len(panels), width, 3.9)
    for axes, (measure, variants) in zip(places, panels.items()):
        for place, found in enumerate(variants.values()):
            if found is not None:
                _draw_repeated(figure, axes, place, found, SERIES[1])
                beside = offset_copy(axes.transData, figure, x=9, units="points")
                text = f"{found.mean:.1f}"
                axes.text(place, found.mean, text, transform=beside, va="center", fontsize=8)
        axes.set_xlim(-0.5, len(variants) - 0.35)
        axes.set_xticks(range(len(variants)), list(variants))
        axes.margins(y=0.12)
        style_diagram(axes, measure)
    return figure


def sweep_figure(
    curves: Mapping[str, Mapping[int, Repeated]], title: str, xlabel: str, ylabel: str
) -> Figure:
    """Draw curves of means over a whole number, with every seed and the spread at each point."""
    figure, (axes,) = diagrams(title, 1, 1, 7.0, 4.2)
    for index, (name, points) in enumerate(curves.items()):
        colour = SERIES[1 + index]
        shift = 0.03 * (index - (len(curves) - 1) / 2)  # where curves meet, both bars are seen
        for x, found in points.items():
            _draw_repeated(figure, axes, x + shift, found, colour)
        means = [found.mean for found in points.values()]
        axes.plot([x + shift for x in points], means, color=colour, lw=1.8, label=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(xlabel, fontsize=9)
    axes.margins(y=0.12)
    style_diagram(axes, ylabel)
    axes.legend(frameon=False, fontsize=9)
    return figure


def similarity_figure(found: Mapping[str, Similarity], title: str) -> Figure:
    """Draw a matrix of the regions for each network, and of two networks the difference.

    Args:
        found: by the network's name, in the order of the drawing.
        title: of the figure.
    """
    matrices = [np.array(similarity.matrix, dtype=float) for similarity in found.values()]
    for matrix in matrices:  # each region's similarity to itself would take up the colours
        np.fill_diagonal(matrix, np.nan)
    count = len(found) + (len(found) == 2)
    figure, places = diagrams(title, 1, count, max(3.5 * count + 0.9, 5.6), 4.85)
    known = np.concatenate([matrix[~np.isnan(matrix)] for matrix in matrices])
    limits = (known.min(), known.max()) if known.size else (0.0, 1.0)
    for axes, (name, similarity), matrix in zip(places, found.items(), matrices):
        image = _draw_matrix(axes, matrix, f"{name}\n{similarity.caption}", _SIMILAR, limits, 2)
    _add_bar(figure, image, places[: len(found)])
    if len(found) == 2:
        change = matrices[1] - matrices[0]
        largest = max(float(np.nanmax(np.abs(change), initial=0)), _LEAST_CHANGE)
        digits, name = (2 if largest > 0.1 else 3), "difference\nthe second minus the first"
        image = _draw_matrix(places[2], change, name, _CHANGED, (-largest, largest), digits)
        _add_bar(figure, image, places[2:])
    names = [part.replace("_", " ") for part in PARTS]
    places[0].set_yticks(range(len(PARTS)), names)
    for axes in places:
        axes.set_xticks(range(len(PARTS)), names, rotation=45, ha="right", rotation_mode="anchor")
    return figure


def calibration_figure(
    same: np.ndarray, other: np.ndarray, thresholds: Mapping[str, float], title: str
) -> Figure:
    """Draw the scores of pairs of one and of two people, and the errors of every threshold.

    Args:
        same, other: similarities of pairs of one person, and of two.
        thresholds: by what they are called.
        title: of the figure.
    """
    figure, (scores, errors) = diagrams(title, 1, 2, 11.0, 4.4)
    edges = np.linspace(min(same.min(), other.min()), max(same.max(), other.max()), 80)
    for values, name, colour in (
        (other, "two people", SERIES[2]),
        (same, "one person, by two cameras", SERIES[1]),
    ):
        scores.hist(values, edges.tolist(), density=True, color=colour, alpha=0.6, label=name)
    grid = np.linspace(edges[0], edges[-1], 2000)
    false = 1 - np.searchsorted(np.sort(other), grid) / len(other)
    missed = np.searchsorted(np.sort(same), grid) / len(same)
    errors.plot(100 * false, 100 * missed, color=SERIES[1], lw=1.8)
    for name, value in thresholds.items():
        scores.axvline(value, color=INK, lw=0.8, ls=":")
        place: Any = {"rotation": 90, "va": "top", "ha": "right", "fontsize": 7, "color": FAINT}
        scores.text(value, 0.8, name, transform=scores.get_xaxis_transform(), **place)
        point = 100 * (other >= value).mean(), 100 * (same < value).mean()
        errors.plot(*point, "o", color=INK, ms=4)
        beside: Any = {"xytext": (5, 4), "textcoords": "offset points", "color": FAINT}
        errors.annotate(name, point, fontsize=7, **beside)
    scores.set_ylim(top=1.3 * scores.get_ylim()[1])  # room for the legend
    style_diagram(scores, "similarity of pairs")
    scores.legend(frameon=False, fontsize=8)
    style_diagram(errors, "pairs of one person that are missed, %")
    errors.set_xscale("log")
    errors.set_xlabel("pairs of two people that are taken for one, %", fontsize=8.5)
    return figure


def retrieval_figure(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], title: str
) -> Figure:
    """Draw the CMC, and precision over recall.

    Args:
        curves: by their name, share of the queries found up to each rank from 1 on, and precision
            at recalls at equal distances from 0 to 100 %; all in percent.
        title: of the figure.
    """
    figure, (cmc, precision) = diagrams(title, 1, 2, 9.6, 4.0)
    lines = cycle(("-", "--", ":"))
    colours = dict(zip(curves, cycle(SERIES[1:]), strict=False))
    for name, (found, at_recall) in curves.items():
        style: Any = {"color": colours[name], "lw": 1.8, "ls": next(lines)}
        cmc.plot(range(1, len(found) + 1), found, label=name, **style)
        precision.plot(np.linspace(0, 100, len(at_recall)), at_recall, **style)
    style_diagram(cmc, "queries whose person is found, %")
    cmc.set_xlabel("up to rank", fontsize=8.5)
    cmc.legend(frameon=False, fontsize=8, loc="lower right")
    style_diagram(precision, "precision, %")
    precision.set_xlabel("recall, %", fontsize=8.5)
    precision.set_ylim(0, 101)
    return figure


def _draw_repeated(figure: Figure, axes: Axes, x: float, found: Repeated, colour: str) -> None:
    """The mean as a dot with the spread as bars, and each seed as a ring to the left of it."""
    beside = offset_copy(axes.transData, figure, x=-8, units="points")
    (rings,) = axes.plot([x] * len(found.values), found.values, "o", ms=4.5, transform=beside)
    rings.set(markerfacecolor="none", markeredgecolor=colour)
    axes.errorbar(x, found.mean, yerr=found.spread, fmt="o", color=colour, capsize=4, lw=1.4)


def _draw_matrix(
    axes: Axes,
    matrix: np.ndarray,
    title: str,
    colours: str,
    limits: tuple[float, float],
    digits: int,
) -> AxesImage:
    """The matrix in colours and numbers."""
    axes.set_title(title, fontsize=9, loc="left", color=INK)
    axes.set_facecolor("#eeeeee")
    image = axes.imshow(matrix, cmap=colours, vmin=limits[0], vmax=limits[1])
    axes.set_yticks([])
    axes.tick_params(labelsize=8, length=0)
    axes.spines[:].set_visible(False)
    for y, x in np.argwhere(~np.isnan(matrix)):
        dark = np.dot(image.cmap(image.norm(matrix[y, x]))[:3], (0.3, 0.59, 0.11)) < 0.5  # luma
        number = round(float(matrix[y, x]), digits) + 0.0  # no -0
        text = f"{number:.{digits}f}".replace("0.", ".", 1)
        axes.text(x, y, text, ha="center", va="center", size=6.5, color="w" if dark else INK)
    return image


def _add_bar(figure: Figure, image: AxesImage, beside: Sequence[Axes]) -> None:
    bar = figure.colorbar(image, ax=beside, shrink=0.7, aspect=30)
    bar.ax.tick_params(labelsize=7.5)
    bar.outline.set_visible(False)
