"""Image datasets that torchreid has not: of occluded people, CUHK03-NP, PIT, and a user's own.

``base``          files found and checked at once; sets for testing only
``published``     Occluded-Duke, Occluded-REID, Partial-REID, P-DukeMTMC-reID, CUHK03-NP, PIT
``image_folder``  a user's own images
"""

from .base import CheckedImageDataset
from .image_folder import ImageFolder
from .published import (
    CUHK03NP,
    OccludedDuke,
    OccludedREID,
    PaintedTextures,
    PartialREID,
    PDukeMTMCreID,
)

# The name under which torchreid knows each of them.
IMAGE_DATASETS: dict[str, type[CheckedImageDataset]] = {
    "occluded_duke": OccludedDuke,
    "occluded_reid": OccludedREID,
    "p_dukemtmcreid": PDukeMTMCreID,
    "partial_reid": PartialREID,
    "cuhk03np": CUHK03NP,
    "pit": PaintedTextures,
    "image_folder": ImageFolder,
}
