"""SAN's decoder (SA-Dec): from the encoder's stages to the texture of the person's whole surface.

Jin et al., "Semantics-Aligned Representation Learning for Person Re-identification", AAAI 2020;
layers, widths and initialisation are those of its reference implementation (``main.py``).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn


class Decoded(NamedTuple):
    """Output of the decoder for N images of height H and width W.

    Attributes:
        texture: ``(N, 3, H, 2W)``; textures lie in [-1, 1], what is decoded is not bounded.
        maps: of the four levels, before any activation: ``(N, C, h, w)`` of an eighth, a quarter,
            half and the whole of H and W.
    """

    texture: Tensor
    maps: tuple[Tensor, Tensor, Tensor, Tensor]


class TextureDecoder(nn.Module):
    """Four levels that each double the size; stages 1 to 3 of the encoder are added on the way.

    Args:
        channels: widths of the encoder's four stages.
        widths: of the decoder: of its input, and of its four levels.
    """

    def __init__(self, channels: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        self.reduce = _pointwise(channels[3], widths[0])
        self.skips = nn.ModuleList(
            _pointwise(channels[2 - level], widths[level]) for level in range(3)
        )
        self.levels = nn.ModuleList(_Level(widths[i], widths[i + 1]) for i in range(4))
        self.to_texture = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(widths[4], 3, 7))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_normal_(module.weight, gain=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, 0.02)

    def forward(self, stages: Sequence[Tensor]) -> Decoded:
        """The encoder's four stages -> texture and maps."""
        x = self.reduce(stages[3])
        maps = []
        for index, level in enumerate(self.levels):
            if index < len(self.skips):
                x = x + self.skips[index](stages[2 - index])
            x = level(x)
            maps.append(x)
        y = self.to_texture(x)
        height, width = y.shape[2:]
        texture = F.interpolate(y, (height, 2 * width), mode="bilinear", align_corners=True)
        return Decoded(texture, (maps[0], maps[1], maps[2], maps[3]))


class _Level(nn.Module):
    """A residual block, then twice the size and another width."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.enlarge = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, out_channels, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.enlarge(F.relu(self.residual(x) + x))


def _pointwise(channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, 1), nn.BatchNorm2d(out_channels), nn.ReLU()
    )
