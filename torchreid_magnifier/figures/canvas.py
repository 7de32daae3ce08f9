"""Shared by all figures: colours, titles, sheets of pictures, diagrams, and files."""

import io
import os
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle

from ..files import PlaceError, write_atomically

SERIES = ("#888888", "#0077bb", "#ee7733", "#009988")  # Paul Tol's "vibrant" colours
# Colour-blind readers see them apart too, and by signs beside the colour.
RIGHT, WRONG, UNKNOWN, ASKED = "#117733", "#cc3311", "#999999", "#222222"
INK, FAINT = "#222222", "#666666"
DPI = 160
PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".pdf", ".svg")
TITLE = 0.75  # inches that a title takes


def check_picture(path: Path) -> None:
    """See, before any work, that a picture can be written to what ``--out`` names.

    Raises:
        PlaceError: a name that is no picture's, or no folder for it.
    """
    if path.suffix.lower() not in PICTURE_ENDINGS:
        raise PlaceError(f"--out: expected {', '.join(PICTURE_ENDINGS)}, found {path}")
    if not path.absolute().parent.is_dir():
        raise PlaceError(f"--out: there is no folder {path.parent}")
    if path.is_dir():
        raise PlaceError(f"--out: {path} is a folder")


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write the figure as a picture; the file appears complete or not at all."""
    path = Path(path)
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix[1:])
    write_atomically(path, picture.getvalue())


def sheet(
    title: str, width: float, height: float, above: float, below: float
) -> tuple[Figure, Axes]:
    """Return a figure with a title, and axes in inches whose origin is at their top left.

    Args:
        title: its first line large, further ones small beneath it.
        width, height: of the axes.
        above, below: room that is left free for the title, and for legends.
    """
    figure = Figure(figsize=(width + 0.5, height + above + below), dpi=DPI, facecolor="white")
    wide, tall = figure.get_size_inches()
    axes = figure.add_axes((0.25 / wide, below / tall, width / wide, height / tall))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    _add_title(figure, title)
    return figure, axes


def diagrams(
    title: str, rows: int, columns: int, width: float, height: float
) -> tuple[Figure, list[Axes]]:
    """Return a figure of ``width`` x ``height`` inches with a title, and axes row by row."""
    layout = ConstrainedLayoutEngine(rect=(0.01, 0.01, 0.98, 0.99 - TITLE / height))
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white", layout=layout)
    _add_title(figure, title)
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def draw_picture(
    axes: Axes,
    picture: np.ndarray | str,
    room: tuple[float, float, float, float],
    frame: str | None = None,
    crossed: bool = False,
) -> None:
    """Draw a picture as large as fits into the middle of its room.

    Args:
        axes: of a sheet.
        picture: RGB, uint8 (H, W, 3), or a few words in its place.
        room: left, top, width and height.
        frame: its colour, if there is to be one.
        crossed: mark it as wrong, in the frame's colour.
    """
    left, top, width, height = room
    if isinstance(picture, str):
        middle = left + width / 2, top + height / 2
        axes.text(*middle, picture, ha="center", va="center", fontsize=7, color=WRONG)
        return
    scale = min(width / picture.shape[1], height / picture.shape[0])
    wide, tall = scale * picture.shape[1], scale * picture.shape[0]
    left, top = left + (width - wide) / 2, top + (height - tall) / 2
    axes.imshow(
        picture,
        extent=(left, left + wide, top + tall, top),
        aspect="auto",
        interpolation="lanczos",
        clip_on=False,
    )
    if frame is not None:
        axes.add_patch(
            Rectangle((left, top), wide, tall, fill=False, ec=frame, lw=2.2, clip_on=False)
        )
    if crossed:
        x, y = left + 0.82 * wide, top + 0.18 * wide
        axes.plot(x, y, "x", color=frame, ms=14.4 * wide, mew=2, clip_on=False)


def style_diagram(axes: Axes, title: str, pad: float | None = None) -> None:
    """Give a diagram a title and faint lines at the ticks, and take its box away."""
    axes.set_title(title, fontsize=10, loc="left", color=INK, pad=pad)
    axes.tick_params(labelsize=8)
    axes.grid(axis="y", color="#e5e5e5", lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _add_title(figure: Figure, title: str) -> None:
    first, _, rest = title.partition("\n")
    wide, tall = figure.get_size_inches()
    left = 0.25 / wide
    figure.text(left, 1 - 0.12 / tall, first, va="top", fontsize=13, fontweight="bold", color=INK)
    figure.text(left, 1 - 0.4 / tall, rest, va="top", fontsize=9, color="#555555")
