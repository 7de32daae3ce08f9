"""How the papers train: schedules of the learning rate, and SAN's optimizer."""

from .san_adam import SANAdam
from .schedule import WarmupMultiStepLR, default_warmup_epochs

__all__ = ["SANAdam", "WarmupMultiStepLR", "default_warmup_epochs"]
