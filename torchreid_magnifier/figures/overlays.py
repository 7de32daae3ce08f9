"""Body parts and heat over images, and the legends of their colours."""

from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from ..parts import BACKGROUND, FOREGROUND, PALETTE, PARTS
from .canvas import INK

# Perceptually uniform; from dark to light, so that it reads in grey too, but not from black, which
# is what has no heat.
HEAT = ListedColormap(colormaps["inferno"](np.linspace(0.12, 1, 256)), "heat")


class HeatBar(NamedTuple):
    """Legend of the colours of heat, with the meaning of the lowest and the highest."""

    label: str
    ends: tuple[str, str] = ("low", "high")


def mask_overlay(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the image with its parts in the colours of ``parts.PALETTE``, its background darker.

    Args:
        image: RGB, uint8 (H, W, 3).
        labels: 0..7, (h, w), scaled to the image by nearest neighbours.

    Returns:
        RGB, uint8 (H, W, 3).
    """
    labels = _scaled(labels, image)
    weight = np.where(labels == BACKGROUND, 0.35, 0.6)[..., None]
    return _blend(image, np.array(PALETTE, dtype=float)[labels], weight)


def heat_overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Return the image in grey under a map, which is scaled to it bilinearly.

    Args:
        image: RGB, uint8 (H, W, 3).
        heat: 0..1, (h, w).

    Returns:
        RGB, uint8 (H, W, 3).
    """
    size = image.shape[1], image.shape[0]
    values = Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    return _blend(_grey(image), _colours(np.asarray(values)), 0.6)


def parts_heat_overlay(image: np.ndarray, labels: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Return the image in grey, its parts in the colours of their heat, everything else darker.

    Args:
        image: RGB, uint8 (H, W, 3).
        labels: 0..7, (h, w), scaled to the image by nearest neighbours.
        heat: 0..1 for each label, (8,); NaN for what has none.

    Returns:
        RGB, uint8 (H, W, 3).
    """
    values = heat[_scaled(labels, image)]
    grey = _grey(image)
    tinted = _blend(grey, _colours(np.nan_to_num(values)), 0.75)
    dark = _blend(grey, np.zeros_like(image), 0.65)
    return np.where(np.isnan(values)[..., None], dark, tinted)


def add_heat_bar(figure: Figure, bar: HeatBar) -> None:
    """Draw the bar along the lower edge; with its texts it is half an inch tall."""
    wide, tall = figure.get_size_inches()
    axes = figure.add_axes((0.5 - 1 / wide, 0.2 / tall, 2 / wide, 0.1 / tall))
    scale = figure.colorbar(ScalarMappable(cmap=HEAT), axes, orientation="horizontal")
    scale.set_ticks([0, 1], labels=bar.ends)
    scale.outline.set_visible(False)
    axes.tick_params(length=0, pad=2, labelsize=8, labelcolor=INK)
    axes.set_title(bar.label, fontsize=9, color=INK, pad=2)


def add_parts_legend(figure: Figure) -> None:
    """Write the parts beside their colours along the lower edge, half an inch tall at most."""
    colours = {part: "#{:02x}{:02x}{:02x}".format(*PALETTE[part]) for part in FOREGROUND}
    figure.legend(
        handles=[
            Patch(color=colour, label=PARTS[part].replace("_", " "))
            for part, colour in colours.items()
        ],
        loc="lower center",
        ncol=len(FOREGROUND) if figure.get_figwidth() > 8 else 4,
        frameon=False,
        fontsize=9,
        handlelength=1.0,
        handleheight=1.0,
        columnspacing=1.6,
    )


def _scaled(labels: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Labels (h, w) at the size of the image (H, W, 3): uint8 (H, W)."""
    size = image.shape[1], image.shape[0]
    return np.asarray(
        Image.fromarray(labels.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
    )


def _grey(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).convert("L").convert("RGB"))


def _colours(values: np.ndarray) -> np.ndarray:
    return np.asarray(HEAT(values)[..., :3] * 255)


def _blend(below: np.ndarray, above: np.ndarray, opacity: float | np.ndarray) -> np.ndarray:
    return np.asarray((below * (1 - opacity) + above * opacity).round(), dtype=np.uint8)
