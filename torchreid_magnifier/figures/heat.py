"""Heat over images: numbers from 0 to 1 in colour, and the bar that tells which colour is which."""

from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from PIL import Image

from .canvas import INK
from .masks import scaled_labels

# Perceptually uniform; from dark to light, so that it reads in grey too, but not from black, which
# is what has no heat.
HEAT = ListedColormap(colormaps["inferno"](np.linspace(0.12, 1, 256)), "heat")


class HeatBar(NamedTuple):
    """What the colours tell, and what the lowest and the highest of them mean."""

    label: str
    ends: tuple[str, str] = ("low", "high")


def heat_overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """The image in grey under a map, which is scaled to it bilinearly.

    Args:
        image: RGB, uint8 (H, W, 3).
        heat: 0..1, (h, w).

    Returns:
        RGB, uint8 (H, W, 3).
    """
    height, width = image.shape[:2]
    values = Image.fromarray(heat.astype(np.float32)).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    return _blend(_grey(image), _colours(np.asarray(values)), 0.6)


def parts_heat_overlay(image: np.ndarray, labels: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """The image in grey, its parts in the colours of their heat, everything else darkened.

    Args:
        image: RGB, uint8 (H, W, 3).
        labels: 0..7, (h, w), scaled to the image by nearest neighbours.
        heat: 0..1 for each label, (8,); NaN for what has none.

    Returns:
        RGB, uint8 (H, W, 3).
    """
    values = heat[scaled_labels(labels, image)][..., None]
    grey = _grey(image)
    tinted = _blend(grey, _colours(np.nan_to_num(values[..., 0])), 0.75)
    return np.where(np.isnan(values), _blend(grey, np.zeros_like(image), 0.65), tinted)


def add_heat_bar(figure: Figure, bar: HeatBar) -> None:
    """Draws the bar along the lower edge, half an inch tall with its label."""
    wide, tall = figure.get_figwidth(), figure.get_figheight()
    axes = figure.add_axes((0.5 - 1 / wide, 0.12 / tall, 2 / wide, 0.11 / tall))
    colours = ScalarMappable(Normalize(0, 1), HEAT)
    figure.colorbar(colours, cax=axes, orientation="horizontal", ticks=[]).outline.set_visible(
        False
    )
    for x, side, text in ((-0.03, "right", bar.ends[0]), (1.03, "left", bar.ends[1])):
        within = axes.transAxes
        axes.text(x, 0.4, text, transform=within, ha=side, va="center", fontsize=8.5, color=INK)
    axes.set_title(bar.label, fontsize=9, color=INK, pad=3)


def _grey(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).convert("L").convert("RGB"))


def _colours(values: np.ndarray) -> np.ndarray:
    return HEAT(values)[..., :3] * 255


def _blend(below: np.ndarray, above: np.ndarray, opacity: float) -> np.ndarray:
    return (below * (1 - opacity) + above * opacity).round().astype(np.uint8)
