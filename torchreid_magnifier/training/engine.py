"""The engine: torchreid's steps and tests in less time, by one process or several."""

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from torchreid import metrics as torchreid_metrics

from ..checkpoint import unwrap, write_state
from ..data.transforms import keeping_random_states
from ..distributed.processes import ALONE, FailedElsewhere, Processes
from ..evaluation import EvaluationError
from ..evaluation.engine import Evaluating, Features
from ..files import replacing
from ..losses.batch import mean_over_processes, whole_batch
from ..losses.batch_hard_triplet import BatchHardTripletLoss, require_two_identities
from ..models import ReIDModel
from .batch_norm import synchronise_batch_norm
from .config import ConfigError
from .loaders import share_of_test, share_of_training
from .resume import RANDOM, checkpoint_path, random_state

# Running statistics are equal by themselves; torch 2.15 has a new name for not sending them around.
_NEW_NAME = "forward_sync_buffers" in signature(DistributedDataParallel).parameters
_OWN_BUFFERS: dict[str, Any] = {"forward_sync_buffers" if _NEW_NAME else "broadcast_buffers": False}


class Score(NamedTuple):
    """Rank-1 and mAP that a test finds on one dataset: shares, 0..1."""

    rank1: float
    mean_ap: float


class Engine(Evaluating):
    """torchreid's ``ImageSoftmaxEngine`` or ``ImageTripletEngine``, with their losses and numbers.

    Several processes share out the images of each batch and of each test: weights, checkpoints and
    results are those of one process. The main process alone ranks and writes.

    Args:
        datamanager, model, optimizer, scheduler, use_gpu, label_smooth: as torchreid's engines
            take them.
        margin: of the triplet loss. None: the model gives logits alone, for the cross-entropy.
        weight_t, weight_x: of the triplet loss and of the cross-entropy beside it.
        on_epoch: called after each epoch of training.
        processes: this one among those that train together.
        seed: of what all processes draw alike.
        record: further entries of checkpoints: plain values by name.
        teacher: gives another network's embeddings of images by their paths, (N, T), which the
            model learns from (``ReIDModel.learn_from``).

    Attributes:
        scores: of the last test, by the dataset's name. torchreid prints them to a tenth of a
            percent, and hands on the last dataset's rank-1 only.
    """

    train_loader: DataLoader[Any]

    def __init__(
        self,
        datamanager: Any,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scheduler: Any = None,
        *,
        use_gpu: bool = True,
        label_smooth: bool = True,
        margin: float | None = 0.3,
        weight_t: float = 1.0,
        weight_x: float = 1.0,
        on_epoch: Callable[[], None] = lambda: None,
        processes: Processes = ALONE,
        seed: int = 0,
        record: Mapping[str, Any] = MappingProxyType({}),
        teacher: Callable[[Sequence[str]], Tensor] | None = None,
    ) -> None:
        super().__init__(datamanager, use_gpu)
        self.model, self.optimizer, self.scheduler = model, optimizer, scheduler
        self.register_model("model", model, optimizer, scheduler)
        self.scores: dict[str, Score] = {}
        # torch's own in place of torchreid's, which writes its smoothed labels on the CPU.
        self._cross_entropy = nn.CrossEntropyLoss(label_smoothing=0.1 if label_smooth else 0.0)
        self._triplet = None if margin is None else BatchHardTripletLoss(margin)
        self._weight_t = 0.0 if margin is None else weight_t
        self._weight_x = 1.0 if margin is None else weight_x
        self._on_epoch = on_epoch
        self._processes = processes
        self._record = record
        self._teacher = teacher
        self._has_trained = False
        self._saved: Path | None = None  # where the weights are saved as they are now
        self._parallel: DistributedDataParallel | None = None
        self._trained: list[bool] = []
        if processes.count > 1:
            self._share(seed)

    # ------------------------------------------------------------------ training

    def train(self, *args: Any, **kwargs: Any) -> None:
        """Train for an epoch."""
        self._saved, self._has_trained = None, True
        super().train(*args, **kwargs)
        self._on_epoch()

    def forward_backward(self, data: dict[str, Any]) -> dict[str, float]:
        """Take one step, as torchreid's engines, which wait for the device at every number shown.

        Returns:
            The numbers that are printed, by name, fetched at once when the step is over; with
            several processes the means over them.
        """
        images, pids = self.parse_data_for_train(data)
        if self._weight_t and self._processes.count == 1:
            # While they are on the CPU. A share may well be one person.
            try:
                require_two_identities(pids)
            except ValueError as error:
                raise ConfigError(str(error)) from None
        if self.use_gpu:
            images, pids = images.cuda(non_blocking=True), pids.cuda(non_blocking=True)
        self.optimizer.zero_grad()  # before the forward pass: its memory is wanted there
        model = self.model if self._processes.count == 1 else self._in_parallel()
        further = {}
        if self._teacher is not None:
            further["teacher"] = self._teacher(data["impath"]).to(images.device)
        loss, shown = self._losses(model(images, **further), pids)
        torch.autograd.backward(loss)
        self.optimizer.step()
        values = torch.cat([value.detach().view(1) for value in shown.values()])
        return dict(zip(shown, mean_over_processes(values).tolist(), strict=True))

    def _losses(self, outputs: Any, pids: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of the model's outputs, and the numbers to show."""
        if self._triplet is None:
            loss = self.compute_loss(self._cross_entropy, outputs, pids)
            return loss, {"loss": loss, "acc": torchreid_metrics.accuracy(outputs, pids)[0]}
        logits, features = outputs
        loss = 0
        shown = {}
        if self._weight_t:
            shown["loss_t"] = self.compute_loss(self._triplet_of_all, features, pids)
            loss += self._weight_t * shown["loss_t"]
        if self._weight_x:
            shown["loss_x"] = self.compute_loss(self._cross_entropy, logits, pids)
            loss += self._weight_x * shown["loss_x"]
            shown["acc"] = torchreid_metrics.accuracy(logits, pids)[0]
        return loss, shown

    def _triplet_of_all(self, features: Tensor, pids: Tensor) -> Tensor:
        assert self._triplet is not None
        loss: Tensor = self._triplet(whole_batch(features), whole_batch(pids))
        return loss

    # ------------------------------------------------------------------ saving and testing

    def save_model(
        self, epoch: int, rank1: float | None, save_dir: str, is_best: bool = False
    ) -> None:
        """Write ``<save_dir>/model/model.pth.tar-<epoch + 1>``, whole or not at all.

        It has torchreid's entries (``rank1`` once it is known) and those of ``record``, all of them
        tensors and plain values, so that ``torch.load`` reads it anywhere.
        """
        if not self._processes.is_main:
            return
        path = checkpoint_path(save_dir, epoch + 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "state_dict": self.model.state_dict(),
            "epoch": epoch + 1,
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict() if self.scheduler else {},
            RANDOM: random_state(),
            **self._record,
        }
        if rank1 is not None:
            state["rank1"] = float(rank1)
        with replacing(path) as temporary:
            write_state(state, temporary)
        if self._saved != path:
            print(f'Checkpoint saved to "{path}"')
        self._saved = path

    def test(self, *args: Any, save_dir: str = "", **kwargs: Any) -> float:
        """Test as torchreid's engine; weights that were trained are saved before.

        It leaves random numbers as they are: what is trained does not depend on what is tested.

        Raises:
            EvaluationError: if the test fails, for whatever reason.
        """
        if self._has_trained and self._saved is None and save_dir:
            self.save_model(self.epoch, None, save_dir)
        try:
            with keeping_random_states():
                rank1: float = super().test(*args, save_dir=save_dir, **kwargs)
            return rank1
        except FailedElsewhere:
            raise
        except Exception as error:
            reason = str(error) or type(error).__name__
            if self._saved is None:
                raise EvaluationError(f"the test failed: {reason}") from error
            raise EvaluationError(
                f"the test failed: {reason}\nNothing of the training is lost: its weights are in "
                f"{self._saved}. The same command tests them again or goes on from them; another "
                f"test of them: test.evaluate True model.load_weights {self._saved}"
            ) from error

    def _evaluate(self, dataset_name: str = "", *args: Any, **kwargs: Any) -> tuple[float, float]:
        found = super()._evaluate(dataset_name, *args, **kwargs)
        self.scores[dataset_name] = Score(*map(float, found))
        return found

    # ------------------------------------------------------------------ several processes

    def _share(self, seed: int) -> None:
        self.train_loader = share_of_training(self.train_loader, self._processes)
        if not self._processes.is_main:
            self.writer = _NoWriter()
        synchronise_batch_norm(self.model)
        model = unwrap(self.model)
        if isinstance(model, ReIDModel):
            device = next(model.parameters()).device
            model.loss_log.over_processes = lambda means: mean_over_processes(means.to(device))
            model.generator = torch.Generator().manual_seed(seed)

    def _in_parallel(self) -> DistributedDataParallel:
        """Return the model with its gradients averaged over the processes.

        The engine keeps the model itself, which it saves, tests and opens layers of.
        """
        trained = [parameter.requires_grad for parameter in self.model.parameters()]
        if self._parallel is None or trained != self._trained:  # fixbase_epoch: frozen layers
            self._parallel = None  # its hooks on the gradients go before new ones come
            self._trained = trained
            model = unwrap(self.model)
            self._parallel = DistributedDataParallel(
                model if self._weight_x else _WithoutLogits(model),
                find_unused_parameters=not self._weight_x,
                **_OWN_BUFFERS,
            )
        return self._parallel

    def _extract(self, name: str, loader: Any, batch_time: Any) -> Features:
        """Return the features of a query set or gallery; each process takes some batches."""
        extract = super()._extract
        if self._processes.count == 1:
            return extract(name, loader, batch_time)
        share = share_of_test(loader, self._processes)
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


class _WithoutLogits(nn.Module):
    """A model whose logits no loss takes (loss.triplet.weight_x 0): they stay out of the graph.

    DistributedDataParallel waits for the gradients of all parameters that outputs come from.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, **further: Tensor) -> tuple[None, Any]:
        return None, self.model(images, **further)[1]


class _NoWriter:
    """In place of TensorBoard's writer."""

    def add_scalar(self, *args: Any) -> None: ...

    def close(self) -> None: ...
