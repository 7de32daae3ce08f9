"""Joining further losses and per-head weights at the autograd graph.

torchreid's engine computes its own losses of a model's outputs, averages them over the heads and
calls ``backward``; it has no place for a mask loss or for a weight of a head. Both are put into the
graph between the model and the engine instead: the forward values do not change, the gradients do.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class _AttachLoss(torch.autograd.Function):
    """Identity on the carriers; on the way back the loss receives the gradient ``scale()``."""

    @staticmethod
    def forward(
        ctx: Any, loss: Tensor, scale: Callable[[], float], *carriers: Tensor
    ) -> tuple[Tensor, ...]:
        # A carrier that the engine leaves out (weight_t = 0, say) keeps a gradient of None, so that
        # its parameters are not stepped by weight decay alone.
        ctx.set_materialize_grads(False)
        ctx.scale = scale
        ctx.like = loss.new_ones(())
        return tuple(carrier.clone() for carrier in carriers)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        return ctx.like * ctx.scale(), None, *grads


def attach_loss(
    loss: Tensor, carriers: list[Tensor], scale: Callable[[], float] = lambda: 1.0
) -> list[Tensor]:
    """Adds ``loss`` to whatever loss is later computed from ``carriers``, by its gradient alone.

    When any of the returned tensors takes part in a backward pass, ``scale() * loss`` is
    differentiated along with it, exactly once, however many of them do. The way mixture-of-experts
    code adds its load-balancing loss.

    Args:
        loss: scalar.
        carriers: tensors of any shape that the outer loss will be computed from.
        scale: asked at backward time: the factor of the loss (a gradient scaler's scale, a
            replica's share of the batch).

    Returns:
        Tensors with the values of ``carriers``.
    """
    if loss.dim() != 0:
        raise ValueError(f"attach_loss: expected a scalar loss, got shape {tuple(loss.shape)}.")
    if not carriers:
        raise ValueError("attach_loss: expected at least one carrier tensor, got none.")
    return list(_AttachLoss.apply(loss, scale, *carriers))


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, weight: Tensor | float) -> Tensor:
        ctx.weight = weight
        return tensor.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        weight = ctx.weight
        return grad * (weight.to(grad.dtype) if isinstance(weight, Tensor) else weight), None


def scale_gradient(tensor: Tensor, weight: Tensor | float) -> Tensor:
    """Identity whose backward multiplies the gradient by ``weight`` (a scalar).

    With ``weight = w * len(heads)`` on each head, the engine's mean over the heads becomes the sum
    with weights ``w`` that Eq. 4 of the paper asks for.
    """
    return _ScaleGradient.apply(tensor, weight)
