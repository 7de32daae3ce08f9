"""Schedules of the learning rate, SAN's optimizer, and what holds for any optimizer."""

from .decay import without_decay
from .fused import use_fused
from .san_adam import SANAdam
from .schedule import WarmupMultiStepLR, default_warmup_epochs

__all__ = ["SANAdam", "WarmupMultiStepLR", "default_warmup_epochs", "use_fused", "without_decay"]
