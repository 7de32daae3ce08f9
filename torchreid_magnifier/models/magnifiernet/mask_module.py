"""Mask module (M): predicts the body parts of an image from the backbone's last feature map."""

import torch
from torch import Tensor, nn

from ...parts import NUM_PARTS


class MaskModule(nn.Module):
    """3x3 deconvolution of stride 2, batch norm, ReLU, 1x1 convolution to one logit a part.

    Source: paper section 3.1 (the head of Mask R-CNN, with He initialisation as there). The widths
    are the reference's; its initialisation, normal with a standard deviation of 0.001
    (``init_std``), is not: from random weights it holds the masks back for the first hundred
    steps.

    Args:
        channels: width of the backbone's stage 4; the deconvolution has an eighth of it.
        init_std: standard deviation of the first weights in place of He's.
    """

    def __init__(self, channels: int, init_std: float | None = None) -> None:
        super().__init__()
        width = channels // 8
        self.deconv = nn.ConvTranspose2d(
            channels, width, 3, stride=2, padding=1, output_padding=1, bias=False
        )
        self.bn = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(width, NUM_PARTS, 1)
        for layer in (self.deconv, self.conv):
            if init_std is None:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            else:
                nn.init.normal_(layer.weight, std=init_std)
        self.conv.bias = nn.Parameter(torch.zeros(NUM_PARTS))

    def forward(self, stage4: Tensor) -> Tensor:
        """Stage 4 ``(N, C, h, w)`` -> part logits ``(N, 8, 2h, 2w)``."""
        return self.conv(self.relu(self.bn(self.deconv(stage4))))
