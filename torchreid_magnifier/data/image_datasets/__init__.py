"""Image datasets that torchreid has not: of occluded people, CUHK03-NP, PIT, and a user's own.

``base``            files found and checked at once; sets for testing only
``occluded_duke``   Occluded-Duke
``occluded_whole``  Occluded-REID, Partial-REID, P-DukeMTMC-reID
``cuhk03np``        CUHK03-NP, detected or labelled
``pit``             PIT, people rendered with textures; training only
``image_folder``    a user's own images
"""

from .cuhk03np import CUHK03NP
from .image_folder import ImageFolder
from .occluded_duke import OccludedDuke
from .occluded_whole import OccludedREID, PartialREID, PDukeMTMCreID
from .pit import PaintedTextures

# The name under which torchreid knows each of them.
IMAGE_DATASETS = {
    "occluded_duke": OccludedDuke,
    "occluded_reid": OccludedREID,
    "p_dukemtmcreid": PDukeMTMCreID,
    "partial_reid": PartialREID,
    "cuhk03np": CUHK03NP,
    "pit": PaintedTextures,
    "image_folder": ImageFolder,
}
