"""Pictures of what networks do: masks over images, rankings, losses, comparisons over seeds.

Each function returns a ``matplotlib.figure.Figure`` and leaves pyplot's global state alone, so it
works without a display and in notebooks; ``save`` writes one to a file. One module a kind of
picture, and :mod:`.canvas` for what they share.
"""

from .canvas import ASKED, RIGHT, UNKNOWN, WRONG, save
from .losses import Curve, Panel, losses_figure
from .masks import LabelledImage, MaskExample, contact_sheet, mask_overlay, masks_figure
from .rankings import Hit, RankingExample, rankings_figure
from .seeds import Repeated, sweep_figure, variants_figure

__all__ = [
    "ASKED",
    "RIGHT",
    "UNKNOWN",
    "WRONG",
    "Curve",
    "Hit",
    "LabelledImage",
    "MaskExample",
    "Panel",
    "RankingExample",
    "Repeated",
    "contact_sheet",
    "losses_figure",
    "mask_overlay",
    "masks_figure",
    "rankings_figure",
    "save",
    "sweep_figure",
    "variants_figure",
]
