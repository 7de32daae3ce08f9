"""torchreid's engines for images: what they compute, in less time; and they keep what passes by."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchreid import engine as torchreid_engine
from torchreid import metrics as torchreid_metrics

from ..evaluation.engine import Evaluating
from ..losses.batch_hard_triplet import BatchHardTripletLoss, require_two_identities
from .config import CommandError


class Score(NamedTuple):
    """What torchreid's evaluation finds on one dataset: shares, 0..1."""

    rank1: float
    mean_ap: float


class _Engine(Evaluating):
    """Put before one of torchreid's engines.

    Args:
        on_epoch: called after each epoch of training.

    Attributes:
        scores: of the last test, by the dataset's name. torchreid prints them to a tenth of a
            percent, and hands on the last dataset's rank-1 only.
    """

    def __init__(self, *args: Any, on_epoch: Callable[[], None], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.scores: dict[str, Score] = {}
        self._on_epoch = on_epoch

    def train(self, *args: Any, **kwargs: Any) -> None:
        super().train(*args, **kwargs)
        self._on_epoch()

    def forward_backward(self, data: dict[str, Any]) -> dict[str, float]:
        """One step, as torchreid's own, which waits for the device at every number it shows.

        Returns:
            The numbers that are printed, by name, fetched at once when the step is over.
        """
        images, pids = self.parse_data_for_train(data)
        if self.use_gpu:
            images, pids = images.cuda(non_blocking=True), pids.cuda(non_blocking=True)
        self.optimizer.zero_grad()  # before the forward pass: its memory is wanted there
        loss, shown = self._losses(self.model(images), pids)
        loss.backward()
        self.optimizer.step()
        values = torch.cat([value.detach().view(1) for value in shown.values()])
        return dict(zip(shown, values.tolist(), strict=True))

    def _losses(self, outputs: Any, pids: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of the model's outputs, and the numbers to show."""
        raise NotImplementedError

    def _evaluate(self, dataset_name: str = "", *args: Any, **kwargs: Any) -> tuple[float, float]:
        found = super()._evaluate(dataset_name, *args, **kwargs)
        self.scores[dataset_name] = Score(*map(float, found))
        return found


class SoftmaxEngine(_Engine, torchreid_engine.ImageSoftmaxEngine):
    """Cross-entropy alone."""

    criterion: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.criterion = _cross_entropy(self.criterion)

    def _losses(self, outputs: Any, pids: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss = self.compute_loss(self.criterion, outputs, pids)
        return loss, {"loss": loss, "acc": torchreid_metrics.accuracy(outputs, pids)[0]}


class TripletEngine(_Engine, torchreid_engine.ImageTripletEngine):
    """Cross-entropy and triplet loss."""

    criterion_t: Any
    criterion_x: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.criterion_t = BatchHardTripletLoss(self.criterion_t.margin)
        self.criterion_x = _cross_entropy(self.criterion_x)

    def parse_data_for_train(self, data: dict[str, Any]) -> tuple[Tensor, Tensor]:
        images, pids = super().parse_data_for_train(data)
        if self.weight_t > 0:  # while the identities are on the CPU
            self._require_two_identities(pids)
        return images, pids

    def _require_two_identities(self, pids: Tensor) -> None:
        try:
            require_two_identities(pids)
        except ValueError as error:
            raise CommandError(str(error)) from None

    def _losses(self, outputs: Any, pids: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        logits, features = outputs
        loss: Any = 0
        shown = {}
        if self.weight_t > 0:
            shown["loss_t"] = self.compute_loss(self.criterion_t, features, pids)
            loss += self.weight_t * shown["loss_t"]
        if self.weight_x > 0:
            shown["loss_x"] = self.compute_loss(self.criterion_x, logits, pids)
            loss += self.weight_x * shown["loss_x"]
            shown["acc"] = torchreid_metrics.accuracy(logits, pids)[0]
        return loss, shown


def _cross_entropy(criterion: Any) -> nn.CrossEntropyLoss:
    """torch's own in place of torchreid's, which writes its smoothed labels on the CPU."""
    return nn.CrossEntropyLoss(label_smoothing=criterion.eps)
