"""Images a second that the train loader of ``torchreid-magnifier train`` gives."""

import contextlib
import io
import itertools
import time
from collections.abc import Iterator

import torch
from torch import nn
from torch.utils.data import Sampler

from torchreid_magnifier.training.config import default_config, merge_file
from torchreid_magnifier.training.engine import Engine
from torchreid_magnifier.training.run import read_data

from .contestants import CONFIG


class _Endless(Sampler):
    """Epoch after epoch, so that a small dataset lasts as long as the measurement."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def __iter__(self) -> Iterator[int]:
        return itertools.chain.from_iterable(iter(self._sampler) for _ in itertools.count())


def measure(root: str, workers: int, seconds: float, pin: bool) -> dict[str, float]:
    """Market-1501 with masks below ``root``, at 384x192, batch 64, as the example trains on it.

    Args:
        root: torchreid's data root.
        workers: processes that load.
        seconds: how long to measure.
        pin: into memory that a GPU reads from directly.

    Returns:
        ``start``: seconds to the first batch of an epoch that is not the first one;
        ``images_per_second`` after it, once the batches are gone that were loaded meanwhile.
    """
    cfg = default_config()
    merge_file(cfg, CONFIG)
    cfg.data.root, cfg.data.workers, cfg.use_gpu = root, workers, pin
    with contextlib.redirect_stdout(io.StringIO()):
        data = read_data(cfg)
    nothing = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(nothing.parameters())
    engine = Engine(data, nothing, optimizer, use_gpu=False)
    loader = engine.train_loader  # which keeps its processes from epoch to epoch
    loader.batch_sampler.sampler = _Endless(loader.batch_sampler.sampler)
    next(iter(loader))
    begun = time.perf_counter()
    batches = iter(loader)
    next(batches)
    start = time.perf_counter() - begun
    for _ in range(workers * (loader.prefetch_factor or 0)):
        next(batches)
    begun, count = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds or count < 2:
        next(batches)
        count += 1
    rate = count * cfg.train.batch_size / (time.perf_counter() - begun)
    return {"start": start, "images_per_second": rate, "workers": workers}
