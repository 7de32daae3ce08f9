"""The networks that are measured, each with its own way to test and to take a training step."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchreid import engine as torchreid_engine
from torchreid import models as torchreid_models
from torchreid import optim as torchreid_optim

from torchreid_magnifier.models import list_models
from torchreid_magnifier.training.config import (
    OPTIMIZER_OPTIONS,
    arguments,
    default_config,
    merge_file,
)
from torchreid_magnifier.training.engine import Engine
from torchreid_magnifier.training.optim import use_fused

from .machine import ROOT
from .reference import Reference

NUM_CLASSES = 751  # Market-1501's
CONFIG = ROOT / "examples" / "configs" / "magnifiernet_market1501_stage1.yaml"
REFERENCE, OURS, STOCK = "reference", "ours", "stock"
OPTIMIZED, CHECKPOINTING, COMPILED = WAYS = "optimized", "checkpointing", "compiled"


@dataclass(frozen=True)
class Contestant:
    """What is measured.

    Attributes:
        source: ``reference``; ``ours``, trained as ``torchreid-magnifier train`` does; or
            ``stock``, by torchreid's engine and optimizer.
        name: of the model; of the reference implementation, the folder of the clone.
        way: of a network of ours: ``optimized``, as ``optimize_for_inference()`` returns it, not
            for training; ``checkpointing`` or ``compiled``, as the command's options of such names
            make it; or nothing.
    """

    source: str
    name: str
    way: str = ""

    @property
    def optimized(self) -> bool:
        """Whether it cannot be trained."""
        return self.way == OPTIMIZED

    @property
    def label(self) -> str:
        """How tables call it."""
        if self.source == REFERENCE:
            return "reference implementation"
        if self.source == STOCK and is_ours(self.name):
            return f"{self.name}, torchreid's engine"
        return f"{self.name}, {self.way}" if self.way else self.name

    @property
    def dtype(self) -> str:
        """What its convolutions compute in."""
        return "bfloat16" if self.name.endswith("_bf16") else "float32"


class Batch(NamedTuple):
    """Made input: images ``(N, 3, H, W)``, labels ``(N, H, W)`` int64, identities ``(N,)``."""

    images: Tensor
    labels: Tensor
    pids: Tensor


class Runner(NamedTuple):
    """A contestant, ready.

    Attributes:
        model: the network.
        embed: images ``(N, 3, H, W)`` on the CPU -> embeddings.
        prepare: a batch -> what ``step`` takes, as the loader of its training gives it.
        step: one training step: forward, losses, backward, optimizer. None: not for training.
    """

    model: nn.Module
    embed: Callable[[Tensor], Tensor]
    prepare: Callable[[Batch], Any]
    step: Callable[[Any], object] | None


def is_ours(name: str) -> bool:
    """Whether a name of torchreid's is a MagnifierNet."""
    return name in list_models("magnifiernet*")


def contestants(
    reference: str | None, ours: list[str], ways: list[str], stock: list[str]
) -> list[Contestant]:
    """All that are measured; the first is what the others are compared with."""
    found = [Contestant(REFERENCE, reference)] if reference else []
    for name in ours:
        found += [Contestant(OURS, name, way) for way in ("", *ways)]
    return found + [Contestant(STOCK, name) for name in stock]


def build(contestant: Contestant, device: str) -> Runner:
    """With random weights: their values do not change the time."""
    torch.manual_seed(0)
    if contestant.source == REFERENCE:
        code = Reference(Path(contestant.name), NUM_CLASSES, device)
        return Runner(code.model, code.embed, _reference_batch, code.update)
    cfg = default_config()
    merge_file(cfg, CONFIG)
    cfg.use_gpu = device == "cuda"
    model = torchreid_models.build_model(
        contestant.name,
        num_classes=NUM_CLASSES,
        loss=cfg.loss.name,
        pretrained=False,
        use_gpu=cfg.use_gpu,
    ).to(device)

    @torch.no_grad()
    def embed(images: Tensor) -> Tensor:
        return model(images.to(device))

    prepare = _labelled_batch if is_ours(contestant.name) else _plain_batch
    if contestant.optimized:
        model = model.eval().optimize_for_inference()
        return Runner(model, embed, prepare, None)
    if contestant.way == CHECKPOINTING:
        model.set_grad_checkpointing()
    elif contestant.way == COMPILED:
        model.compile()
    optimizer = torchreid_optim.build_optimizer(model, **arguments(cfg, OPTIMIZER_OPTIONS))
    given: dict[str, Any] = {
        "margin": cfg.loss.triplet.margin,
        "weight_t": cfg.loss.triplet.weight_t,
        "weight_x": cfg.loss.triplet.weight_x,
        "use_gpu": cfg.use_gpu,
        "label_smooth": cfg.loss.softmax.label_smooth,
    }
    data = SimpleNamespace(
        train_loader=DataLoader([]), test_loader=None, num_train_pids=NUM_CLASSES
    )
    engine: torchreid_engine.Engine
    if contestant.source == OURS:
        use_fused(optimizer)
        engine = Engine(data, model, optimizer, **given)
    else:
        engine = torchreid_engine.ImageTripletEngine(data, model, optimizer, **given)
    return Runner(model, embed, prepare, engine.forward_backward)


def make_batch(size: int, height: int, width: int, pin: bool) -> Batch:
    """Noise and figures of all eight parts, four images of each identity where there are so many.

    ``pin``: in memory that a GPU reads from directly, as data loaders give it.
    """
    images = torch.randn(size, 3, height, width)
    labels = torch.from_numpy(np.stack([_figure(height, width, i) for i in range(size)]))
    pids = torch.arange(size) // max(1, min(4, size // 2))
    batch = Batch(images, labels, pids)
    return Batch(*(tensor.pin_memory() for tensor in batch)) if pin else batch


def _figure(height: int, width: int, number: int) -> np.ndarray:
    """Part labels ``(H, W)`` of somebody who stands upright."""
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width])[:, None, None]
    x = np.abs(x - 0.5 - 0.02 * (number % 5 - 2))
    labels = np.zeros((height, width), np.int64)
    for part, (top, bottom), (inner, outer) in (
        (1, (0.05, 0.18), (0.0, 0.13)),
        (2, (0.18, 0.50), (0.0, 0.20)),
        (3, (0.20, 0.36), (0.20, 0.32)),
        (4, (0.36, 0.52), (0.20, 0.34)),
        (5, (0.50, 0.70), (0.02, 0.20)),
        (6, (0.70, 0.88), (0.03, 0.18)),
        (7, (0.88, 0.97), (0.03, 0.22)),
    ):
        labels[(top <= y) & (y < bottom) & (inner <= x) & (x < outer)] = part
    return labels


def _labelled_batch(batch: Batch) -> dict[str, Tensor]:
    images = torch.cat([batch.images, batch.labels.unsqueeze(1).float()], 1)
    return {"img": images.pin_memory() if batch.images.is_pinned() else images, "pid": batch.pids}


def _plain_batch(batch: Batch) -> dict[str, Tensor]:
    return {"img": batch.images, "pid": batch.pids}


def _reference_batch(batch: Batch) -> tuple[Tensor | None, ...]:
    return batch.images, batch.pids, batch.labels[:, ::8, ::8].contiguous(), None, None, None
