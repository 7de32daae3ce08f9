"""Checkpoints that the papers' released code saved, renamed for the models here."""

from .magnifiernet import convert_official_state_dict
from .released import convert_checkpoint
from .renaming import Conversion
from .san import convert_san_state_dict

__all__ = [
    "Conversion",
    "convert_checkpoint",
    "convert_official_state_dict",
    "convert_san_state_dict",
]
