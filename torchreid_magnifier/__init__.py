"""MagnifierNet and SAN for torchreid. Importing this package registers it, once.

After ``pip install``, importing torchreid is enough (see ``autoload``):

    import torchreid
    model = torchreid.models.build_model("magnifiernet", num_classes=751, loss="triplet")
"""

from .checkpoints import CheckpointError, load_weights, read_checkpoint
from .conversion import convert_official_state_dict, convert_san_state_dict
from .data.datasets import with_masks, with_textures
from .losses import PartSegmentationLoss, SemanticDiversityLoss
from .models import SAN, MagnifierNet
from .optim import SANAdam, WarmupMultiStepLR
from .registry import register
from .weights import load_pretrained

__version__ = "0.1.0"

__all__ = [
    "SAN",
    "SANAdam",
    "CheckpointError",
    "MagnifierNet",
    "PartSegmentationLoss",
    "SemanticDiversityLoss",
    "WarmupMultiStepLR",
    "convert_official_state_dict",
    "convert_san_state_dict",
    "load_pretrained",
    "load_weights",
    "read_checkpoint",
    "register",
    "with_masks",
    "with_textures",
]

register()
