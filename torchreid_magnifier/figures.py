"""Pictures of what networks do: masks over images, rankings, losses, comparisons over seeds.

Each function returns a ``matplotlib.figure.Figure`` and leaves pyplot's global state alone, so it
works without a display and in notebooks; ``save`` writes one to a file.
"""

import io
import os
import statistics
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import offset_copy
from PIL import Image

from .files import write_atomically
from .parts import BACKGROUND, FOREGROUND, PALETTE, PARTS

RIGHT, WRONG, ASKED = "#117733", "#cc3311", "#222222"  # told apart also by colour-blind readers
SERIES = ("#888888", "#0077bb", "#ee7733", "#009988")  # Paul Tol's "vibrant" colours
INK = "#222222"
_DPI = 160


class MaskExample(NamedTuple):
    """An image with its true and its predicted part labels.

    Attributes:
        image: RGB, uint8 (H, W, 3).
        labels: true labels, 0..7, of any size (it is scaled to the image).
        predicted: predicted labels, 0..7, of any size.
        caption: a short text above it.
    """

    image: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    caption: str = ""


class LabelledImage(NamedTuple):
    """An image with its part labels for a contact sheet.

    Attributes:
        image: RGB, uint8 (H, W, 3).
        labels: 0..7, of any size (it is scaled to the image), or why there are none.
        caption: a short text above it.
    """

    image: np.ndarray
    labels: np.ndarray | str
    caption: str = ""


class Hit(NamedTuple):
    """A gallery image in a ranking: RGB, uint8 (H, W, 3), and whether it shows the right person."""

    image: np.ndarray
    right: bool


class RankingExample(NamedTuple):
    """A query and, for each network, the gallery images that it finds nearest, nearest first."""

    query: np.ndarray
    rankings: Mapping[str, Sequence[Hit]]
    caption: str = ""


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


def mask_overlay(image: np.ndarray, labels: np.ndarray, opacity: float = 0.6) -> np.ndarray:
    """The image with its parts in the colours of ``parts.PALETTE``; the background darkened.

    Args:
        image: RGB, uint8 (H, W, 3).
        labels: 0..7, (h, w), scaled to the image by nearest neighbours.
        opacity: of the colours, 0..1.

    Returns:
        RGB, uint8 (H, W, 3).
    """
    height, width = image.shape[:2]
    scaled = Image.fromarray(labels.astype(np.uint8)).resize(
        (width, height), Image.Resampling.NEAREST
    )
    labels = np.asarray(scaled)
    colours = np.array(PALETTE, dtype=float)[labels]
    weight = np.where(labels == BACKGROUND, 0.35, opacity)[..., None]
    return (image * (1 - weight) + colours * weight).round().astype(np.uint8)


def masks_figure(examples: Sequence[MaskExample], title: str, columns: int = 4) -> Figure:
    """Image, true parts and predicted parts of each example, with a legend of the parts."""
    rows = -(-len(examples) // columns)
    height, width = examples[0].image.shape[:2]
    gap = 0.06 * width
    step = 3 * width + 2 * gap
    figure = Figure(figsize=(3.3 * columns, 2.45 * rows + 1.15), dpi=_DPI, facecolor="white")
    grid = figure.add_gridspec(
        rows,
        columns,
        left=0.02,
        right=0.98,
        wspace=0.08,
        hspace=0.2,
        top=1 - 0.85 / figure.get_figheight(),
        bottom=0.5 / figure.get_figheight(),
    )
    for index, example in enumerate(examples):
        axes = figure.add_subplot(grid[divmod(index, columns)])
        _blank(axes, step, height)
        panels = (
            example.image,
            mask_overlay(example.image, example.labels),
            mask_overlay(example.image, example.predicted),
        )
        for place, picture in enumerate(panels):
            _place(axes, picture, place * (width + gap), 0)
        for place, name in enumerate(("image", "true parts", "predicted")):
            middle = place * (width + gap) + width / 2
            axes.text(middle, height + 3, name, ha="center", va="top", fontsize=7, color="#666666")
        axes.set_title(example.caption, fontsize=8.5, color=INK, pad=4)
    _title(figure, title)
    _parts_legend(figure)
    return figure


def contact_sheet(examples: Sequence[LabelledImage], title: str, columns: int = 6) -> Figure:
    """Each image beside itself with its parts in colour, and a legend of the parts."""
    columns = min(columns, max(len(examples), 3))  # the legend needs the width of three
    rows = -(-len(examples) // columns)
    figure = Figure(figsize=(1.9 * columns, 1.95 * rows + 1.05), dpi=_DPI, facecolor="white")
    tall = figure.get_figheight()
    grid = figure.add_gridspec(
        rows,
        columns,
        left=0.02,
        right=0.98,
        wspace=0.1,
        hspace=0.1,
        top=1 - 0.75 / tall,
        bottom=(0.35 if columns > 4 else 0.5) / tall,
    )
    for index, (image, labels, caption) in enumerate(examples):
        axes = figure.add_subplot(grid[divmod(index, columns)])
        height, width = image.shape[:2]
        right = 1.06 * width
        _blank(axes, right + width, height)
        _place(axes, image, 0, 0)
        if isinstance(labels, str):
            middle = right + width / 2
            axes.text(middle, height / 2, labels, ha="center", va="center", fontsize=7, color=WRONG)
        else:
            _place(axes, mask_overlay(image, labels), right, 0)
        axes.set_title(caption, fontsize=5.5, color=INK, pad=2)
    _title(figure, title)
    _parts_legend(figure, columns=4 if columns < 5 else len(FOREGROUND))
    return figure


def rankings_figure(examples: Sequence[RankingExample], title: str) -> Figure:
    """The nearest gallery images of each query by each network, side by side.

    Right ones have a green frame, wrong ones a red frame and a cross.
    """
    names = list(examples[0].rankings)
    count = max(len(hits) for example in examples for hits in example.rankings.values())
    height, width = examples[0].query.shape[:2]
    gap, space = 0.14 * width, 0.75 * width  # between images, between networks
    block = count * (width + gap) - gap
    total = width + len(names) * (space + block)
    line = height * 1.34
    inches = 0.0078  # of a pixel
    extra = 1.25  # title, legend and names of the networks
    figure = Figure(
        figsize=(total * inches + 0.5, len(examples) * line * inches + extra),
        dpi=_DPI,
        facecolor="white",
    )
    tall = figure.get_figheight()
    axes = figure.add_axes(
        (
            0.25 / figure.get_figwidth(),
            0.35 / tall,
            1 - 0.5 / figure.get_figwidth(),
            1 - extra / tall,
        )
    )
    _blank(axes, total, len(examples) * line - (line - height))
    for row, example in enumerate(examples):
        top = row * line
        _place(axes, example.query, 0, top)
        _frame(axes, example.query, 0, top, ASKED)
        axes.text(0, top - 0.05 * height, example.caption, fontsize=8, color=INK, va="bottom")
        for block_index, hits in enumerate(example.rankings.values()):
            for rank, hit in enumerate(hits):
                left = width + space + block_index * (block + space) + rank * (width + gap)
                _place(axes, hit.image, left, top)
                _frame(axes, hit.image, left, top, RIGHT if hit.right else WRONG, not hit.right)
    for block_index, name in enumerate(names):
        left = width + space + block_index * (block + space)
        axes.text(
            left + block / 2,
            -0.24 * height,
            name,
            ha="center",
            va="bottom",
            fontsize=11,
            fontweight="bold",
            color=INK,
        )
    _title(figure, title)
    figure.legend(
        handles=[
            Patch(facecolor="white", edgecolor=RIGHT, linewidth=2.5, label="the same person"),
            Patch(facecolor="white", edgecolor=WRONG, linewidth=2.5, label="somebody else"),
            Patch(facecolor="white", edgecolor=ASKED, linewidth=2.5, label="query"),
        ],
        loc="lower center",
        ncol=3,
        frameon=False,
        fontsize=9,
    )
    return figure


def losses_figure(
    panels: Sequence[Panel], title: str, boundary: int | None = None, columns: int = 2
) -> Figure:
    """Curves over the epochs, one diagram a panel; ``boundary`` epochs make up stage 1."""
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(5.4 * columns, 2.9 * rows + 0.7), dpi=_DPI, facecolor="white")
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
                    color="#666666",
                )
        axes.set_xlim(0.5, last + 0.5)
        _plain(axes, panel.title, pad=14)
        axes.set_xlabel("epoch", fontsize=8.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False, fontsize=8.5)
    _title(figure, title)
    return figure


def variants_figure(panels: Mapping[str, Mapping[str, Repeated | None]], title: str) -> Figure:
    """Variants side by side, one diagram a measure: every seed, the mean and the spread.

    Args:
        panels: by the measure's name, what was found by the variant's name; None if nothing yet.
        title: of the figure.
    """
    count = max(len(variants) for variants in panels.values())
    figure = Figure(
        figsize=(max(7.0, 1.1 + 0.95 * count * len(panels)), 3.9), dpi=_DPI, facecolor="white"
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
        _plain(axes, measure)
    _title(figure, title)
    return figure


def sweep_figure(
    curves: Mapping[str, Mapping[int, Repeated]], title: str, xlabel: str, ylabel: str
) -> Figure:
    """Curves of means over a whole number, with every seed and the spread at each point."""
    figure = Figure(figsize=(7.0, 4.2), dpi=_DPI, facecolor="white")
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
    _plain(axes, ylabel)
    axes.legend(frameon=False, fontsize=9)
    _title(figure, title)
    return figure


def save(figure: Figure, path: str | os.PathLike) -> None:
    """Write the figure as a picture; the file appears complete or not at all."""
    path = Path(path)
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix[1:])
    write_atomically(path, picture.getvalue())


def _repeated(figure: Figure, axes: Axes, x: float, found: Repeated, colour: str) -> None:
    """The mean as a dot with the spread as bars, and each seed as a ring to the left of it."""
    beside = offset_copy(axes.transData, figure, x=-8, units="points")
    (rings,) = axes.plot([x] * len(found.values), found.values, "o", ms=4.5, transform=beside)
    rings.set(markerfacecolor="none", markeredgecolor=colour)
    axes.errorbar(x, found.mean, yerr=found.spread, fmt="o", color=colour, capsize=4, lw=1.4)


def _plain(axes: Axes, title: str, pad: float | None = None) -> None:
    """A diagram with a title, faint lines at the ticks, and no box."""
    axes.set_title(title, fontsize=10, loc="left", color=INK, pad=pad)
    axes.tick_params(labelsize=8)
    axes.grid(axis="y", color="#e5e5e5", lw=0.7)
    axes.spines[["top", "right"]].set_visible(False)


def _parts_legend(figure: Figure, columns: int = len(FOREGROUND)) -> None:
    """The parts and their colours along the lower edge."""
    figure.legend(
        handles=[
            Patch(facecolor=_hex(PALETTE[part]), label=PARTS[part].replace("_", " "))
            for part in FOREGROUND
        ],
        loc="lower center",
        ncol=columns,
        frameon=False,
        fontsize=9,
        handlelength=1.0,
        handleheight=1.0,
        columnspacing=1.6,
    )


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _title(figure: Figure, title: str) -> None:
    """The first line large, further ones small beneath it."""
    first, _, rest = title.partition("\n")
    tall = figure.get_figheight()
    left = 0.25 / figure.get_figwidth()
    figure.text(left, 1 - 0.12 / tall, first, va="top", fontsize=13, fontweight="bold", color=INK)
    figure.text(left, 1 - 0.4 / tall, rest, va="top", fontsize=9, color="#555555")


def _blank(axes: Axes, width: float, height: float) -> None:
    """Axes for pictures: in pixels, the origin at the top left, nothing drawn of themselves."""
    axes.set_axis_off()
    axes.set_aspect("equal")
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)


def _place(axes: Axes, picture: np.ndarray, left: float, top: float) -> None:
    height, width = picture.shape[:2]
    extent = (left, left + width, top + height, top)
    axes.imshow(picture, extent=extent, interpolation="lanczos", clip_on=False)


def _frame(
    axes: Axes, picture: np.ndarray, left: float, top: float, colour: str, crossed: bool = False
) -> None:
    height, width = picture.shape[:2]
    axes.add_patch(
        Rectangle((left, top), width, height, fill=False, ec=colour, lw=2.2, clip_on=False)
    )
    if crossed:
        size = 0.2 * width
        right, bottom = left + width - 0.08 * width, top + 0.08 * width + size
        for x in ((right - size, right), (right, right - size)):
            axes.plot(x, (bottom - size, bottom), color=colour, lw=2, clip_on=False)
