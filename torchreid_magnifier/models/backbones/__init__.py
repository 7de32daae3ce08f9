"""Backbones: networks that turn images into a tuple of feature maps, by name.

One file a family. A backbone is a module with ``channels`` and ``strides``, one a stage, whose
forward gives the stages ``(N, C, h, w)``, shallow to deep. Nothing else is asked of it, so that a
network of another width or from another library needs no edit of a model.
"""

from collections.abc import Callable
from typing import Any

from torch import nn

from ...errors import closest
from . import osnet, resnet, timm

Builder = Callable[..., nn.Module]

_BUILDERS: dict[str, Builder] = {**resnet.BUILDERS, **osnet.BUILDERS}


def build_backbone(name: str, pretrained: bool = False, **options: Any) -> nn.Module:
    """Build a backbone.

    Args:
        name: one of ``list_backbones()``, or ``timm/NAME`` for any network of timm that gives
            feature maps (``pip install torchreid-magnifier[timm]``).
        pretrained: start from the weights that its library offers (ImageNet).
        options: of the family, such as ``stem_relu`` of the ResNets.

    Returns:
        A module with the attributes ``channels`` and ``strides`` (a number for each stage), whose
        forward takes ``(N, 3, H, W)`` and returns the stages, shallow to deep.

    Raises:
        ValueError: for a name that nobody registered.
        RuntimeError: if pretrained weights cannot be had. Training never starts from random
            weights in silence.
    """
    if name.startswith(timm.PREFIX):
        return timm.build(name.removeprefix(timm.PREFIX), pretrained, **options)
    if name not in _BUILDERS:
        raise ValueError(
            f"Unknown backbone {name!r}{closest(name, _BUILDERS)} (known: {', '.join(_BUILDERS)}, "
            "any timm/NAME, and what register_backbone adds)"
        )
    return _BUILDERS[name](pretrained=pretrained, **options)


def register_backbone(name: str, builder: Builder) -> None:
    """Add a backbone, which every model can then be built on (``backbone=name``).

    Args:
        name: not taken yet by another builder.
        builder: ``builder(pretrained=..., **options)`` returns the module (``build_backbone``).

    Raises:
        ValueError: if the name is taken.
    """
    if name.startswith(timm.PREFIX) or _BUILDERS.get(name, builder) is not builder:
        raise ValueError(f"There is a backbone {name!r} already: register yours by another name.")
    _BUILDERS[name] = builder


def list_backbones() -> list[str]:
    """Return the names of all backbones but timm's, which ``timm.list_models()`` gives."""
    return list(_BUILDERS)


__all__ = ["build_backbone", "list_backbones", "register_backbone"]
