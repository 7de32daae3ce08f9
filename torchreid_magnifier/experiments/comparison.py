"""MagnifierNet in its two stages, and its global branch trained alike, on drawn people.

Both networks start from the same random seed, see the same images with the same schedule, and run
through this package's engine. The second stage of the global branch goes on with the losses of its
first: it has no regions for the semantic diversity loss.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchreid import data as torchreid_data
from torchreid import optim as torchreid_optim
from torchreid import utils as torchreid_utils
from tqdm import tqdm

from .. import models
from ..evaluation.distances import whole
from ..evaluation.engine import Features, distances_between
from ..inference.explain.rankings import EvaluationSet, Sample, Search
from ..models.base import ReIDModel
from ..synthetic import SyntheticPedestriansOccluded
from ..synthetic.plan import Entry
from ..training.engine import Engine

DATASET = "synthetic_pedestrians"
GLOBAL = "magnifiernet_r18_g"
WHOLE = "magnifiernet_r18"
# The cost of drawing an image, in units of the global branch's training batch.
DRAWING = 0.015
# Of a training batch and of a test's batch, in the same units.
COSTS = {GLOBAL: (1.0, 0.25), WHOLE: (1.1, 0.27)}
STAGES = {GLOBAL: ("triplet", "triplet"), WHOLE: ("triplet", "triplet_sd")}  # losses


@dataclass(frozen=True)
class Settings:
    """Settings of the training; the defaults take minutes on two CPU cores.

    Attributes:
        epochs: lengths of the two stages.
        lr: learning rates of the two stages: the first warms up and falls in two steps, as the
            paper's does, the second goes on at the last rate.
        height, width: of the images, in pixels.
        batch_size: images in a training batch, four of each person.
        workers: processes that read images besides the one that trains.
        seed: of weights, batches and augmentation.
    """

    epochs: tuple[int, int] = (20, 3)
    lr: tuple[float, float] = (2e-3, 2e-5)
    height: int = 128
    width: int = 64
    batch_size: int = 32
    workers: int = 1
    seed: int = 1


@dataclass(frozen=True)
class Stage:
    """One network after one of its two stages.

    Attributes:
        name: of the model.
        number: 1 or 2.
        epochs: of training behind it, both stages together.
        model: as it is at the end of the stage.
        curves: for each loss term, its mean over each epoch of this stage.
        search: its result on the test set.
    """

    name: str
    number: int
    epochs: int
    model: ReIDModel
    curves: dict[str, list[float]]
    search: Search


class _Recording(Engine):
    """Keeps the numbers of every batch and the embeddings of the last test; moves a bar on."""

    def __init__(self, *args: Any, bar: tqdm, costs: tuple[float, float], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.epochs: list[list[dict[str, float]]] = []
        self.found: tuple[Features, ...] = ()
        self._bar, self._costs = bar, costs

    def train(self, *args: Any, **kwargs: Any) -> None:
        self.epochs.append([])
        super().train(*args, **kwargs)

    def forward_backward(self, data: dict[str, Any]) -> dict[str, float]:
        self.epochs[-1].append(super().forward_backward(data))
        self._bar.update(self._costs[0])
        return self.epochs[-1][-1]

    def extract_features(self, input: Tensor) -> Tensor:
        self._bar.update(self._costs[1])
        features: Tensor = super().extract_features(input)
        return features

    def _rank(
        self, dataset_name: str, query: Features, gallery: Features, *args: Any, **kwargs: Any
    ) -> tuple[float, float]:
        self.found = query, gallery
        return super()._rank(dataset_name, query, gallery, *args, **kwargs)


def length(entries: Sequence[Entry], settings: Settings) -> float:
    """Return the cost of a comparison, the drawing of its images included.

    Args:
        entries: the images.
        settings: of the training.
    """
    size = settings.batch_size
    train = [(e.image, e.pid, e.camid) for e in entries if e.subset == "train"]
    trained = len(torchreid_data.sampler.RandomIdentitySampler(train, size, 4)) // size
    sizes = Counter(entry.subset for entry in entries)
    tested = sum(-(-sizes[subset] // size) for subset in ("query", "gallery"))
    return len(entries) * DRAWING + sum(
        trained * sum(settings.epochs) * train + 2 * tested * test for train, test in COSTS.values()
    )


class Comparison:
    """Trains and tests both networks in the folder ``work``, which may be deleted afterwards.

    Args:
        root: folder that holds, or will hold, the data.
        work: folder for checkpoints and TensorBoard's files.
        settings: how to train.

    Attributes:
        images: of the test set.
        occluded: (Q,), true for the queries that are heavily occluded.

    Raises:
        OSError: if the data cannot be written.
    """

    def __init__(self, root: Path, work: Path, settings: Settings) -> None:
        self.settings = settings
        self._work = work
        self._data = torchreid_data.ImageDataManager(
            root=str(root),
            sources=[f"{DATASET}_masks"],
            targets=[DATASET],
            height=settings.height,
            width=settings.width,
            transforms=["random_flip"],
            batch_size_train=settings.batch_size,
            batch_size_test=settings.batch_size,
            workers=settings.workers,
            train_sampler="RandomIdentitySampler",
            use_gpu=torch.cuda.is_available(),
        )
        query, gallery = self._data.fetch_test_loaders(DATASET)
        self.images = EvaluationSet([Sample(*s) for s in query], [Sample(*s) for s in gallery])
        occluded = SyntheticPedestriansOccluded(root=str(root), mode="query", verbose=False)
        paths = {sample[0] for sample in occluded.query}
        self.occluded = np.array([sample.path in paths for sample in self.images.query])

    def preprocess(self, image: Image.Image) -> Tensor:
        """Return an image as the networks are tested with: (3, height, width), normalised."""
        tensor: Tensor = self._data.preprocess_pil_img(image)
        return tensor

    def run(self, bar: tqdm) -> Iterator[Stage]:
        """Train and test, stage after stage: the global branch first. Moves ``bar`` on."""
        for name, losses in STAGES.items():
            weights = ""
            for number, loss in enumerate(losses, 1):
                bar.set_description_str(f"{name}, stage {number}")
                folder = self._work / f"{name}_stage{number}"
                engine = self._engine(name, loss, number, weights, bar)
                epochs = self.settings.epochs[number - 1]
                engine.run(save_dir=str(folder), max_epoch=epochs, dist_metric="cosine")
                weights = f"{folder}/model/model.pth.tar-{epochs}"
                yield self._stage(name, number, engine)

    def _engine(self, name: str, loss: str, number: int, weights: str, bar: tqdm) -> _Recording:
        use_gpu, epochs = torch.cuda.is_available(), self.settings.epochs[number - 1]
        torchreid_utils.set_random_seed(self.settings.seed + number)
        model = models.build(name, self._data.num_train_pids, loss)
        if weights:
            torchreid_utils.load_pretrained_weights(model, weights)
        model = model.cuda() if use_gpu else model
        optimizer = torchreid_optim.build_optimizer(model, lr=self.settings.lr[number - 1])
        schedule: tuple[str, list[int]] = ("single_step", [epochs])
        if number == 1:
            steps = sorted({max(1, epochs * 2 // 3), max(2, epochs * 8 // 9)})
            schedule = ("warmup_multi_step", steps)
        scheduler = torchreid_optim.build_lr_scheduler(optimizer, *schedule)
        return _Recording(
            self._data, model, optimizer, scheduler, use_gpu=use_gpu, bar=bar, costs=COSTS[name]
        )

    def _stage(self, name: str, number: int, engine: _Recording) -> Stage:
        model: Any = engine.model
        query, gallery = engine.found
        distances = whole(distances_between(query, gallery, "cosine", False, False))
        own = model.loss_log.history or [{} for _ in engine.epochs]  # the model's own terms
        means = [{k: float(np.mean([b[k] for b in e])) for k in e[0]} for e in engine.epochs]
        epochs = [passed | terms for passed, terms in zip(means, own, strict=True)]
        return Stage(
            name=name,
            number=number,
            epochs=sum(self.settings.epochs[:number]),
            model=model,
            curves={term: [epoch[term] for epoch in epochs] for term in epochs[0]},
            search=Search(distances, self.images),
        )
