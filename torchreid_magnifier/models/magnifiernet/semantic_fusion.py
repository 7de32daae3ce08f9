"""Semantic Fusion Branch (SFB): one feature a body region, fused by a recurrent layer.

The paper's is a GRU, the reference implementation's an LSTM; with ``fusion='concat'`` it is the
ablation branch (AB) of the paper's Fig. 4.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...parts import NUM_PARTS
from ..layers import BNNeck, bottleneck
from ..regions import region_max_pool


class _Recurrent(nn.Module):
    """The parameters of a layer of torch, which are stepped by its cells.

    ``torch.compile`` looks into no ``nn.GRU`` or ``nn.LSTM``, and cuDNN's want their weights in one
    piece, which replicas of ``nn.DataParallel`` break up. Eight regions are a short sequence.
    """

    def __init__(self, like: nn.RNNBase) -> None:
        super().__init__()
        self._names = [name for name, _ in like.named_parameters()]
        for name, parameter in like.named_parameters():
            self.register_parameter(name, parameter)

    def weights(self) -> list[Tensor]:
        """Return the parameters in the order that torch's cells take."""
        return [getattr(self, name) for name in self._names]  # replicas list no parameters


class GRUFusion(nn.Module):
    """The last output of a one-layer GRU over the regions, background first (section 3.3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gru = _Recurrent(nn.GRU(channels, channels))

    def forward(self, regions: Tensor) -> Tensor:
        """``(N, K, C)`` -> ``(N, C)``."""
        state = torch.zeros_like(regions[:, 0])
        for region in regions.unbind(1):
            state = torch.gru_cell(region, state, *self.gru.weights())
        return state


class LSTMFusion(nn.Module):
    """The last hidden state of a one-layer LSTM, as in the reference implementation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lstm = _Recurrent(nn.LSTM(channels, channels))

    def forward(self, regions: Tensor) -> Tensor:
        """``(N, K, C)`` -> ``(N, C)``."""
        hidden = cell = torch.zeros_like(regions[:, 0])
        for region in regions.unbind(1):
            hidden, cell = torch.lstm_cell(region, (hidden, cell), *self.lstm.weights())
        return hidden


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
    """Output of SFB for N images.

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
        channels: width of the backbone's stage 3, also of every feature.
        fusion: ``lstm`` (the reference implementation's), ``gru`` (the paper's), ``concat`` (its
            ablation branch, Fig. 4) or ``mean``.
        shift: see ``BNNeck``.
    """

    def __init__(self, channels: int, fusion: str, shift: bool = False) -> None:
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
