"""What all figures share: colours, titles, places for pictures, diagrams' looks, and files."""

import io
import os
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..files import write_atomically

SERIES = ("#888888", "#0077bb", "#ee7733", "#009988")  # Paul Tol's "vibrant" colours
# Told apart also by colour-blind readers, and by signs beside the colour.
RIGHT, WRONG, UNKNOWN, ASKED = "#117733", "#cc3311", "#999999", "#222222"
INK, FAINT = "#222222", "#666666"
DPI = 160

Box = tuple[float, float, float, float]  # left, top, width, height in the units of axes


def save(figure: Figure, path: str | os.PathLike) -> None:
    """Write the figure as a picture; the file appears complete or not at all."""
    path = Path(path)
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix[1:])
    write_atomically(path, picture.getvalue())


def add_title(figure: Figure, title: str) -> None:
    """The first line large, further ones small beneath it."""
    first, _, rest = title.partition("\n")
    tall = figure.get_figheight()
    left = 0.25 / figure.get_figwidth()
    figure.text(left, 1 - 0.12 / tall, first, va="top", fontsize=13, fontweight="bold", color=INK)
    figure.text(left, 1 - 0.4 / tall, rest, va="top", fontsize=9, color="#555555")


def blank_axes(axes: Axes, width: float, height: float) -> None:
    """Axes for pictures: in pixels, the origin at the top left, nothing drawn of themselves."""
    axes.set_axis_off()
    axes.set_aspect("equal")
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)


def draw_picture(axes: Axes, picture: np.ndarray, left: float, top: float) -> None:
    """A picture in axes whose unit is its pixel."""
    height, width = picture.shape[:2]
    draw_fitting(axes, picture, (left, top, width, height))


def draw_fitting(axes: Axes, picture: np.ndarray, room: Box) -> Box:
    """A picture as large as fits, in the middle of its room; returns where it is then."""
    left, top, width, height = room
    scale = min(width / picture.shape[1], height / picture.shape[0])
    wide, tall = scale * picture.shape[1], scale * picture.shape[0]
    left, top = left + (width - wide) / 2, top + (height - tall) / 2
    extent = (left, left + wide, top + tall, top)
    axes.imshow(picture, extent=extent, interpolation="lanczos", clip_on=False)
    return left, top, wide, tall


def diagram_axes(axes: Axes, title: str, pad: float | None = None) -> None:
    """A diagram with a title, faint lines at the ticks, and no box."""
    axes.set_title(title, fontsize=10, loc="left", color=INK, pad=pad)
    axes.tick_params(labelsize=8)
    axes.grid(axis="y", color="#e5e5e5", lw=0.7)
    axes.spines[["top", "right"]].set_visible(False)
