"""The learning-rate schedule of the paper: linear warm-up, then steps."""

from bisect import bisect_right
from collections.abc import Sequence

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

WARMUP_FACTOR = 0.01
WARMUP_EPOCHS = 10


class WarmupMultiStepLR(LRScheduler):
    """Warms up linearly, then multiplies the learning rate by ``gamma`` at each milestone.

    In epoch ``e``, counted from 0, the learning rate is the optimizer's own times
    ``gamma ** (number of milestones <= e)``, and in the first ``warmup_epochs`` also times
    ``warmup_factor * (1 - a) + a`` with ``a = e / warmup_epochs``.

    Source: the schedule of reid-strong-baseline (Luo et al., 2019), which MagnifierNet follows
    (paper section 4.1: 10 epochs of warm-up, steps at 40 and 70).

    Args:
        optimizer: the optimizer whose learning rates are set.
        milestones: epochs of the steps, positive and increasing.
        gamma: factor of each step, positive.
        warmup_factor: share of the learning rate in epoch 0, within 0..1.
        warmup_epochs: length of the warm-up; 0 is none. It ends before the first milestone.

    Raises:
        ValueError: for arguments outside these ranges.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Sequence[int],
        gamma: float = 0.1,
        warmup_factor: float = WARMUP_FACTOR,
        warmup_epochs: int = WARMUP_EPOCHS,
    ) -> None:
        self.milestones = _validated_milestones(milestones)
        if gamma <= 0:
            raise ValueError(f"gamma must be positive, got {gamma!r}.")
        if not 0 <= warmup_factor <= 1:
            raise ValueError(f"warmup_factor must be within 0..1, got {warmup_factor!r}.")
        if not 0 <= warmup_epochs < self.milestones[0]:
            raise ValueError(
                f"warmup_epochs must be at least 0 and below the first milestone "
                f"({self.milestones[0]}), got {warmup_epochs!r}."
            )
        self.gamma = gamma
        self.warmup_factor = warmup_factor
        self.warmup_epochs = warmup_epochs
        super().__init__(optimizer)  # takes step 0, so everything it needs is set above

    def get_lr(self) -> list[float | Tensor]:
        """The learning rate of each parameter group in epoch ``last_epoch``, in closed form."""
        factor = self.gamma ** bisect_right(self.milestones, self.last_epoch)
        if self.last_epoch < self.warmup_epochs:
            progress = self.last_epoch / self.warmup_epochs
            factor *= self.warmup_factor * (1 - progress) + progress
        return [base_lr * factor for base_lr in self.base_lrs]


def default_warmup_epochs(milestones: Sequence[int]) -> int:
    """The warm-up where only the steps are known: 10 epochs, or a quarter of a short first step.

    Torchreid's configuration has no key for the warm-up, so ``train.lr_scheduler
    warmup_multi_step`` takes this length and starts from 0.01 of ``train.lr``.

    Raises:
        ValueError: if the milestones are not increasing positive integers.
    """
    return min(WARMUP_EPOCHS, _validated_milestones(milestones)[0] // 4)


def _validated_milestones(milestones: Sequence[int]) -> list[int]:
    found = list(milestones)
    whole = all(isinstance(epoch, int) for epoch in found)
    if not found or not whole or any(b <= a for a, b in zip([0, *found], found)):
        raise ValueError(f"milestones must be increasing positive integers, got {found!r}.")
    return found
