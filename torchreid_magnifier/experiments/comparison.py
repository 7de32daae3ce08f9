"""What the demo compares: MagnifierNet in its two stages, and its global branch trained alike.

Both networks start from the same random seed, see the same images with the same schedule, and run
through torchreid's engine. The second stage of the global branch goes on with the losses of its
first: it has no regions for the semantic diversity loss.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchreid import data as torchreid_data
from torchreid import metrics as torchreid_metrics
from torchreid import models as torchreid_models
from torchreid import optim as torchreid_optim
from torchreid import utils as torchreid_utils
from tqdm import tqdm

from ..inference.explain.rankings import Sample, Search
from ..models.magnifiernet.model import MagnifierNet
from ..synthetic import SyntheticPedestriansOccluded
from ..training.engine import Engine

DATASET = "synthetic_pedestrians"
GLOBAL = "magnifiernet_r18_g"
WHOLE = "magnifiernet_r18"
# Model, its loss in stage 1, its loss in stage 2.
NETWORKS = ((GLOBAL, "triplet", "triplet"), (WHOLE, "triplet", "triplet_sd"))


@dataclass(frozen=True)
class Settings:
    """How the networks are trained; the defaults take minutes on two CPU cores.

    Attributes:
        epochs: lengths of the two stages.
        lr: learning rates of the two stages: the first warms up and falls in two steps, as the
            paper's does, the second stays.
        height, width: of the images, in pixels.
        batch_size: images in a training batch, four of each person.
        workers: processes that read images besides the one that trains.
        seed: of weights, batches and augmentation.
    """

    epochs: tuple[int, int] = (24, 4)
    lr: tuple[float, float] = (2e-3, 2e-4)
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
    model: MagnifierNet
    curves: dict[str, list[float]]
    search: Search


class RecordingEngine(Engine):
    """The engine of ``train``; it keeps what passes by.

    Attributes:
        epochs: the mean of every loss term over each epoch.
        features: of the last test, batch by batch: query, then gallery.
    """

    def __init__(self, *args: Any, bar: tqdm, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.epochs: list[dict[str, float]] = []
        self.features: list[Tensor] = []
        self._batches: list[dict[str, float]] = []
        self._bar = bar

    def train(self, *args: Any, **kwargs: Any) -> None:
        self._batches = []
        super().train(*args, **kwargs)
        names = self._batches[0]
        self.epochs.append({n: float(np.mean([b[n] for b in self._batches])) for n in names})

    def forward_backward(self, data: dict[str, Any]) -> dict[str, float]:
        summary = super().forward_backward(data)
        self._batches.append(summary)
        self._bar.update()
        return summary

    def test(self, *args: Any, **kwargs: Any) -> float:
        self.features = []
        return super().test(*args, **kwargs)

    def extract_features(self, input: Tensor) -> Tensor:
        features = super().extract_features(input)
        self.features.append(features.cpu())
        self._bar.update()
        return features


class Comparison:
    """Trains and tests both networks in the folder ``work``, which may be deleted afterwards.

    Args:
        root: folder that holds, or will hold, the data.
        work: folder for checkpoints and TensorBoard's files.
        settings: how to train.

    Attributes:
        query, gallery: the images of the test set.
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
        self.query = [Sample(*sample) for sample in query]
        self.gallery = [Sample(*sample) for sample in gallery]
        occluded = SyntheticPedestriansOccluded(root=str(root), mode="query", verbose=False)
        paths = {sample[0] for sample in occluded.query}
        self.occluded = np.array([sample.path in paths for sample in self.query])

    @cached_property
    def num_batches(self) -> int:
        """Batches of training and testing in all: the length of the progress bar."""
        test = sum(len(loader) for loader in self._data.test_loader[DATASET].values())
        train = len(self._data.train_loader) * sum(self.settings.epochs)
        return len(NETWORKS) * (train + 2 * test)

    def preprocess(self, image: Image.Image) -> Tensor:
        """An image as the networks are tested with: (3, height, width), normalised."""
        return self._data.preprocess_pil_img(image)

    def run(self, bar: tqdm) -> Iterator[Stage]:
        """Train and test, stage after stage: the global branch first. Moves ``bar`` on."""
        for name, *losses in NETWORKS:
            weights = ""
            for number, loss in enumerate(losses, 1):
                bar.set_description(f"{name}, stage {number}")
                folder = self._work / f"{name}_stage{number}"
                engine = self._engine(name, loss, number, weights, bar)
                epochs = self.settings.epochs[number - 1]
                engine.run(save_dir=str(folder), max_epoch=epochs, dist_metric="cosine")
                weights = f"{folder}/model/model.pth.tar-{epochs}"
                yield self._stage(name, number, engine)

    def _engine(
        self, name: str, loss: str, number: int, weights: str, bar: tqdm
    ) -> RecordingEngine:
        settings, use_gpu = self.settings, torch.cuda.is_available()
        torchreid_utils.set_random_seed(settings.seed + number)
        model = torchreid_models.build_model(
            name, self._data.num_train_pids, loss=loss, pretrained=False, use_gpu=use_gpu
        )
        if weights:
            torchreid_utils.load_pretrained_weights(model, weights)
        model = model.cuda() if use_gpu else model
        optimizer = torchreid_optim.build_optimizer(model, lr=settings.lr[number - 1])
        epochs = settings.epochs[number - 1]
        if number == 1:
            steps = sorted({max(1, epochs * 2 // 3), max(2, epochs * 8 // 9)})
            schedule = ("warmup_multi_step", steps)
        else:
            schedule = ("single_step", [epochs])
        return RecordingEngine(
            self._data,
            model,
            optimizer,
            scheduler=torchreid_optim.build_lr_scheduler(optimizer, *schedule),
            use_gpu=use_gpu,
            bar=bar,
        )

    def _stage(self, name: str, number: int, engine: RecordingEngine) -> Stage:
        features = torch.cat(engine.features)
        query, gallery = features.split([len(self.query), len(self.gallery)])
        distances = torchreid_metrics.compute_distance_matrix(query, gallery, "cosine").numpy()
        own = engine.model.loss_log.history or [{} for _ in engine.epochs]  # the model's own terms
        epochs = [passed | terms for passed, terms in zip(engine.epochs, own, strict=True)]
        return Stage(
            name=name,
            number=number,
            epochs=sum(self.settings.epochs[:number]),
            model=engine.model,
            curves={term: [epoch[term] for epoch in epochs] for term in epochs[0]},
            search=Search(distances, self.query, self.gallery),
        )
