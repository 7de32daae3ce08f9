"""Checkpoints that the papers' released code saved, renamed for the models here."""

from ...models.magnifiernet.conversion import convert_official_state_dict
from ...models.san.conversion import convert_san_state_dict
from .released import convert_checkpoint
from .renaming import Conversion

__all__ = [
    "Conversion",
    "convert_checkpoint",
    "convert_official_state_dict",
    "convert_san_state_dict",
]
