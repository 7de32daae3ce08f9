"""Any network of timm that gives feature maps (extra ``timm``)."""

import importlib
from typing import Any

from torch import Tensor, nn

from ...errors import needing

PREFIX = "timm/"
_STRIDE = 16  # of the last stage: regions of the body need some resolution


class TimmBackbone(nn.Module):
    """A network of ``timm.create_model(features_only=True)``, whose last stage has stride 16.

    Attributes:
        channels, strides: of the stages.
        grad_checkpointing: set it, and timm computes blocks again in the backward pass.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.channels = tuple(network.feature_info.channels())
        self.strides = tuple(network.feature_info.reduction())
        self._checkpointing = False

    @property
    def grad_checkpointing(self) -> bool:
        return self._checkpointing

    @grad_checkpointing.setter
    def grad_checkpointing(self, enable: bool) -> None:
        self.network.set_grad_checkpointing(enable)
        self._checkpointing = enable

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the stages ``(N, C, h, w)`` of images ``(N, 3, H, W)``, shallow to deep."""
        return tuple(
            # transformers with windows put the channels last
            stage.permute(0, 3, 1, 2) if stage.shape[1] != width == stage.shape[3] else stage
            for stage, width in zip(self.network(images), self.channels)
        )


def build(name: str, pretrained: bool = False, **options: Any) -> TimmBackbone:
    """Build a network of timm.

    The last strides are taken away (``output_stride``) where the network can do without them;
    else the stages up to stride 16 are taken (``out_indices``).

    Args:
        name: timm's, such as ``mobilenetv3_small_100``.
        pretrained: start from the weights that timm downloads.
        options: of ``timm.create_model``.

    Raises:
        RuntimeError: without timm, for a name that it does not know, a network that has no two
            stages up to stride 16, or weights that cannot be had.
    """
    with needing(f"The backbone {PREFIX}{name} needs timm", "timm", RuntimeError):
        timm = importlib.import_module("timm")
    if not timm.is_model(name.partition(".")[0]):
        near = ", ".join(timm.list_models(f"*{name[:6]}*")[:5]) or "none of a like name"
        raise RuntimeError(f"timm {timm.__version__} has no model {name!r}; it has {near}.")

    def create(**given: Any) -> Any:
        return timm.create_model(name, pretrained=False, features_only=True, **options, **given)

    try:
        given: dict[str, Any] = {"output_stride": _STRIDE}
        network = create(**given)
        if network.feature_info.reduction()[-1] != _STRIDE:
            raise ValueError("it has another stride")
    except (AssertionError, NotImplementedError, RuntimeError, TypeError, ValueError):
        reductions = create().feature_info.reduction()
        given = {"out_indices": [i for i, r in enumerate(reductions) if r <= _STRIDE]}
        if len(given["out_indices"]) < 2 or _STRIDE not in reductions:
            raise RuntimeError(
                f"timm's {name} gives stages of the strides {reductions}: a backbone needs two or "
                f"more stages up to stride {_STRIDE}, with one of stride {_STRIDE}."
            ) from None
        network = create(**given)
    if not pretrained:
        return TimmBackbone(network)
    try:
        return TimmBackbone(
            timm.create_model(name, pretrained=True, features_only=True, **options, **given)
        )
    except Exception as error:
        raise RuntimeError(
            f"pretrained=True needs timm's weights of {name}, which could not be loaded "
            f"({type(error).__name__}: {error}). Pass pretrained=False (main.py: model.pretrained "
            "False) to start from random weights."
        ) from error
