"""The values of a model's own losses: in the last batch, and on average in every epoch."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .forward_pass import ForwardPass


class LossLog:
    """The loss terms that a model adds to the engine's own.

    Values stay on their device until they are read: keeping the log costs no synchronisation.

    Attributes:
        history: the mean of every term over each finished epoch.
        over_processes: makes of one process's means those of all that share the batches.
    """

    over_processes: Callable[[Tensor], Tensor] = staticmethod(lambda means: means)

    def __init__(self) -> None:
        self.history: list[dict[str, float]] = []
        self._epoch: list[ForwardPass] = []
        self._last: ForwardPass | None = None

    def add(self, forward_pass: ForwardPass) -> None:
        self._epoch.append(forward_pass)
        self._last = forward_pass

    @property
    def is_beginning(self) -> bool:
        """Return whether no more than one batch has come so far, of all epochs."""
        return not self.history and len(self._epoch) < 2

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
        names = list(batches[0])
        table = torch.stack([torch.stack([batch[name] for name in names]) for batch in batches])
        summary = dict(zip(names, self.over_processes(table.mean(0)).tolist()))
        self.history.append(summary)
        return summary

    def __getstate__(self) -> dict[str, Any]:
        """A copied or pickled model starts with the history, not with a batch under way."""
        return {"history": list(self.history), "_epoch": [], "_last": None}
