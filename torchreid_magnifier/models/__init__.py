"""The networks of this package: MagnifierNet and SAN, their parts and variants by name."""

from collections.abc import Callable

from .magnifiernet import MODELS, MagnifierNet
from .san import SAN, SAN_MODELS

ALL_MODELS: dict[str, Callable[..., MagnifierNet | SAN]] = {**MODELS, **SAN_MODELS}
"""Every model of this package by name: MagnifierNet's variants, then SAN's."""

__all__ = ["ALL_MODELS", "MODELS", "SAN", "SAN_MODELS", "MagnifierNet"]
