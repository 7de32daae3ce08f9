"""Schedules of the learning rate, SAN's optimizer, and what holds for any optimizer."""

from .san_adam import SANAdam
from .schedule import WarmupMultiStepLR, default_warmup_epochs
from .steps import use_fused, without_decay

__all__ = ["SANAdam", "WarmupMultiStepLR", "default_warmup_epochs", "use_fused", "without_decay"]
