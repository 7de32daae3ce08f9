"""Schedules of the learning rate, SAN's optimizer, and fused steps of any optimizer."""

from .fused import use_fused
from .san_adam import SANAdam
from .schedule import WarmupMultiStepLR, default_warmup_epochs

__all__ = ["SANAdam", "WarmupMultiStepLR", "default_warmup_epochs", "use_fused"]
