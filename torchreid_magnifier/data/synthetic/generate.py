"""Writes the synthetic data set to disk: once, completely or not at all.

Layout (that of EANet's Market-1501 labels)::

    synthetic_pedestrians/
        images/{train,query,gallery}/0049_c1s1_000451_00.jpg
        images_ps_label/{train,query,gallery}/0049_c1s1_000451_00.png
        keypoints.json    COCO keypoints of every image (boxes and keypoints in pixels)
        dataset.json      version and settings; which queries are heavily occluded
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from filelock import FileLock
from tqdm import tqdm

from ...parts import BACKGROUND
from ..masks import LABELS_SUFFIX
from .camera import CAMERAS
from .canvas import HEIGHT, WIDTH
from .scene import Picture, Shot, render

VERSION = 4  # raise it with every change of the pictures: older caches are then made anew
_KINDS = ("images", "images" + LABELS_SUFFIX)
SUBSETS = ("train", "query", "gallery")
_STREAMS = {"train": 0, "query": 1, "gallery": 1}  # query and gallery show the same people
_BYTES_PER_IMAGE = 12_000  # a picture, its labels and its share of the rest, as blocks on disk
_COCO_KEYPOINTS = [
    "nose",
    *(
        f"{side}_{joint}"
        for joint in ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
        for side in ("left", "right")
    ),
]


@dataclass(frozen=True)
class Settings:
    """Size of the data set; the defaults are ``SyntheticPedestrians``.

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
        """Path of the image below the data set's folder."""
        return f"{_KINDS[0]}/{self.subset}/{self.name}.jpg"

    @property
    def labels(self) -> str:
        """Path of the part labels below the data set's folder."""
        return f"{_KINDS[1]}/{self.subset}/{self.name}.png"

    @property
    def occluded(self) -> bool:
        """Whether the person is heavily occluded."""
        return self.shot.occlusion == "heavy"


def plan(settings: Settings = Settings()) -> list[Entry]:
    """All images of the data set, in a fixed order, without drawing any."""
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
    for person in range(settings.train_ids):
        for camera in cameras:
            for index in (0, 1):
                occlusion = ("none", "light", "heavy")[int(chance.choice(3, p=(0.75, 0.15, 0.1)))]
                add("train", person, camera, index, occlusion)
    heavy = np.zeros(settings.test_ids * len(CAMERAS), bool)
    heavy[: round(settings.occluded * len(heavy))] = True
    chance.shuffle(heavy)
    for person in range(settings.test_ids):
        for camera in cameras:
            occluded = heavy[person * len(CAMERAS) + camera]
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


def generate(folder: str | os.PathLike[str], settings: Settings = Settings()) -> list[Entry]:
    """Make the data set in ``folder`` unless it is there already.

    The files are written beside ``folder`` and moved there in one step. Processes that ask at the
    same time wait for the first. A data set of another version or size, or with files missing, is
    replaced.

    Args:
        folder: the data set's own folder; its parents are made.
        settings: how large.

    Returns:
        The images in it, :func:`plan`.

    Raises:
        FileExistsError: ``folder`` holds something that this function did not write.
        OSError: the disk is full (``errno`` ENOSPC or EDQUOT); nothing is left behind.
    """
    folder = Path(folder)
    entries = plan(settings)
    if _complete(folder, settings, entries):
        return entries
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if not _complete(folder, settings, entries):
                _replace(folder, settings, entries)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        megabytes = -(-len(entries) * _BYTES_PER_IMAGE // 10**6)
        raise OSError(
            error.errno,
            f"the disk is full: the synthetic pedestrians need about {megabytes} MB in "
            f"'{folder.parent}'. Nothing was left there. Free some space or choose a root folder "
            "on another disk",
        ) from error
    return entries


def _complete(folder: Path, settings: Settings, entries: list[Entry]) -> bool:
    try:
        record = json.loads((folder / "dataset.json").read_text())
    except (OSError, ValueError):
        return False
    if (record.get("version"), record.get("settings")) != (VERSION, asdict(settings)):
        return False
    present = {
        f"{kind}/{subset}/{name}"
        for kind in _KINDS
        for subset in SUBSETS
        if (folder / kind / subset).is_dir()
        for name in os.listdir(folder / kind / subset)
    }
    return all(entry.image in present and entry.labels in present for entry in entries)


def _replace(folder: Path, settings: Settings, entries: list[Entry]) -> None:
    """Write the whole data set and put it in place of what is there. Needs the lock."""
    if folder.exists() and any(folder.iterdir()) and not (folder / "dataset.json").exists():
        raise FileExistsError(
            errno.EEXIST,
            "expected a generated data set (with a dataset.json) or nothing, found other files; "
            "move them away or choose another root folder",
            str(folder),
        )
    partial, old = (folder.with_name(f".{folder.name}.{suffix}") for suffix in ("partial", "old"))
    for left_over in (partial, old):  # of a process that was killed
        shutil.rmtree(left_over, ignore_errors=True)
    try:
        _write_all(partial, settings, entries)
        if folder.exists():
            os.replace(folder, old)
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _write_all(folder: Path, settings: Settings, entries: list[Entry]) -> None:
    for kind in _KINDS:
        for subset in SUBSETS:
            (folder / kind / subset).mkdir(parents=True)
    annotations = []
    for number, entry in enumerate(tqdm(entries, "synthetic pedestrians", disable=None), 1):
        picture = render(entry.shot)
        for path, data in encode(entry, picture).items():
            _write(folder / path, data)
        if entry.pid:
            annotations.append(_annotation(number, picture))
    coco = {
        "images": [
            {"id": number, "file_name": entry.image, "height": HEIGHT, "width": WIDTH}
            for number, entry in enumerate(entries, 1)
        ],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person", "keypoints": _COCO_KEYPOINTS}],
    }
    record = {
        "version": VERSION,
        "settings": asdict(settings),
        "occluded_queries": [e.name for e in entries if e.subset == "query" and e.occluded],
    }
    _write(folder / "keypoints.json", json.dumps(coco).encode())
    _write(folder / "dataset.json", json.dumps(record, indent=1).encode())


def encode(entry: Entry, picture: Picture) -> dict[str, bytes]:
    """The bytes of an image's two files by their paths below the data set's folder."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, picture.quality]
    _, jpeg = cv2.imencode(".jpg", picture.image[..., ::-1], quality)
    _, png = cv2.imencode(".png", picture.labels)
    return {entry.image: jpeg.tobytes(), entry.labels: png.tobytes()}


def _annotation(number: int, picture: Picture) -> dict[str, Any]:
    rows, columns = np.nonzero(picture.labels != BACKGROUND)
    left, top = int(columns.min()), int(rows.min())
    return {
        "id": number,
        "image_id": number,
        "category_id": 1,
        "bbox": [left, top, int(columns.max()) + 1 - left, int(rows.max()) + 1 - top],
        "area": len(rows),
        "iscrowd": 0,
        "num_keypoints": int(np.count_nonzero(picture.keypoints[:, 2])),
        "keypoints": picture.keypoints.ravel().tolist(),
    }


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
