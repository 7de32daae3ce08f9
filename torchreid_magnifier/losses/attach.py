"""Joining further losses and per-head weights at the autograd graph.

torchreid's engine computes its own losses of a model's outputs, averages them over the heads and
calls ``backward``; it has no place for a mask loss or for a weight of a head. Both are put into the
graph between the model and the engine instead: the forward values do not change, the gradients do.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


class _AttachLosses(torch.autograd.Function):
    """Identity on the carriers; on the way back the losses receive the ``gradients()``."""

    @staticmethod
    def forward(
        ctx: Any, gradients: Callable[[], Sequence[Any]], count: int, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        # A carrier that the engine leaves out (weight_t = 0, say) keeps a gradient of None, so that
        # its parameters are not stepped by weight decay alone.
        ctx.set_materialize_grads(False)
        ctx.gradients = gradients
        ctx.ones = [torch.ones_like(loss) for loss in tensors[:count]]
        return tuple(carrier.clone() for carrier in tensors[count:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        own = [
            one * (g.to(one) if isinstance(g, Tensor) else g)
            for one, g in zip(ctx.ones, ctx.gradients())
        ]
        return None, None, *own, *grads


def attach_losses(
    losses: Sequence[Tensor], carriers: Sequence[Tensor], gradients: Callable[[], Sequence[Any]]
) -> list[Tensor]:
    """Add losses to whatever loss is later computed from ``carriers``, by their gradients alone.

    When any of the returned tensors takes part in a backward pass, each loss receives its gradient
    along with it, exactly once, however many of them do. The way mixture-of-experts code adds its
    load-balancing loss.

    Args:
        losses: tensors of any shape.
        carriers: tensors of any shape that the outer loss will be computed from.
        gradients: asked at backward time: for each loss the gradient that it receives, a number or
            a tensor of its shape (its weight times a gradient scaler's scale, a replica's share of
            the batch).

    Returns:
        Tensors with the values of ``carriers``.

    Raises:
        ValueError: without a carrier.
    """
    if not carriers:
        raise ValueError("attach_losses: expected at least one carrier tensor, got none.")
    return list(_AttachLosses.apply(gradients, len(losses), *losses, *carriers))


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, weight: Any) -> Tensor:
        ctx.weight = weight
        return tensor.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        weight = ctx.weight() if callable(ctx.weight) else ctx.weight
        return grad * (weight.to(grad) if isinstance(weight, Tensor) else weight), None


def scale_gradient(tensor: Tensor, weight: Tensor | float | Callable[[], Tensor]) -> Tensor:
    """Return ``tensor``, whose gradient is multiplied by a scalar ``weight`` on the way back.

    With ``weight = w * len(heads)`` on each head, the engine's mean over the heads becomes the sum
    with weights ``w`` that Eq. 4 of the paper asks for. A function is asked at backward time.
    """
    return _ScaleGradient.apply(tensor, weight)
