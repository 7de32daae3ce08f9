"""What every model here shares: losses of its own that reach the optimizer through any engine."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from ..losses.attach import attach_loss
from ..losses.forward_pass import ForwardPass
from ..losses.log import LossLog


class LossCarrier(nn.Module):
    """A model that attaches its own losses to those that an engine computes of its outputs.

    Attributes:
        loss_log: the model's own loss terms: ``loss_log.last`` of the last batch,
            ``loss_log.history`` of the epochs so far. A line with their means is printed when an
            epoch ends (``train()`` or ``eval()``).
        injected_loss_scale: factor of the attached losses, a number or a function that is asked at
            backward time. With a ``GradScaler`` set it to ``scaler.get_scale``; with gradients
            accumulated over k batches to ``1 / k``. Stock engines do neither.
    """

    def __init__(self) -> None:
        super().__init__()
        self.injected_loss_scale: float | Callable[[], float] = 1.0
        self.loss_log = LossLog()
        self._replicas_pass: ForwardPass | None = None

    def train(self, mode: bool = True) -> "LossCarrier":
        """As ``nn.Module.train``; the engine calls it at the end of an epoch: prints the log."""
        if summary := self.loss_log.end_epoch():
            means = "  ".join(f"{name} {value:.4f}" for name, value in summary.items())
            print(f"* {type(self).__name__} epoch means: {means}")
        return super().train(mode)

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
        return {**self.__dict__, "_replicas_pass": None}
