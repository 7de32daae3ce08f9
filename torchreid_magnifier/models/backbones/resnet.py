"""torchvision's ResNets with the last down-sampling removed."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights

from .stages import Stages

# torchvision's first ImageNet weights, the ones that re-identification papers start from.
_WEIGHTS = "IMAGENET1K_V1"


class ResNet(Stages):
    """ResNet up to stage 4 with a last stride of 1 (MagnifierNet's section 4.1, SAN's encoder).

    Args:
        name: ``resnet50`` or ``resnet18`` (any torchvision ResNet).
        pretrained: start from torchvision's ImageNet weights (``IMAGENET1K_V1``).
        stem_relu: the ReLU of the stem, which MagnifierNet's reference implementation leaves out.

    Attributes:
        channels: (256, 512, 1024, 2048) of ResNet-50, (64, 128, 256, 512) of ResNet-18.

    Raises:
        RuntimeError: if the ImageNet weights can neither be found nor downloaded, with the place
            to put the file at.
    """

    strides = (4, 8, 16, 16)

    def __init__(self, name: str, pretrained: bool = False, stem_relu: bool = True) -> None:
        super().__init__()
        resnet = get_model(name, weights=None)
        if pretrained:
            _load_imagenet_weights(resnet, name)
        self.conv1, self.bn1 = resnet.conv1, resnet.bn1
        self.relu = resnet.relu if stem_relu else nn.Identity()
        self.maxpool = resnet.maxpool
        self.layer1, self.layer2 = resnet.layer1, resnet.layer2
        self.layer3, self.layer4 = resnet.layer3, resnet.layer4
        self.channels = (
            resnet.layer2[0].conv1.in_channels,
            resnet.layer3[0].conv1.in_channels,
            resnet.layer4[0].conv1.in_channels,
            resnet.fc.in_features,
        )
        for module in self.layer4[0].modules():
            if isinstance(module, nn.Conv2d):
                module.stride = (1, 1)

    def parts(self) -> list[Callable[[Tensor], Tensor]]:
        return [self._first, self.layer2, self.layer3, self.layer4]

    def _first(self, images: Tensor) -> Tensor:
        return self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(images)))))


BUILDERS = {
    name: partial(ResNet, name) for name in ("resnet18", "resnet34", "resnet50", "resnet101")
}


def _load_imagenet_weights(resnet: nn.Module, name: str) -> None:
    weights: Any = get_model_weights(name)[_WEIGHTS]
    try:
        resnet.load_state_dict(weights.get_state_dict(progress=True, check_hash=True))
    except Exception as error:  # no network, no space, a broken file: all end the same way
        raise RuntimeError(
            f"pretrained=True needs torchvision's ImageNet weights of {name}, which could not be "
            f"loaded ({type(error).__name__}: {error}). {advice(weights)}, or pass "
            "pretrained=False (main.py: model.pretrained False) to start from random weights."
        ) from error


def advice(weights: Any) -> str:
    """Return what to do about weights that could not be loaded, for an error message.

    Args:
        weights: member of a torchvision ``WeightsEnum``.
    """
    name = os.path.basename(urlparse(weights.url).path)
    path = os.path.join(torch.hub.get_dir(), "checkpoints", name)
    return (
        f"Download {weights.url} and put it at {path} (replace a file that is already there: it "
        "may be damaged)"
    )
