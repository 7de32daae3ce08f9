"""One training step of a model, seen from all its replicas."""

import threading
from collections.abc import Callable, Sequence

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

    def kept_regions(self, sample: Callable[[], Sequence[int]]) -> Sequence[int]:
        """SAB's regions of this batch: drawn by the first replica that asks."""
        with self._lock:
            if self._kept_regions is None:
                self._kept_regions = sample()
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
