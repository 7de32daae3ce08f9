"""An engine whose steps and tests several processes share."""

from inspect import signature
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from torchreid import engine as torchreid_engine

from ...evaluation.engine import Evaluating, Features
from ...hub.checkpoint import unwrap
from ...losses.batch import mean_over_processes, whole_batch
from ...models import MagnifierNet
from ...models.base import LossCarrier
from .batch_norm import synchronise_batch_norm
from .loaders import share_of_test, share_of_training
from .processes import Processes

E = TypeVar("E", bound=Evaluating)

# Running statistics are equal by themselves; torch 2.15 has a new name for not sending them around.
_NEW_NAME = "forward_sync_buffers" in signature(DistributedDataParallel).parameters
_OWN_BUFFERS: dict[str, Any] = {"forward_sync_buffers" if _NEW_NAME else "broadcast_buffers": False}


class WholeBatch(nn.Module):
    """A criterion of the features and identities of all processes together."""

    def __init__(self, criterion: nn.Module) -> None:
        super().__init__()
        self.criterion = criterion

    def forward(self, features: Tensor, targets: Tensor) -> Tensor:
        """This process's ``(N, C)`` and ``(N,)``; the loss of all processes' images."""
        return self.criterion(whole_batch(features), whole_batch(targets))


class _WithoutLogits(nn.Module):
    """A model whose logits no loss takes (loss.triplet.weight_x 0): they stay out of the graph.

    DistributedDataParallel waits for the gradients of all parameters that outputs come from.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[None, Any]:
        return None, self.model(images)[1]


class DistributedEngine(Evaluating):
    """Put before one of the command's engines: the same steps, by several processes.

    ``train.batch_size`` images a step are shared out; weights, checkpoints and results are those
    of one process. The main process alone ranks and writes.

    Args:
        processes: this one among the others.
        seed: of what all of them draw alike.
    """

    model: nn.Module
    train_loader: DataLoader

    def __init__(self, *args: Any, processes: Processes, seed: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._processes = processes
        self._parallel: DistributedDataParallel | None = None
        self._trained: list[bool] = []
        self.train_loader = share_of_training(self.train_loader, processes)
        if isinstance(self, torchreid_engine.ImageTripletEngine):
            self.criterion_t = WholeBatch(self.criterion_t)
        if not processes.is_main:
            self.writer = _NoWriter()
        synchronise_batch_norm(self.model)
        model = unwrap(self.model)
        if isinstance(model, LossCarrier):
            device = next(model.parameters()).device
            model.loss_log.over_processes = lambda means: mean_over_processes(means.to(device))
        if isinstance(model, MagnifierNet):
            model.sampler.generator = torch.Generator().manual_seed(seed)

    def forward_backward(self, data: dict[str, Any]) -> dict[str, float]:
        """One step of all processes; the numbers to show are means over them."""
        model, self.model = self.model, self._in_parallel()
        try:
            shown = super().forward_backward(data)
        finally:
            self.model = model
        device = next(model.parameters()).device
        means = mean_over_processes(torch.tensor(list(shown.values()), device=device))
        return dict(zip(shown, means.tolist()))

    def _require_two_identities(self, pids: Tensor) -> None:
        """One's share may well be one person; of the whole batch only its loss knows."""

    def _in_parallel(self) -> DistributedDataParallel:
        """The model with its gradients averaged over the processes.

        The engine keeps the model itself, which it saves, tests and opens layers of.
        """
        trained = [parameter.requires_grad for parameter in self.model.parameters()]
        if self._parallel is None or trained != self._trained:  # fixbase_epoch: frozen layers
            self._parallel = None  # its hooks on the gradients go before new ones come
            self._trained = trained
            without_logits = getattr(self, "weight_x", 1) == 0
            model = unwrap(self.model)
            self._parallel = DistributedDataParallel(
                _WithoutLogits(model) if without_logits else model,
                find_unused_parameters=without_logits,
                **_OWN_BUFFERS,
            )
        return self._parallel

    def _extract(self, name: str, loader: Any, batch_time: Any) -> Features:
        """Of the whole query set or gallery, of which each process takes some batches."""
        share = share_of_test(loader, self._processes)
        extract = super()._extract
        own = self._processes.together(
            lambda: extract(name, share, batch_time) if len(share) else None
        )
        parts = [part for part in self._processes.gather(own) if part is not None]
        found = Features(
            torch.cat([part.embeddings for part in parts]),
            np.concatenate([part.pids for part in parts]),
            np.concatenate([part.camids for part in parts]),
        )
        print("All processes: {}-by-{} matrix".format(*found.embeddings.shape))
        return found

    def _rank(self, *args: Any, **kwargs: Any) -> tuple[float, float]:
        rank = super()._rank
        return self._processes.from_main(lambda: rank(*args, **kwargs))

    def save_model(self, *args: Any, **kwargs: Any) -> None:
        if self._processes.is_main:
            super().save_model(*args, **kwargs)


def distributed(engine_class: type[E]) -> type[E]:
    """An engine class of the command with ``DistributedEngine`` before it."""
    return type(f"Distributed{engine_class.__name__}", (DistributedEngine, engine_class), {})


class _NoWriter:
    """In place of TensorBoard's writer."""

    def add_scalar(self, *args: Any) -> None: ...

    def close(self) -> None: ...
