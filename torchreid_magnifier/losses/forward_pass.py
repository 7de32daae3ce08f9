"""One training step of a model, seen from all its replicas.

A loss that is no plain mean over the images is exact over replicas only if it knows all of them,
and those run one by one: its value says how it adds up (``BatchSum``, ``BatchRatio``), and the
gradient is asked for once all have run.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor


class BatchSum(NamedTuple):
    """A loss that is a sum over the images of a batch: a scalar, of one replica's images."""

    value: Tensor


class BatchRatio(NamedTuple):
    """A loss that is a mean of ratios, such as one over classes of unequal sizes.

    Attributes:
        sums: of each class, over one replica's images, ``(K,)``.
        counts: what they are divided by, ``(K,)``; classes without any do not count.
    """

    sums: Tensor
    counts: Tensor


class ShareWeight(NamedTuple):
    """A weight ``scale * sigmoid(share)`` of a head, where the share is of the whole batch.

    Attributes:
        scale: of the sigmoid.
        share: of one replica's images, a scalar.
    """

    scale: float
    share: Tensor


Value = Tensor | BatchSum | BatchRatio


class ForwardPass:
    """One training forward pass of a model, shared by its ``nn.DataParallel`` replicas."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sizes: list[int] = []
        self._values: dict[str, list[tuple[int, Value]]] = {}
        self._shares: dict[str, list[tuple[int, ShareWeight]]] = {}
        self._drawn: list[Any] = []

    @classmethod
    def at(
        cls, passes: list["ForwardPass"], number: int, begin: Callable[["ForwardPass"], None]
    ) -> "ForwardPass":
        """Return ``passes[number]``, which the first replica that comes there adds and begins."""
        with _ADDING:
            if number == len(passes):
                passes.append(cls())
                begin(passes[number])
            return passes[number]

    def enter(self, num_images: int) -> None:
        """Count a replica's images."""
        with self._lock:
            self._sizes.append(num_images)

    def once(self, draw: Callable[[], Any]) -> Any:
        """Return what ``draw`` gave the first replica that asked."""
        with self._lock:
            if not self._drawn:
                self._drawn.append(draw())
            return self._drawn[0]

    def record(
        self, num_images: int, values: Mapping[str, Value], weights: Mapping[str, Any]
    ) -> None:
        """Keep a replica's loss terms and metrics, and the shares that weights of heads take."""
        with self._lock:
            for name, value in values.items():
                self._values.setdefault(name, []).append((num_images, _detached(value)))
            for head, weight in weights.items():
                if isinstance(weight, ShareWeight):
                    kept = ShareWeight(weight.scale, weight.share.detach())
                    self._shares.setdefault(head, []).append((num_images, kept))

    def weight(self, head: str) -> Tensor:
        """Return the weight of a head that was recorded; asked once all replicas ran."""
        scale = self._shares[head][0][1].scale
        terms = [num_images * weight.share for num_images, weight in self._shares[head]]
        return scale * torch.sigmoid(_sum(terms) / sum(self._sizes))

    def gradient(self, name: str, num_images: int) -> float | Tensor:
        """Return the derivative of the whole batch's loss with respect to a replica's part of it.

        Asked once all replicas ran.

        Args:
            name: of a loss term.
            num_images: of the replica.
        """
        values = [value for _, value in self._values[name]]
        if isinstance(values[0], BatchSum):
            return 1.0
        if isinstance(values[0], BatchRatio):
            counts = _sum([value.counts for value in values if isinstance(value, BatchRatio)])
            occurs = counts > 0
            return occurs / counts.masked_fill(~occurs, 1) / occurs.sum()
        return num_images / sum(self._sizes)

    def means(self) -> dict[str, Tensor]:
        """Return each term of the whole batch, float64 on the CPU."""
        means = {}
        for name, recorded in self._values.items():
            values = [value for _, value in recorded]
            if isinstance(values[0], BatchSum):
                mean = _sum([value.value for value in values if isinstance(value, BatchSum)])
            elif isinstance(values[0], BatchRatio):
                ratios = [value for value in values if isinstance(value, BatchRatio)]
                mean = mean_ratio(_sum([r.sums for r in ratios]), _sum([r.counts for r in ratios]))
            else:
                terms = [n * value for n, value in recorded if isinstance(value, Tensor)]
                mean = _sum(terms) / sum(self._sizes)
            means[name] = mean.to("cpu", torch.float64)
        return means


def scalar(value: Value) -> Tensor:
    """Return the loss that one replica's value alone is."""
    if isinstance(value, BatchSum):
        return value.value
    return mean_ratio(*value) if isinstance(value, BatchRatio) else value


def mean_ratio(sums: Tensor, counts: Tensor) -> Tensor:
    """Return the mean of ``sums / counts`` over the classes that have a count."""
    occurs = counts > 0
    return (sums / counts.masked_fill(~occurs, 1)).sum() / occurs.sum()


def _detached(value: Value) -> Value:
    if isinstance(value, BatchSum):
        return BatchSum(value.value.detach())
    if isinstance(value, BatchRatio):
        return BatchRatio(value.sums.detach(), value.counts.detach())
    return value.detach()


def _sum(tensors: list[Tensor]) -> Tensor:
    """On the device of the first: replicas have one each."""
    first, *others = tensors
    for other in others:
        first = first + other.to(first.device)
    return first


_ADDING = threading.Lock()
