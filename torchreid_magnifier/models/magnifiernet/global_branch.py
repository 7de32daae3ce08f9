"""Global branch (G): the whole person in one feature, the baseline of the paper's Table 2."""

from torch import Tensor, nn

from ..layers import BNNeck, global_average_pool


class GlobalBranch(nn.Module):
    """Global average pooling of stage 4 and a BNNeck (paper section 3; Luo et al., 2019).

    Args:
        channels: width of the backbone's stage 4, also of the feature.
        shift: see ``BNNeck``.
    """

    def __init__(self, channels: int, shift: bool = False) -> None:
        super().__init__()
        self.neck = BNNeck(channels, shift)

    def forward(self, stage4: Tensor) -> tuple[Tensor, Tensor]:
        """Stage 4 ``(N, C, h, w)`` -> the feature before and after the BNNeck, each ``(N, C)``."""
        feature = global_average_pool(stage4)
        return feature, self.neck(feature)
