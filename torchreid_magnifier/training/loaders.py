"""The data of training and testing: read, checked, and each process's share of them."""

import math
import os
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, Subset, get_worker_info
from torchreid import data as torchreid_data
from yacs.config import CfgNode

from ..data.datasets import check_identities, read_here
from ..data.reading import answerable, explained
from ..data.transforms import keeping_random_states
from ..distributed.processes import Processes
from ..errors import MagnifierError
from ..images import image_size, open_image
from ..machine import shared_memory
from ..models.base import RGB, SIDECAR_CHANNELS
from .config import DATA_MANAGER, ConfigError, arguments

_POOL = "patchpool"  # of torchreid's random_patch, which pastes patches of earlier images
_APART = 1_000_003  # between the seeds of two processes; more than one has workers
_BATCH = 64  # images that a thread looks at at once
_PREFETCHED = 2  # batches that PyTorch lets each worker have ready


def read_data(cfg: CfgNode) -> Any:
    """Return torchreid's data manager, all its data checked.

    Workers of training live through all epochs.

    Raises:
        DatasetError: if a dataset class cannot read its files, or does not number its identities.
        ConfigError: if an epoch of training has no step, a test nobody to find, or the machine too
            little shared memory for the workers.
        SidecarError: for masks or textures that do not do.
        ImageError: for an image that is missing or cannot be read.
    """
    _check_shared_memory(cfg)
    # The sampler is torchreid's too, but made below: what it cannot do ends in an assertion.
    given = arguments(cfg, DATA_MANAGER) | {"train_sampler": "SequentialSampler"}
    try:
        with explained(cfg.data.root):
            datamanager = torchreid_data.ImageDataManager(**given)
    except MagnifierError:
        raise
    except Exception as error:  # of samplers, transforms, and users' classes
        found = str(error) or type(error).__name__
        raise ConfigError(f"cannot read the data in {cfg.data.root}: {found}") from error
    train = datamanager.train_loader.dataset
    check_identities(train.train, ", ".join(cfg.data.sources))
    read_here(train)
    if not cfg.test.evaluate and not getattr(train, "sidecar_paths", None):  # which were checked
        _see(open_image, train.train)
    for name in cfg.data.targets:
        query, gallery = datamanager.fetch_test_loaders(name)
        _check_test(name, query, gallery, whole=not cfg.test.evaluate)
        for loader in datamanager.test_loader[name].values():
            read_here(loader.dataset)
    if not cfg.test.evaluate:
        pools = [t.patchpool for t in datamanager.transform_tr.transforms if hasattr(t, _POOL)]
        datamanager.train_loader = _train_loader(datamanager.train_loader, cfg, pools)
    return datamanager


def identities(datamanager: Any) -> list[str]:
    """Return the training identities in order, each by the name of one of its images."""
    return [min(names) for names in _names_by_pid(datamanager)]


def changed_identities(datamanager: Any, recorded: Sequence[str]) -> str:
    """Return how the training identities differ from what ``identities`` gave, or nothing."""
    names = _names_by_pid(datamanager)
    if len(names) != len(recorded):
        return f"it was trained on {len(recorded)} identities, and the sources have {len(names)}"
    changed = [pid for pid, name in enumerate(recorded) if name not in names[pid]]
    if not changed:
        return ""
    first = changed[0]
    return (
        f"{len(changed)} of its {len(names)} identities are other people now: number {first} was "
        f"the person of {recorded[first]} and is that of {min(names[first])}"
    )


def _names_by_pid(datamanager: Any) -> list[set[str]]:
    names: list[set[str]] = [set() for _ in range(datamanager.num_train_pids)]
    dataset = datamanager.train_loader.dataset
    images = dataset.images if isinstance(dataset, _Epochs) else dataset  # it is if only tested
    for path, pid, *_ in images.train:
        names[pid].add(os.path.basename(path))
    return names


def _train_loader(
    loader: DataLoader[Any], cfg: CfgNode, pools: Sequence[deque[Any]]
) -> DataLoader[Any]:
    """Return a loader of the same images by the configured sampler, which gives some batch."""
    name, size = cfg.sampler.train_sampler, cfg.train.batch_size
    train = loader.dataset.train  # type: ignore[attr-defined]
    people = len({sample[1] for sample in train})
    found = f"found {len(train)} images of {people} identities in {', '.join(cfg.data.sources)}"
    options = {key: cfg.sampler[key] for key in ("num_instances", "num_cams", "num_datasets")}
    try:
        sampler = torchreid_data.sampler.build_train_sampler(
            train, name, batch_size=size, **options
        )
        with keeping_random_states():
            steps = sum(1 for _ in sampler) // size
    except (AssertionError, ValueError) as error:
        given = ", ".join(f"{key} {value}" for key, value in options.items())
        raise ConfigError(
            f"sampler.train_sampler {name} cannot make batches of train.batch_size {size} with "
            f"{given}{f' ({error})' if str(error) else ''}: {found}"
        ) from error
    if not steps:
        raise ConfigError(
            f"no step would be taken in an epoch: {name} gives no batch of train.batch_size "
            f"{size}, {found}. Take smaller batches"
        )
    return keeping_workers(loader, sampler, pools)


def _check_test(name: str, query: Iterable[Any], gallery: Iterable[Any], whole: bool) -> None:
    """See that the test of a dataset will find images, decoded if ``whole``, and somebody."""
    samples = {"query": list(query), "gallery": list(gallery)}
    for which, images in samples.items():
        if not images:
            raise ConfigError(f"data.targets: {name} has no {which} images to test on")
        _see(open_image if whole else image_size, images)
    if not answerable(*([sample[1:3] for sample in images] for images in samples.values())):
        raise ConfigError(
            f"data.targets: no query's person is in the gallery of {name} by another camera: the "
            "test would have nobody to find. See how its identities and cameras are named"
        )


def _see(read: Callable[[str], Any], samples: Sequence[Any]) -> None:
    """See that each image can be read."""
    paths = list(dict.fromkeys(sample[0] for sample in samples))

    def see(first: int) -> None:
        for path in paths[first : first + _BATCH]:
            read(path)

    with ThreadPoolExecutor() as pool:
        for _ in pool.map(see, range(0, len(paths), _BATCH)):
            pass


def _check_shared_memory(cfg: CfgNode) -> None:
    """See that the batches that workers have ready have room where they are handed over."""
    free, workers = shared_memory(), cfg.data.workers
    if free is None or not workers:
        return
    pixels = 4 * cfg.data.height * cfg.data.width  # bytes of a channel
    sizes = [RGB * cfg.test.batch_size]
    if not cfg.test.evaluate:
        kind = cfg.data.sources[0].rpartition("_")[2]
        sizes.append((RGB + SIDECAR_CHANNELS.get(kind, 0)) * cfg.train.batch_size)
    each = _PREFETCHED * max(sizes) * pixels  # of a worker
    if workers * each > free:
        raise ConfigError(
            f"data.workers {workers} hand batches over in /dev/shm, where they need up to "
            f"{workers * each >> 20} MB and {free >> 20} MB are free: give a container more "
            f"(docker run --shm-size {math.ceil(workers * each / 2**30)}g), or set data.workers "
            f"{free // each}"
        )


def keeping_workers(
    loader: DataLoader[Any], sampler: Sampler[int], pools: Sequence[deque[Any]] = ()
) -> DataLoader[Any]:
    """Return a loader of the same images whose worker processes live on from epoch to epoch.

    torchreid's are started anew for every epoch. Here an epoch begins as if they were: with random
    numbers that follow from the main process's, so that a run that goes on draws what an
    undisturbed one draws, and with empty pools, which would fill gigabytes.

    Args:
        loader: as torchreid's ``ImageDataManager`` makes it.
        sampler: its order.
        pools: of transforms that keep parts of images.
    """
    workers = loader.num_workers
    return DataLoader(
        _Epochs(loader.dataset, pools),
        batch_size=loader.batch_size,
        sampler=_EpochSampler(sampler, workers > 0),  # type: ignore[arg-type]
        num_workers=workers,
        pin_memory=loader.pin_memory,
        drop_last=loader.drop_last,
        worker_init_fn=_seed_numpy,
        persistent_workers=workers > 0,
    )


class _EpochSampler(Sampler[tuple[int, int]]):
    """Indices, each with the seed of its epoch: 0 in the first, that PyTorch seeds itself."""

    def __init__(self, sampler: Sampler[int], seeded: bool) -> None:
        self.sampler = sampler
        self._seeded = seeded
        self._epoch = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        seed = self._epoch
        if self._seeded and self._epoch:  # as PyTorch draws it when workers start
            seed = int(torch.empty((), dtype=torch.int64).random_())
        self._epoch += 1
        for index in self.sampler:
            yield seed, int(index)

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]


class _Epochs(Dataset[Any]):
    """A dataset that begins each epoch anew, in whichever process it is read."""

    def __init__(self, images: Any, pools: Sequence[deque[Any]]) -> None:
        self.images = images
        self._pools = pools
        self._seed = 0

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: tuple[int, int]) -> Any:
        seed, index = key
        if seed != self._seed:
            self._seed = seed
            for pool in self._pools:
                pool.clear()
            if (worker := get_worker_info()) is not None:
                torch.manual_seed(seed + worker.id)
                random.seed(seed + worker.id)
                _seed_numpy(worker.id)
        return self.images[index]


def _seed_numpy(worker: int) -> None:
    np.random.seed(torch.initial_seed() % 2**32)


class _Share(Sampler[list[Any]]):
    """One process's slice of each whole batch.

    Samplers draw from generators that augmentation draws from too: the main process's order is
    everyone's. A slice of RandomIdentitySampler's batch holds whole identities if its size is a
    multiple of their instances.
    """

    def __init__(self, sampler: Any, batch_size: int, processes: Processes) -> None:
        self._sampler = sampler
        self._batch_size = batch_size
        self._processes = processes

    def __iter__(self) -> Iterator[list[Any]]:
        order = self._processes.from_main(lambda: list(self._sampler))
        size = self._batch_size // self._processes.count
        first = self._processes.rank * size
        for batch in range(len(order) // self._batch_size):  # what is left over is dropped
            start = batch * self._batch_size + first
            yield [self._own(key) for key in order[start : start + size]]

    def _own(self, key: Any) -> Any:
        """Return an index, or a pair of ``_EpochSampler`` with a seed of this process alone."""
        return key if isinstance(key, int) else (key[0] + self._processes.rank * _APART, key[1])

    def __len__(self) -> int:
        return len(self._sampler) // self._batch_size


def share_of_training(loader: DataLoader[Any], processes: Processes) -> DataLoader[Any]:
    """Return a loader of this process's share of every whole batch of ``loader``."""
    assert loader.batch_size is not None and loader.drop_last
    batches = _Share(loader.sampler, loader.batch_size, processes)
    return DataLoader(loader.dataset, batch_sampler=batches, **_how(loader))


def share_of_test(loader: DataLoader[Any], processes: Processes) -> DataLoader[Any]:
    """Return a loader of some batches of ``loader``: by rank, the processes have all in order.

    They are whole batches, so that embeddings are those of one process to the last bit; the last
    processes may have none.
    """
    assert loader.batch_size is not None
    images = len(loader.dataset)  # type: ignore[arg-type]
    share = -(-len(loader) // processes.count) * loader.batch_size
    first = min(processes.rank * share, images)
    part = Subset(loader.dataset, range(first, min(first + share, images)))
    return DataLoader(part, batch_size=loader.batch_size, **_how(loader))


def _how(loader: DataLoader[Any]) -> dict[str, Any]:
    """Return how batches are read, which does not depend on what is in them."""
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
