"""torchreid's own OSNets.

Zhou et al., "Omni-Scale Feature Learning for Person Re-identification", ICCV 2019; with instance
normalisation (AIN): TPAMI 2021.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn
from torchreid import models as torchreid_models

from .stages import Stages


class OSNet(Stages):
    """OSNet up to its last 1x1 convolution, of torchreid's modules under torchreid's names.

    Args:
        name: torchreid's name, such as ``osnet_x0_25``.
        pretrained: start from the ImageNet weights that torchreid downloads.

    Attributes:
        channels: (16, 64, 96, 128) of x0_25, (64, 256, 384, 512) of x1_0.

    Raises:
        RuntimeError: if the ImageNet weights cannot be had.
    """

    strides = (4, 8, 16, 16)

    def __init__(self, name: str, pretrained: bool = False) -> None:
        super().__init__()
        osnet: Any = _build(name, pretrained)
        self.conv1, self.maxpool = osnet.conv1, osnet.maxpool
        self.conv2, self.conv3 = osnet.conv2, osnet.conv3
        # of the AIN networks alone: the others have these layers at the end of the two above
        self.pool2 = getattr(osnet, "pool2", nn.Identity())
        self.pool3 = getattr(osnet, "pool3", nn.Identity())
        self.conv4, self.conv5 = osnet.conv4, osnet.conv5
        self.channels = (
            osnet.conv1.conv.out_channels,
            *(_width(osnet, stage) for stage in (2, 3)),
            osnet.conv5.conv.out_channels,
        )

    def parts(self) -> list[Callable[[Tensor], Tensor]]:
        return [
            lambda images: self.maxpool(self.conv1(images)),
            lambda x: self.pool2(self.conv2(x)),
            lambda x: self.pool3(self.conv3(x)),
            lambda x: self.conv5(self.conv4(x)),
        ]


def _build(name: str, pretrained: bool) -> Any:
    try:
        return torchreid_models.build_model(name, num_classes=1, pretrained=pretrained)
    except Exception as error:
        if not pretrained:
            raise
        raise RuntimeError(
            f"pretrained=True needs torchreid's ImageNet weights of {name}, which could not be "
            f"loaded ({type(error).__name__}: {error}). Put the file that torchreid's model zoo "
            f"offers at ~/.cache/torch/checkpoints/{name}_imagenet.pth, or pass pretrained=False "
            "(main.py: model.pretrained False) to start from random weights."
        ) from error


def _width(osnet: Any, stage: int) -> int:
    last = getattr(osnet, f"pool{stage}", None) or getattr(osnet, f"conv{stage}")[-1]
    return last[0].conv.out_channels


BUILDERS = {
    name: partial(OSNet, name)
    for name in (
        *("osnet_x0_25", "osnet_x0_5", "osnet_x0_75", "osnet_x1_0"),
        *("osnet_ain_x0_25", "osnet_ain_x0_5", "osnet_ain_x0_75", "osnet_ain_x1_0"),
    )
}
