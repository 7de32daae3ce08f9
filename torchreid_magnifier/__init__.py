"""MagnifierNet and SAN for torchreid. Importing this package registers it, once.

After ``pip install``, importing torchreid is enough (see ``_autoload``):

    import torchreid
    model = torchreid.models.build_model("magnifiernet", num_classes=751, loss="triplet")
"""

# ruff: noqa: E402
from ._start import start

start()  # before torch is loaded

from .checkpoint import CheckpointError, load_weights, read_checkpoint
from .data.datasets import with_masks, with_textures
from .inference.open import open_network
from .losses import PartSegmentationLoss, SemanticDiversityLoss
from .models import SAN, MagnifierNet, list_models
from .models.backbones import register_backbone
from .models.magnifiernet.conversion import convert_official_state_dict
from .models.san.conversion import convert_san_state_dict
from .registry import register, register_model
from .training.optim import SANAdam, WarmupMultiStepLR

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
    "list_models",
    "load_weights",
    "open_network",
    "read_checkpoint",
    "register",
    "register_backbone",
    "register_model",
    "with_masks",
    "with_textures",
]

register()
