"""How alike the features of body regions are."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from ..parts import PARTS
from .canvas import DPI, INK, add_title

_SIMILAR, _CHANGED = "viridis", "PuOr_r"  # perceptually uniform; and diverging, white in the middle
_LEAST_CHANGE = 0.02  # that has full colour, so that next to nothing looks like that
_SIDE = 2.85  # inches of a matrix
_NAMES = [part.replace("_", " ") for part in PARTS]


class Similarity(NamedTuple):
    """Of each two regions, the mean cosine similarity, and a text with the mean of all.

    Attributes:
        matrix: (K, K) in [-1, 1], NaN where there is none.
        caption: a text below the name.
    """

    matrix: np.ndarray
    caption: str = ""


def similarity_figure(found: Mapping[str, Similarity], title: str) -> Figure:
    """A matrix of the regions for each network, and of two networks the difference.

    Args:
        found: by the network's name, in the order of the drawing.
        title: of the figure.
    """
    matrices = [_off_diagonal(similarity.matrix) for similarity in found.values()]
    shift = _SIDE + 0.3  # from one matrix to the next
    left, total = 0.95, 0.95 + len(found) * shift + 0.6
    if len(found) == 2:
        total += shift + 0.85
    figure = Figure(figsize=(max(total, 5.6), 4.85), dpi=DPI, facecolor="white")
    limits = _range(np.concatenate([matrix.ravel() for matrix in matrices]))
    for (name, similarity), matrix in zip(found.items(), matrices, strict=True):
        axes = _panel(figure, left, name, similarity.caption)
        image = _draw(axes, matrix, _SIMILAR, limits, 2)
        left += shift
    _add_bar(axes, image)
    figure.axes[0].set_yticks(range(len(PARTS)), _NAMES)
    if len(found) == 2:
        change = matrices[1] - matrices[0]
        largest = max(float(np.nanmax(np.abs(change), initial=0)), _LEAST_CHANGE)
        axes = _panel(figure, left + 0.6, "difference", "the second minus the first")
        _add_bar(
            axes, _draw(axes, change, _CHANGED, (-largest, largest), 2 if largest > 0.1 else 3)
        )
    add_title(figure, title)
    return figure


def _off_diagonal(matrix: np.ndarray) -> np.ndarray:
    """Without each region's similarity to itself, which is 1 and would take up the colours."""
    matrix = np.array(matrix, dtype=float)
    np.fill_diagonal(matrix, np.nan)
    return matrix


def _range(values: np.ndarray) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    if not known.size:
        return 0.0, 1.0
    lowest, highest = float(known.min()), float(known.max())
    return (lowest, highest) if highest > lowest else (lowest - 0.5, lowest + 0.5)


def _panel(figure: Figure, left: float, name: str, caption: str) -> Axes:
    """Axes at so many inches from the left edge, with a name and a caption above."""
    wide, tall = figure.get_figwidth(), figure.get_figheight()
    axes = figure.add_axes((left / wide, 0.75 / tall, _SIDE / wide, _SIDE / tall))
    for y, text, size, weight in ((1.09, name, 10.5, "bold"), (1.025, caption, 8.5, "normal")):
        axes.text(0, y, text, transform=axes.transAxes, size=size, weight=weight, color=INK)
    return axes


def _draw(
    axes: Axes, matrix: np.ndarray, colours: str, limits: tuple[float, float], digits: int
) -> AxesImage:
    """The matrix in colours and numbers."""
    axes.set_facecolor("#eeeeee")
    image = axes.imshow(matrix, cmap=colours, vmin=limits[0], vmax=limits[1])
    axes.set_xticks(range(len(_NAMES)), _NAMES, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks([])
    axes.tick_params(labelsize=8, length=0)
    axes.spines[:].set_visible(False)
    for y, x in np.argwhere(~np.isnan(matrix)):
        red, green, blue, _ = image.cmap(image.norm(matrix[y, x]))
        dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5  # luma
        number = round(float(matrix[y, x]), digits) + 0.0  # no -0
        text = f"{number:.{digits}f}".replace("0.", ".", 1)
        axes.text(x, y, text, ha="center", va="center", size=6.5, color="w" if dark else INK)
    return image


def _add_bar(axes: Axes, image: AxesImage) -> None:
    bar = axes.figure.colorbar(image, cax=axes.inset_axes((1.04, 0, 0.05, 1)))
    bar.ax.tick_params(labelsize=7.5)
    bar.outline.set_visible(False)
