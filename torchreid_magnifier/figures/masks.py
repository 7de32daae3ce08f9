"""Images with their part labels in colour."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from ..parts import BACKGROUND, FOREGROUND, PALETTE, PARTS
from .canvas import DPI, FAINT, INK, WRONG, add_title, blank_axes, draw_picture
from .pairs import Pair, pairs_figure


class MaskExample(NamedTuple):
    """An image with its true and its predicted part labels.

    Attributes:
        image: RGB, uint8 (H, W, 3).
        labels: true labels, 0..7, of any size (it is scaled to the image), or why there are none.
        predicted: predicted labels, 0..7, of any size.
        caption: a short text above it.
    """

    image: np.ndarray
    labels: np.ndarray | str
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


def mask_overlay(image: np.ndarray, labels: np.ndarray, opacity: float = 0.6) -> np.ndarray:
    """The image with its parts in the colours of ``parts.PALETTE``; the background darkened.

    Args:
        image: RGB, uint8 (H, W, 3).
        labels: 0..7, (h, w), scaled to the image by nearest neighbours.
        opacity: of the colours, 0..1.

    Returns:
        RGB, uint8 (H, W, 3).
    """
    labels = scaled_labels(labels, image)
    colours = np.array(PALETTE, dtype=float)[labels]
    weight = np.where(labels == BACKGROUND, 0.35, opacity)[..., None]
    return (image * (1 - weight) + colours * weight).round().astype(np.uint8)


def scaled_labels(labels: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Labels (h, w) by nearest neighbours at the size of the image (H, W, 3): uint8 (H, W)."""
    height, width = image.shape[:2]
    scaled = Image.fromarray(labels.astype(np.uint8))
    return np.asarray(scaled.resize((width, height), Image.Resampling.NEAREST))


def masks_figure(examples: Sequence[MaskExample], title: str, columns: int = 4) -> Figure:
    """Image, true parts and predicted parts of each example, with a legend of the parts."""
    columns = min(columns, max(len(examples), 2))  # the legend needs the width of two
    rows = -(-len(examples) // columns)
    figure = Figure(figsize=(3.3 * columns, 2.45 * rows + 1.15), dpi=DPI, facecolor="white")
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
        height, width = example.image.shape[:2]
        step = 1.06 * width
        blank_axes(axes, 2 * step + width, height)
        draw_picture(axes, example.image, 0, 0)
        _draw_labels(axes, example.image, example.labels, step)
        _draw_labels(axes, example.image, example.predicted, 2 * step)
        for place, name in enumerate(("image", "true parts", "predicted")):
            middle, below = place * step + width / 2, 1.02 * height
            axes.text(middle, below, name, ha="center", va="top", fontsize=7, color=FAINT)
        axes.set_title(example.caption, fontsize=8.5, color=INK, pad=4)
    add_title(figure, title)
    _parts_legend(figure, columns=4 if columns < 3 else len(FOREGROUND))
    return figure


def contact_sheet(examples: Sequence[LabelledImage], title: str, columns: int = 6) -> Figure:
    """Each image beside itself with its parts in colour, and a legend of the parts."""
    columns = min(columns, max(len(examples), 3))  # the legend needs the width of three
    pairs = [
        Pair(image, labels if isinstance(labels, str) else mask_overlay(image, labels), caption)
        for image, labels, caption in examples
    ]
    figure = pairs_figure(pairs, title, columns, below=0.35 if columns > 4 else 0.5)
    _parts_legend(figure, columns=4 if columns < 5 else len(FOREGROUND))
    return figure


def _draw_labels(axes: Axes, image: np.ndarray, labels: np.ndarray | str, left: float) -> None:
    """The image under its labels, or why there are none."""
    height, width = image.shape[:2]
    if isinstance(labels, str):
        middle = left + width / 2
        axes.text(middle, height / 2, labels, ha="center", va="center", fontsize=7, color=WRONG)
    else:
        draw_picture(axes, mask_overlay(image, labels), left, 0)


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
