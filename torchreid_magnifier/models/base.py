"""What every model here shares: losses of its own that reach the optimizer through any engine."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..losses.attach import attach_loss
from ..losses.forward_pass import ForwardPass
from ..losses.log import LossLog
from .backbones.resnet import ResNetTrunk
from .folding import optimized

Model = TypeVar("Model", bound="LossCarrier")

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}


class LossCarrier(nn.Module):
    """A model that attaches its own losses to those that an engine computes of its outputs.

    Args:
        precision: ``bfloat16`` for mixed precision in training and evaluation: what convolves
            runs under ``torch.autocast``; parameters, heads and losses are float32, so that engine
            and optimizer need to know nothing of it. ``float32`` leaves the dtype alone.

    Attributes:
        loss_log: the model's own loss terms: ``loss_log.last`` of the last batch,
            ``loss_log.history`` of the epochs so far. A line with their means is printed when an
            epoch ends (``train()`` or ``eval()``).
        injected_loss_scale: factor of the attached losses, a number or a function that is asked at
            backward time. With a ``GradScaler`` set it to ``scaler.get_scale``; with gradients
            accumulated over k batches to ``1 / k``. Stock engines do neither.
    """

    def __init__(self, precision: str = "float32") -> None:
        super().__init__()
        if precision not in PRECISIONS:
            raise ValueError(f"Unknown precision {precision!r}: expected one of {[*PRECISIONS]}.")
        self.precision = precision
        self.injected_loss_scale: float | Callable[[], float] = 1.0
        self.loss_log = LossLog()
        self._replicas_pass: ForwardPass | None = None
        self._compile: Callable[..., Any] | None = None

    def train(self, mode: bool = True) -> "LossCarrier":
        """As ``nn.Module.train``; the engine calls it at the end of an epoch: prints the log."""
        if summary := self.loss_log.end_epoch():
            means = "  ".join(f"{name} {value:.4f}" for name, value in summary.items())
            print(f"* {type(self).__name__} epoch means: {means}")
        return super().train(mode)

    def mixed_precision(self, device_type: str) -> AbstractContextManager[None]:
        """Around what convolves: autocast, if the model has another ``precision`` than float32."""
        dtype = PRECISIONS[self.precision]
        return nullcontext() if dtype is None else torch.autocast(device_type, dtype)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Training with less memory and more operations: see ``ResNetTrunk``."""
        for module in self.modules():
            if isinstance(module, ResNetTrunk):
                module.grad_checkpointing = enable

    def compile(self, **options: Any) -> None:
        """Has torch.compile translate what the model computes: one graph each, without breaks.

        What is Python alone, such as the log, stays outside: ``torch.compile`` of the whole model
        has one graph in evaluation and breaks in training.

        Args:
            options: of ``torch.compile``.
        """
        self._compile = cache(partial(torch.compile, fullgraph=True, **options))

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function`` of the model and tensors, translated if ``compile`` was called."""
        return function if self._compile is None else self._compile(function)

    def optimize_for_inference(self: Model) -> Model:
        """A copy that gives the same embeddings (to 1e-4 of the largest) faster; it never trains.

        Batch norm is folded into the convolutions, sums and ReLUs are done along with them, and
        with the ``precision`` bfloat16 the weights have it. ``forward`` and ``inspect`` are as
        before. Call it once the weights are loaded and the model is on its device.

        Raises:
            ValueError: in training mode, or for weights that are not finite.
        """
        return optimized(self, PRECISIONS[self.precision] or next(self.parameters()).dtype)

    def enter_forward_pass(self, num_images: int) -> ForwardPass:
        """Begins a training forward pass, or joins the one of the other replicas."""
        forward_pass = self._replicas_pass
        if forward_pass is None or not self.is_replica:
            forward_pass = ForwardPass()
            self.loss_log.add(forward_pass)
        forward_pass.enter(num_images)
        return forward_pass

    @property
    def is_replica(self) -> bool:
        """Whether this is a copy that ``nn.DataParallel`` made for one step."""
        return getattr(self, "_is_replica", False)

    def attach(
        self, loss: Tensor, carriers: list[Tensor], share: Callable[[], float] = lambda: 1.0
    ) -> list[Tensor]:
        """Adds ``loss`` to what the engine will compute of ``carriers`` (``losses.attach``).

        Args:
            loss: scalar.
            carriers: the outputs.
            share: factor of the loss besides ``injected_loss_scale``, asked at backward time.
        """
        return attach_loss(loss, carriers, scale=lambda: self._loss_scale() * share())

    def _loss_scale(self) -> float:
        scale = self.injected_loss_scale
        return scale() if callable(scale) else scale

    def _replicate_for_data_parallel(self) -> "LossCarrier":
        # nn.DataParallel makes all replicas of a step before it runs any: once one has run, the
        # next replica belongs to a new step.
        if self.training and (self._replicas_pass is None or self._replicas_pass.started):
            self._replicas_pass = ForwardPass()
            self.loss_log.add(self._replicas_pass)
        return super()._replicate_for_data_parallel()  # type: ignore[no-untyped-call]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_replicas_pass": None, "_compile": None}
