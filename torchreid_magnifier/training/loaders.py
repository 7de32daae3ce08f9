"""The data loaders of training: their workers, and each process's share of what they give."""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader, Sampler, Subset

from .distributed.processes import Processes


def keeping_workers(loader: DataLoader) -> DataLoader:
    """A loader of the same batches whose worker processes live on from epoch to epoch.

    torchreid's are started anew for every epoch. Their random numbers go on, too: augmentation with
    the same seed differs from torchreid's from the second epoch on, as it does with the number of
    workers.

    Args:
        loader: as torchreid's ``ImageDataManager`` makes it, by a sampler.
    """
    if loader.num_workers == 0:
        return loader
    return DataLoader(
        loader.dataset,
        batch_size=loader.batch_size,
        sampler=loader.sampler,
        num_workers=loader.num_workers,
        pin_memory=loader.pin_memory,
        drop_last=loader.drop_last,
        persistent_workers=True,
    )


class _Share(Sampler):
    """One process's slice of each whole batch.

    Samplers draw from generators that augmentation draws from too: the main process's order is
    everyone's. A slice of RandomIdentitySampler's batch holds whole identities if its size is a
    multiple of their instances.
    """

    def __init__(self, sampler: Any, batch_size: int, processes: Processes) -> None:
        self._sampler = sampler
        self._batch_size = batch_size
        self._processes = processes

    def __iter__(self) -> Iterator[list[int]]:
        order = self._processes.from_main(lambda: [int(index) for index in self._sampler])
        size = self._batch_size // self._processes.count
        first = self._processes.rank * size
        for batch in range(len(order) // self._batch_size):  # what is left over is dropped
            start = batch * self._batch_size + first
            yield order[start : start + size]

    def __len__(self) -> int:
        return len(self._sampler) // self._batch_size


def share_of_training(loader: DataLoader, processes: Processes) -> DataLoader:
    """A loader of this process's share of every batch of ``loader``, which drops the last one."""
    assert loader.batch_size is not None and loader.drop_last
    batches = _Share(loader.sampler, loader.batch_size, processes)
    return DataLoader(loader.dataset, batch_sampler=batches, **_how(loader))


def share_of_test(loader: DataLoader, processes: Processes) -> DataLoader:
    """A loader of some of the batches of ``loader``: by rank, the processes have all in order.

    They are whole batches, so that embeddings are those of one process to the last bit; the last
    processes may have none.
    """
    assert loader.batch_size is not None
    images = len(loader.dataset)  # type: ignore[arg-type]
    share = -(-len(loader) // processes.count) * loader.batch_size
    first = min(processes.rank * share, images)
    part = Subset(loader.dataset, range(first, min(first + share, images)))
    return DataLoader(part, batch_size=loader.batch_size, **_how(loader))


def _how(loader: DataLoader) -> dict[str, Any]:
    """How batches are read, which does not depend on what is in them."""
    names = (
        "num_workers",
        "collate_fn",
        "pin_memory",
        "timeout",
        "worker_init_fn",
        "multiprocessing_context",
        "generator",
        "prefetch_factor",
        "persistent_workers",
    )
    return {name: getattr(loader, name) for name in names}
