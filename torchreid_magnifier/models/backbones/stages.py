"""Shared by backbones: stages in a row, the first of which can be computed again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Stages(nn.Module):
    """Stages that take each other's feature maps.

    Attributes:
        channels, strides: of each stage.
        grad_checkpointing: the stages that are wider than the last one's map are computed again in
            the backward pass instead of being kept. ResNet-50 then keeps about half, for some 8 %
            more operations in a step.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def __init__(self) -> None:
        super().__init__()
        self.grad_checkpointing = False

    def parts(self) -> list[Callable[[Tensor], Tensor]]:
        """Return the stages, each from the map of the one before; the first takes images."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the stages ``(N, C, h, w)`` of images ``(N, 3, H, W)``, shallow to deep."""
        stages, x = [], images
        for part, stride in zip(self.parts(), self.strides, strict=True):
            x = self._sparing_memory(part, x) if stride < self.strides[-1] else part(x)
            stages.append(x)
        return tuple(stages)

    def _sparing_memory(self, part: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        if not (self.grad_checkpointing and self.training and torch.is_grad_enabled()):
            return part(x)
        return checkpoint(
            part,
            x,
            use_reentrant=False,
            preserve_rng_state=False,  # nothing is drawn
            context_fn=lambda: (nullcontext(), self._keeping_statistics()),
        )

    @contextmanager
    def _keeping_statistics(self) -> Iterator[None]:
        """Batch norm has seen the batch by the time that a part is computed again."""
        kept = [
            (norm, norm.momentum, norm.num_batches_tracked)
            for norm in self.modules()
            if isinstance(norm, nn.modules.batchnorm._BatchNorm)
        ]
        for norm, _, count in kept:
            norm.momentum = 0.0
            norm.num_batches_tracked = None if count is None else count.clone()
        try:
            yield
        finally:
            for norm, momentum, count in kept:
                norm.momentum, norm.num_batches_tracked = momentum, count
