"""The learning-rate schedules of the papers: warm-up, linear or exponential, then steps."""

from bisect import bisect_right
from collections.abc import Sequence

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

WARMUP_FACTOR = 0.01
WARMUP_EPOCHS = 10
WARMUP_METHODS = ("linear", "exponential")

# Where only the steps are known: the most epochs, and which part of the first step, as a divisor.
_DEFAULTS = {"linear": (WARMUP_EPOCHS, 4), "exponential": (20, 3)}


class WarmupMultiStepLR(LRScheduler):
    """Warms up, then multiplies the learning rate by ``gamma`` at each milestone.

    In epoch ``e``, counted from 0, the learning rate is the optimizer's own times
    ``gamma ** (number of milestones <= e)``, and in the first ``warmup_epochs`` also times
    ``warmup_factor * (1 - a) + a`` (linear) or ``warmup_factor ** (1 - a)`` (exponential) with
    ``a = e / warmup_epochs``.

    Source: linear, the schedule of reid-strong-baseline (Luo et al., 2019), which MagnifierNet
    follows (paper section 4.1: 10 epochs of warm-up, steps at 40 and 70). Exponential, SAN's
    reference implementation (``main.py``): 20 epochs from 8e-6 to 8e-4, then steps after 40, 80,
    ..., 280 more. The code multiplies by 1.259 an epoch, ``0.01 ** (-1 / 20)`` rounded: its
    learning rates are higher by up to 0.12 %.

    Args:
        optimizer: the optimizer whose learning rates are set.
        milestones: epochs of the steps, positive and increasing.
        gamma: factor of each step, positive.
        warmup_factor: share of the learning rate in epoch 0, within 0..1.
        warmup_epochs: length of the warm-up; 0 is none. It ends before the first milestone.
        warmup_method: ``linear`` or ``exponential``; the latter needs a positive factor.

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
        warmup_method: str = "linear",
    ) -> None:
        self.milestones = _validated_milestones(milestones)
        if gamma <= 0:
            raise ValueError(f"gamma must be positive, got {gamma!r}.")
        if not 0 <= warmup_factor <= 1:
            raise ValueError(f"warmup_factor must be within 0..1, got {warmup_factor!r}.")
        if warmup_method not in WARMUP_METHODS:
            raise ValueError(
                f"Unknown warmup_method {warmup_method!r}: expected one of {list(WARMUP_METHODS)}."
            )
        if warmup_method == "exponential" and not warmup_factor:
            raise ValueError("An exponential warm-up needs a positive warmup_factor, got 0.")
        if not 0 <= warmup_epochs < self.milestones[0]:
            raise ValueError(
                f"warmup_epochs must be at least 0 and below the first milestone "
                f"({self.milestones[0]}), got {warmup_epochs!r}."
            )
        self.gamma = gamma
        self.warmup_factor = warmup_factor
        self.warmup_epochs = warmup_epochs
        self.warmup_method = warmup_method
        super().__init__(optimizer)  # takes step 0, so everything it needs is set above

    def get_lr(self) -> list[float | Tensor]:
        """Return the learning rate of each parameter group in epoch ``last_epoch``."""
        factor = self.gamma ** bisect_right(self.milestones, self.last_epoch)
        if self.last_epoch < self.warmup_epochs:
            progress = self.last_epoch / self.warmup_epochs
            if self.warmup_method == "linear":
                factor *= self.warmup_factor * (1 - progress) + progress
            else:
                factor *= self.warmup_factor ** (1 - progress)
        return [base_lr * factor for base_lr in self.base_lrs]


def default_warmup_epochs(milestones: Sequence[int], warmup_method: str = "linear") -> int:
    """Return the warm-up where only the steps are known: the paper's, or part of a short step.

    Torchreid's configuration has no key for the warm-up, so ``train.lr_scheduler`` takes this
    length and starts from 0.01 of ``train.lr``: ``warmup_multi_step`` (linear) 10 epochs, at most a
    quarter of the first step; ``exponential_warmup_multi_step`` 20 epochs, at most a third.

    Raises:
        ValueError: if the milestones are not increasing positive integers.
    """
    longest, divisor = _DEFAULTS[warmup_method]
    return min(longest, _validated_milestones(milestones)[0] // divisor)


def _validated_milestones(milestones: Sequence[int]) -> list[int]:
    found = list(milestones)
    whole = all(isinstance(epoch, int) for epoch in found)
    if not found or not whole or any(b <= a for a, b in zip([0, *found], found)):
        raise ValueError(f"milestones must be increasing positive integers, got {found!r}.")
    return found
