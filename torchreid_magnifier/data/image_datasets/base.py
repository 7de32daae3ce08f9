"""Shared by the image datasets: the search for files, its errors, and sets for one use only."""

import os
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from ...errors import listed
from ...images import image_files
from ..datasets import DatasetError, ImageDataset


class Sample(NamedTuple):
    """An image.

    Attributes:
        path: absolute path.
        pid: identity, as the files name it.
        camid: camera, as the files name it.
        place: where this was read, for messages: the path, or a line of a table.
    """

    path: str
    pid: int
    camid: int
    place: str


class Splits(NamedTuple):
    """The images of a dataset; ``train`` may be empty."""

    train: list[Sample]
    query: list[Sample]
    gallery: list[Sample]


class CheckedImageDataset(ImageDataset):
    """Base class: a dataset whose subclass says by :meth:`read` which images there are.

    Torchreid asks every dataset for images of each kind (``Dataset.__init__`` looks at the first
    ones). A set that is for testing only has none to train on here, and works as a target; one that
    is for training only, ``only_to_train``, has no others and works as a source.

    Args:
        root: data root, which holds ``dataset_dir``.
        mode: ``train``, ``query`` or ``gallery``.
        **kwargs: as for every torchreid dataset.

    Raises:
        DatasetError: folders or images are missing or misnamed, or a set that is for testing only
            is to be trained on, or the other way round.
    """

    dataset_dir = ""
    only_to_train = False
    example: Sequence[str] = ()  # the path of one image of each kind below dataset_dir
    origin = ""  # where the data comes from: the end of the message for a missing folder

    def __init__(self, root: str = "", *, mode: str = "train", **kwargs: Any) -> None:
        self.root = os.path.abspath(os.path.expanduser(root))
        self.dataset_dir = os.path.join(self.root, self.dataset_dir)
        splits = self.read()
        for name in ("train",) if self.only_to_train else ("query", "gallery"):
            if not getattr(splits, name):
                raise DatasetError(self._message(f"{self.dataset_dir} has no {name} images"))
        if self.only_to_train and mode != "train":
            raise DatasetError(
                f"{self.dataset_dir} has images to train on only, none to test with: make it a "
                "source (-s, data.sources), and another dataset the target (-t, data.targets)"
            )
        train, query, gallery = _numbered(splits)
        if not train and mode == "train":
            raise DatasetError(
                f"{self.dataset_dir} has no images to train on, only to test with: make it a "
                "target (-t, data.targets), and another dataset the source (-s, data.sources)"
            )
        if train and query:
            super().__init__(train, query, gallery, mode=mode, **kwargs)
            return
        # Torchreid looks at the first image of each list: other images stand there until it has.
        verbose = kwargs.get("verbose", True)
        kwargs |= {"verbose": False, "combineall": False}
        super().__init__(train or query, query or train, gallery or train, mode=mode, **kwargs)
        nobody: list[tuple[str, int, int, int]] = []
        if train:
            self.query = self.gallery = nobody
        else:
            self.train = nobody
            self.num_train_pids = self.num_train_cams = self.num_datasets = 0
        if verbose:
            self.show_summary()

    def read(self) -> Splits:
        """Find the images below ``self.dataset_dir``; pids and camids are those of the files."""
        raise NotImplementedError

    def require(self, *folders: str) -> None:
        """Raise DatasetError unless all these folders are in ``self.dataset_dir``."""
        # The whole folder first: if it is missing, so is all that is in it.
        for folder in (self.dataset_dir, *(os.path.join(self.dataset_dir, f) for f in folders)):
            if not os.path.isdir(folder):
                raise DatasetError(self._message(f"there is no folder {folder}"))

    def splits_in(self, folders: Sequence[str], name: str) -> Splits:
        """Return the images to train on, to ask with and to search, of a folder each."""
        self.require(*folders)
        return Splits(*(self.images(folder, name) for folder in folders))

    def images(self, folder: str, name: str, camid: int | None = None) -> list[Sample]:
        """Return the images in a folder and below it, sorted by path.

        Args:
            folder: below ``self.dataset_dir``.
            name: regular expression of a whole file name without its ending, with the group
                ``pid`` and, if they have a camera, ``camid`` (``own_pid`` and ``own_camid`` in
                an alternative).
            camid: their camera, if their names do not say it.

        Raises:
            DatasetError: a name that does not match.
        """
        samples, misnamed = [], []
        top = os.path.join(self.dataset_dir, folder)
        for path in sorted(image_files(top)) if os.path.isdir(top) else ():
            match = re.fullmatch(name, os.path.splitext(os.path.basename(path))[0])
            if match is None:
                misnamed.append(path)
                continue
            groups = {k.removeprefix("own_"): v for k, v in match.groupdict().items() if v}
            camera = int(groups["camid"]) if camid is None else camid
            samples.append(Sample(path, int(groups["pid"]), camera, path))
        if misnamed:
            raise DatasetError(self._message(listed("names that tell no identity", misnamed)))
        return samples

    def _message(self, problem: str) -> str:
        lines = [problem]
        if self.example:
            lines.append(f"expected images named like these below {self.dataset_dir}:")
            lines += [f"  {path}" for path in self.example]
        if self.origin:
            lines.append(self.origin)
        return "\n".join(lines)


def _numbered(splits: Splits) -> list[list[tuple[str, int, int]]]:
    """Torchreid's samples: cameras, and identities to train on, are numbered from 0."""
    cameras = _ranks(sample.camid for split in splits for sample in split)
    labels = _ranks(sample.pid for sample in splits.train)
    return [
        [
            (s.path, labels[s.pid] if split is splits.train else s.pid, cameras[s.camid])
            for s in split
        ]
        for split in splits
    ]


def _ranks(numbers: Any) -> dict[int, int]:
    return {number: rank for rank, number in enumerate(sorted(set(numbers)))}
