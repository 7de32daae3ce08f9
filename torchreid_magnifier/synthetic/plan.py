"""Which images the synthetic data set has, without drawing any."""

from dataclasses import dataclass
from itertools import product

import numpy as np

from ..data.masks import MASKS
from .camera import CAMERAS
from .identity import pick
from .scene import Shot

IMAGES = "images"
LABELS = IMAGES + MASKS.suffix
SUBSETS = ("train", "query", "gallery")
_STREAMS = {"train": 0, "query": 1, "gallery": 1}  # query and gallery show the same people


@dataclass(frozen=True)
class Settings:
    """Size of the data set; the defaults, :data:`STANDARD`, are ``SyntheticPedestrians``.

    Attributes:
        seed: everything follows from it.
        train_ids: people to train on, each with two images by every camera.
        test_ids: other people, each with one query and at least one gallery image by every camera.
        distractors: gallery images of nobody in particular (person 0).
        occluded: share of the queries that are heavily occluded.
    """

    seed: int = 2020
    train_ids: int = 48
    test_ids: int = 40
    distractors: int = 40
    occluded: float = 0.4


STANDARD = Settings()


@dataclass(frozen=True)
class Entry:
    """One image of the plan: where it goes (``subset``, ``name`` without extension), who is on it.

    ``pid`` counts from 1 over training and test people, 0 is a distractor; ``camid`` from 0.
    """

    subset: str
    name: str
    pid: int
    camid: int
    shot: Shot

    @property
    def image(self) -> str:
        """The path of the image below the data set's folder."""
        return f"{IMAGES}/{self.subset}/{self.name}.jpg"

    @property
    def labels(self) -> str:
        """The path of the part labels below the data set's folder."""
        return f"{LABELS}/{self.subset}/{self.name}.png"

    @property
    def texture(self) -> str:
        """The path of the person's texture below the folder of textures."""
        return f"{self.subset}/{self.name}.png"

    @property
    def occluded(self) -> bool:
        """Return whether the person is heavily occluded."""
        return self.shot.occlusion == "heavy"


def plan(settings: Settings = STANDARD) -> list[Entry]:
    """List all images of the data set, in a fixed order, without drawing any."""
    entries: list[Entry] = []

    def add(subset: str, person: int | None, camera: int, index: int, occlusion: str) -> None:
        first = 1 if subset == "train" else 1 + settings.train_ids
        pid = 0 if person is None else first + person
        frame = 25 * len(entries) + 1
        name = f"{pid:04d}_c{camera + 1}s1_{frame:06d}_{index:02d}"
        shot = Shot(settings.seed, _STREAMS[subset], person, camera, index, occlusion)
        entries.append(Entry(subset, name, pid, camera, shot))

    chance = np.random.default_rng([settings.seed, 5])
    cameras = range(len(CAMERAS))
    for person, camera, index in product(range(settings.train_ids), cameras, (0, 1)):
        occlusion = pick(chance, ("none", "light", "heavy"), (0.75, 0.15, 0.1))
        add("train", person, camera, index, occlusion)
    queries = list(product(range(settings.test_ids), cameras))
    heavy = np.arange(len(queries)) < round(settings.occluded * len(queries))
    chance.shuffle(heavy)
    for (person, camera), occluded in zip(queries, heavy, strict=True):
        add("query", person, camera, 0, "heavy" if occluded else "none")
    for person in range(settings.test_ids):
        twice = chance.permutation(len(CAMERAS))[:2]
        for camera in cameras:
            for index in range(1, 3 if camera in twice else 2):
                occlusion = "light" if chance.random() < 0.15 else "none"
                add("gallery", person, camera, index, occlusion)
    for index in range(settings.distractors):
        add("gallery", None, index % len(CAMERAS), index, "none")
    return entries
