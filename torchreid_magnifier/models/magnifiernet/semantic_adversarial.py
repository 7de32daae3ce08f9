"""Semantic Adversarial Branch (SAB): learns from samples with body regions erased.

Called Semantic Regularization Branch (SRB) in the first version of the paper.
"""

import torch
from torch import Tensor, nn

from ...parts import BACKGROUND, FOREGROUND, LOWER_TORSO, UPPER_TORSO
from ..layers import BNNeck, bottleneck, global_max_pool
from ..regions import keep_regions


class RegionSampler:
    """Draws which regions survive the erasing of one batch (paper section 3.2).

    ``torso`` (Random-torso) keeps ``num_kept / 2`` of the upper-torso regions and as many of the
    lower-torso ones; ``baseline`` (Random-baseline) keeps any ``num_kept`` of all seven. The
    background always stays. The draw comes from torch's generator: a seed repeats it.

    Args:
        strategy: ``torso`` or ``baseline``.
        num_kept: the paper's K-hat.

    Raises:
        ValueError: for an unknown strategy or a number of regions that it cannot keep.
    """

    def __init__(self, strategy: str = "torso", num_kept: int = 4) -> None:
        if strategy == "torso":
            largest = 2 * min(len(UPPER_TORSO), len(LOWER_TORSO))
            if num_kept % 2 or not 2 <= num_kept <= largest:
                raise ValueError(
                    "Random-torso keeps num_kept / 2 regions of the upper and of the lower torso: "
                    f"num_kept must be even and from 2 to {largest}, got {num_kept}."
                )
            self.groups = [(UPPER_TORSO, num_kept // 2), (LOWER_TORSO, num_kept // 2)]
        elif strategy == "baseline":
            if not 1 <= num_kept <= len(FOREGROUND):
                raise ValueError(
                    f"Random-baseline keeps num_kept of {len(FOREGROUND)} regions: num_kept must "
                    f"be from 1 to {len(FOREGROUND)}, got {num_kept}."
                )
            self.groups = [(FOREGROUND, num_kept)]
        else:
            raise ValueError(
                f"Unknown sampling strategy {strategy!r}: expected 'torso' (Random-torso) or "
                "'baseline' (Random-baseline)."
            )

    def sample(self, generator: torch.Generator | None = None) -> list[int]:
        """Draw the regions that stay, background first; from torch's own generator if None."""
        kept = [BACKGROUND]
        for regions, count in self.groups:
            order = torch.randperm(len(regions), generator=generator)
            kept += [regions[i] for i in order[:count].tolist()]
        return kept


class SemanticAdversarialBranch(nn.Module):
    """Own bottleneck on stage 3, erased regions, max-pooling, 1x1 convolution, BNNeck (Eq. 2).

    At inference nothing is erased. The widths are the reference implementation's.

    Args:
        channels: width of the backbone's stage 3, also of the feature.
        shift: see ``BNNeck``.
    """

    def __init__(self, channels: int, shift: bool = False) -> None:
        super().__init__()
        self.bottleneck = bottleneck(channels)
        # A 1x1 convolution on a pooled map is a linear layer.
        self.reduce = nn.Linear(channels, channels, bias=False)
        self.neck = BNNeck(channels, shift)

    def forward(
        self, activation: Tensor, maps: Tensor | None = None, kept: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Pools what is not erased.

        Args:
            activation: what ``bottleneck`` makes of stage 3, ``(N, C, h, w)``.
            maps: region maps ``(N, K, h, w)``, in training.
            kept: ``selection`` of the regions that are not erased, ``(K,)``; ``None`` keeps
                everything.

        Returns:
            The feature ``(N, C)`` before the BNNeck and the embedding after it.
        """
        if maps is not None and kept is not None:
            activation = keep_regions(activation, maps, kept)
        feature = self.reduce(global_max_pool(activation))
        return feature, self.neck(feature)
