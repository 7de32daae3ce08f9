"""Pictures of what networks do: masks and activations over images, rankings, losses, seeds.

Each function returns a ``matplotlib.figure.Figure`` and leaves pyplot's global state alone, so it
works without a display and in notebooks; ``save`` writes one to a file.
"""

from .canvas import ASKED, PICTURE_ENDINGS, RIGHT, UNKNOWN, WRONG, check_picture, save
from .diagrams import (
    Curve,
    Panel,
    Repeated,
    Similarity,
    calibration_figure,
    losses_figure,
    retrieval_figure,
    similarity_figure,
    sweep_figure,
    variants_figure,
)
from .overlays import HeatBar, heat_overlay, mask_overlay, parts_heat_overlay
from .pictures import (
    PictureRow,
    heat_figure,
    masks_figure,
    pictures_figure,
)
from .rankings import Hit, RankingExample, rankings_figure

__all__ = [
    "ASKED",
    "RIGHT",
    "UNKNOWN",
    "WRONG",
    "Curve",
    "HeatBar",
    "Hit",
    "Panel",
    "PictureRow",
    "RankingExample",
    "Repeated",
    "Similarity",
    "calibration_figure",
    "heat_figure",
    "heat_overlay",
    "losses_figure",
    "mask_overlay",
    "masks_figure",
    "parts_heat_overlay",
    "pictures_figure",
    "rankings_figure",
    "retrieval_figure",
    "save",
    "PICTURE_ENDINGS",
    "check_picture",
    "similarity_figure",
    "sweep_figure",
    "variants_figure",
]
