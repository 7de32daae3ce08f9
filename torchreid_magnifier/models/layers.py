"""Small layers that several branches share."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from ..losses.precision import widened


class BNNeck(nn.BatchNorm1d):
    """Batch normalisation without a shift, between an embedding and its classifier.

    The triplet loss takes the features before it, cross-entropy and retrieval those after it
    (Luo et al., "Bag of Tricks", 2019, which the paper follows in section 3.3). There is no bias
    *parameter*: torchreid's engine makes every parameter trainable in each epoch, so that a frozen
    bias would thaw.

    Args:
        channels: width of the embedding.
        shift: keep a shift that is never trained, zero unless a checkpoint brings another: the
            frozen bias of the reference implementation.
    """

    def __init__(self, channels: int, shift: bool = False) -> None:
        super().__init__(channels)
        del self.bias
        self.register_buffer("bias", torch.zeros(channels) if shift else None)

    def reset_parameters(self) -> None:
        """Scale 1; there is no trained shift to reset."""
        self.reset_running_stats()
        nn.init.ones_(self.weight)


def bottleneck(channels: int) -> Bottleneck:
    """A residual bottleneck of ``channels`` in and out, initialised as in ResNet."""
    block = Bottleneck(channels, channels // Bottleneck.expansion)
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return block


def projected(channels: int, width: int) -> nn.Sequential:
    """Return a 1x1 convolution from ``channels`` to ``width``, batch norm and ReLU."""
    conv = nn.Conv2d(channels, width, 1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU(inplace=True))


def classifier(channels: int, num_classes: int, bias: bool = False) -> nn.Linear:
    """The identity classifier after a BNNeck: small random weights, no bias (Luo et al.).

    That of the reference implementation has a ``bias``, zero at first.
    """
    layer = nn.Linear(channels, num_classes, bias=bias)
    nn.init.normal_(layer.weight, std=0.001)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def global_max_pool(features: Tensor) -> Tensor:
    """``(N, C, h, w)`` -> ``(N, C)``, at least float32."""
    return widened(F.adaptive_max_pool2d(features, 1).flatten(1))


def global_average_pool(features: Tensor) -> Tensor:
    """``(N, C, h, w)`` -> ``(N, C)``, at least float32, also while it sums."""
    return features.mean((2, 3), dtype=torch.promote_types(features.dtype, torch.float32))
