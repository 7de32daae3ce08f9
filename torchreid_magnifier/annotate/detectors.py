"""Torchvision's COCO detectors with their trained weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torchvision.models import get_model, get_model_weights

from ..models.backbones.resnet import advice
from . import ParsingError

_WEIGHTS = "COCO_V1"
# Sides in pixels between which crops are scaled. COCO's people are seldom larger than this;
# torchvision's own 800 to 1333 pixels would make a crop ten times slower.
_SIZES = {"min_size": 256, "max_size": 512}
# A crop shows few people; torchvision's own limits, 1000 and 100, are for street scenes.
_LIMITS = {"rpn_post_nms_top_n_test": 200, "box_detections_per_img": 8}


def load_detector(name: str) -> tuple[nn.Module, torch.device]:
    """A detector in eval mode, on the GPU where there is one.

    Args:
        name: in torchvision's registry of models.

    Raises:
        ParsingError: the weights can neither be found nor downloaded; it says where to put them.
    """
    weights: Any = get_model_weights(name)[_WEIGHTS]
    try:
        model = get_model(name, weights=weights, **_SIZES, **_LIMITS)
    except Exception as error:  # no network, no space, a broken file: all end the same way
        raise ParsingError(
            f"torchvision's weights of {name} could not be loaded ({type(error).__name__}: "
            f"{error}). {advice(weights)}"
        ) from error
    return model.eval().to(device()), device()


def device() -> torch.device:
    """Where networks look at images: the GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
