"""The networks of this package: MagnifierNet and SAN, their parts and variants by name."""

from collections.abc import Callable
from functools import partial

from .magnifiernet.model import MODELS, MagnifierNet
from .san import SAN, SAN_MODELS

ALL_MODELS: dict[str, Callable[..., MagnifierNet | SAN]] = {**MODELS, **SAN_MODELS}
"""Every architecture of this package by name: MagnifierNet's variants, then SAN's."""

_BF16 = "_bf16"

NAMED_MODELS: dict[str, Callable[..., MagnifierNet | SAN]] = {
    **ALL_MODELS,
    **{name + _BF16: partial(build, precision="bfloat16") for name, build in ALL_MODELS.items()},
}
"""What torchreid's ``build_model`` knows: each architecture, and in mixed precision (``_bf16``)."""


def architecture(name: str) -> str:
    """The architecture that a model name stands for: one of ``ALL_MODELS``."""
    return name.removesuffix(_BF16)


def variant(name: str, suffix: str) -> str:
    """The name of a variant of a whole network, in the same precision."""
    return architecture(name) + suffix + name[len(architecture(name)) :]


__all__ = [
    "ALL_MODELS",
    "MODELS",
    "NAMED_MODELS",
    "SAN",
    "SAN_MODELS",
    "MagnifierNet",
    "architecture",
    "variant",
]
