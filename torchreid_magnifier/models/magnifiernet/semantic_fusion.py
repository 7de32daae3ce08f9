"""Semantic Fusion Branch (SFB): one feature a body region, fused by a GRU.

With ``fusion='concat'`` it is the ablation branch (AB) of the paper's Fig. 4, with ``'lstm'`` the
branch of the released code.
"""

from typing import NamedTuple

from torch import Tensor, nn

from ...parts import NUM_PARTS
from ..layers import BNNeck, bottleneck
from ..regions import region_max_pool
from .recurrent import GRU, LSTM


class GRUFusion(nn.Module):
    """The last output of a one-layer GRU over the regions, background first (section 3.3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gru = GRU(channels)

    def forward(self, regions: Tensor) -> Tensor:
        """``(N, K, C)`` -> ``(N, C)``."""
        return self.gru(regions)


class LSTMFusion(nn.Module):
    """The last hidden state of a one-layer LSTM, background first, as in the released code."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lstm = LSTM(channels)

    def forward(self, regions: Tensor) -> Tensor:
        """``(N, K, C)`` -> ``(N, C)``."""
        return self.lstm(regions)


class MeanFusion(nn.Module):
    """The mean over the regions: fusion without a parameter, the plainest alternative."""

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, regions: Tensor) -> Tensor:
        """``(N, K, C)`` -> ``(N, C)``."""
        return regions.mean(1)


class ConcatFusion(nn.Module):
    """A 1x1 convolution a region to C/K channels, concatenated: the paper's ablation branch."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv1d(
            NUM_PARTS * channels, channels, kernel_size=1, groups=NUM_PARTS, bias=False
        )

    def forward(self, regions: Tensor) -> Tensor:
        """``(N, K, C)`` -> ``(N, C)``."""
        return self.reduce(regions.flatten(1).unsqueeze(2)).squeeze(2)


FUSIONS = {"gru": GRUFusion, "lstm": LSTMFusion, "mean": MeanFusion, "concat": ConcatFusion}


class Fused(NamedTuple):
    """What SFB makes of N images.

    Attributes:
        feature, embedding: the fused feature before and after the BNNeck, each ``(N, C)``.
        regions: the pooled region features ``(N, K, C)``, which the SD loss and the region
            classifiers take.
    """

    feature: Tensor
    embedding: Tensor
    regions: Tensor


class SemanticFusionBranch(nn.Module):
    """Own bottleneck on stage 3, max-pooling over each region, fusion, BNNeck (section 3.3).

    Args:
        channels: width of the trunk's stage 3, also of every feature.
        fusion: ``gru`` (the paper's branch), ``concat`` (its ablation branch, Fig. 4), ``lstm``
            (the released code's) or ``mean``.
        shift: see ``BNNeck``.
    """

    def __init__(self, channels: int, fusion: str = "gru", shift: bool = False) -> None:
        super().__init__()
        if fusion not in FUSIONS:
            raise ValueError(f"Unknown fusion {fusion!r}: expected one of {list(FUSIONS)}.")
        self.bottleneck = bottleneck(channels)
        self.fusion = FUSIONS[fusion](channels)
        self.neck = BNNeck(channels, shift)
        self.region_necks = nn.ModuleList(BNNeck(channels, shift) for _ in range(NUM_PARTS))

    def forward(self, activation: Tensor, maps: Tensor) -> Fused:
        """Fuses the regions of ``maps (N, K, h, w)`` on what ``bottleneck`` makes of stage 3."""
        regions = region_max_pool(activation, maps)
        feature = self.fusion(regions)
        return Fused(feature, self.neck(feature), regions)

    def region_embeddings(self, regions: Tensor) -> list[Tensor]:
        """Region features ``(N, K, C)`` after their own BNNecks: K tensors ``(N, C)``."""
        return [neck(region) for neck, region in zip(self.region_necks, regions.unbind(1))]
