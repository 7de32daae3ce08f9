"""What the model's own losses were: in the last batch, and on average in every epoch."""

import threading
from collections.abc import Sequence

import torch
from torch import Tensor


class ForwardPass:
    """One training forward pass of a model, shared by its ``nn.DataParallel`` replicas.

    It counts the images that the replicas saw, so that each weighs its injected losses by its
    share of the batch, holds the one draw of SAB's regions, and collects the loss terms.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sizes: list[int] = []
        self._terms: list[dict[str, Tensor]] = []
        self._kept_regions: Sequence[int] | None = None

    @property
    def started(self) -> bool:
        return bool(self._sizes)

    def enter(self, num_images: int) -> None:
        with self._lock:
            self._sizes.append(num_images)

    def share(self, num_images: int) -> float:
        """The share of the whole batch that ``num_images`` are; asked once all replicas ran."""
        return num_images / sum(self._sizes)

    def kept_regions(self, sampler) -> Sequence[int]:
        """SAB's regions of this batch: drawn by the first replica that asks."""
        with self._lock:
            if self._kept_regions is None:
                self._kept_regions = sampler.sample()
            return self._kept_regions

    def record(self, num_images: int, terms: dict[str, Tensor]) -> None:
        with self._lock:
            self._terms.append({name: value.detach() * num_images for name, value in terms.items()})

    def means(self) -> dict[str, Tensor]:
        """Each term's mean over the batch, float64 on the CPU."""
        totals: dict[str, Tensor] = {}
        for terms in self._terms:
            for name, value in terms.items():
                value = value.to("cpu", torch.float64)
                totals[name] = totals[name] + value if name in totals else value
        return {name: value / sum(self._sizes) for name, value in totals.items()}


class LossLog:
    """The loss terms that a model adds to the engine's own.

    Values stay on their device until they are read: keeping the log costs no synchronisation.

    Attributes:
        history: the mean of every term over each finished epoch.
    """

    def __init__(self) -> None:
        self.history: list[dict[str, float]] = []
        self._epoch: list[ForwardPass] = []
        self._last: ForwardPass | None = None

    def add(self, forward_pass: ForwardPass) -> None:
        self._epoch.append(forward_pass)
        self._last = forward_pass

    @property
    def last(self) -> dict[str, float]:
        """The terms of the last training batch; empty before the first."""
        return {} if self._last is None else {k: float(v) for k, v in self._last.means().items()}

    def end_epoch(self) -> dict[str, float]:
        """Closes the epoch: its means go to ``history`` and are returned; {} if it was empty."""
        batches = [means for means in (p.means() for p in self._epoch) if means]
        self._epoch = []
        if not batches:
            return {}
        summary = {
            name: float(torch.stack([batch[name] for batch in batches]).mean())
            for name in batches[0]
        }
        self.history.append(summary)
        return summary

    def __getstate__(self) -> dict:
        """A copied or pickled model starts with the history, not with a batch under way."""
        return {"history": list(self.history), "_epoch": [], "_last": None}
