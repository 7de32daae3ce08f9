"""Pictures of what networks do: masks and activations over images, rankings, losses, seeds.

Each function returns a ``matplotlib.figure.Figure`` and leaves pyplot's global state alone, so it
works without a display and in notebooks; ``save`` writes one to a file. One module a kind of
picture, and :mod:`.canvas` for what they share.
"""

from .canvas import ASKED, RIGHT, UNKNOWN, WRONG, save
from .grid import PictureRow, heat_figure
from .heat import HeatBar, heat_overlay, parts_heat_overlay
from .losses import Curve, Panel, losses_figure
from .masks import LabelledImage, MaskExample, contact_sheet, mask_overlay, masks_figure
from .pairs import Pair, pairs_figure
from .rankings import Hit, RankingExample, rankings_figure
from .seeds import Repeated, sweep_figure, variants_figure
from .similarity import Similarity, similarity_figure

__all__ = [
    "ASKED",
    "RIGHT",
    "UNKNOWN",
    "WRONG",
    "Curve",
    "HeatBar",
    "Hit",
    "LabelledImage",
    "MaskExample",
    "Pair",
    "Panel",
    "PictureRow",
    "RankingExample",
    "Repeated",
    "Similarity",
    "contact_sheet",
    "heat_figure",
    "heat_overlay",
    "losses_figure",
    "mask_overlay",
    "masks_figure",
    "pairs_figure",
    "parts_heat_overlay",
    "rankings_figure",
    "save",
    "similarity_figure",
    "sweep_figure",
    "variants_figure",
]
