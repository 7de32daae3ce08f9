"""A user's own images as datasets: from file names, or from a table."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Sequence
from functools import cache

from ..datasets import MASKS_SUFFIX, TEXTURES_SUFFIX, plain_name
from ..faults import listed
from .base import CheckedImageDataset, DatasetError, Sample, Splits

TABLE = "images.csv"
COLUMNS = ("split", "path", "pid", "camid")
OWN_FOLDERS = "TORCHREID_MAGNIFIER_IMAGE_FOLDERS"

# pid_camid, pid_camid_anything, and Market-1501's own names (0002_c1s1_000451_03).
_NAME = r"(?P<pid>\d+)_c?(?P<camid>\d+)(s\d+)?(_.*)?"


class ImageFolder(CheckedImageDataset):
    """Images in ``image_folder/`` below the data root, or in another folder of a subclass.

    Either the folders ``train``, ``query`` and ``gallery`` hold images whose names begin with
    identity and camera, as in ``0012_3_anything.jpg``; or a table ``images.csv`` has a line for
    each image with the columns split, path, pid and camid. Without training images it is a dataset
    for testing only.

    Raises:
        DatasetError: no images to test with, a name or a line that cannot be read, a missing file,
            an identity both in training and in testing, or a query without an image of its
            identity from another camera in the gallery, which torchreid would pass over.
    """

    dataset_dir = "image_folder"
    example = (
        "train/0001_1_anything.jpg (identity 1, camera 1)",
        "query/0002_1_anything.jpg",
        "gallery/0002_3_anything.jpg",
        f"or a table {TABLE} with the columns {','.join(COLUMNS)}",
    )

    def read(self) -> Splits:
        self.require()
        table = os.path.join(self.dataset_dir, TABLE)
        if os.path.exists(table):
            splits = read_table(table)
        else:
            self.require("query", "gallery")
            splits = Splits(*(self.images(split, _NAME) for split in Splits._fields))
        _check_identities(splits)
        return splits


def read_table(path: str) -> Splits:
    """Reads a table of images.

    Args:
        path: CSV file with the columns of ``COLUMNS``, in any order: ``train``, ``query`` or
            ``gallery``; an image's path, absolute or from the table's folder; identity and camera,
            whole numbers from 0.

    Raises:
        DatasetError: with the lines that are wrong.
    """
    splits = Splits([], [], [])
    faults: list[str] = []
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if sorted(rows.fieldnames or ()) != sorted(COLUMNS):
                found = ",".join(rows.fieldnames or ()) or "nothing"
                raise DatasetError(
                    f"{path}, line 1: expected the columns {','.join(COLUMNS)}, found {found}"
                )
            for row in rows:
                place = f"{path}, line {rows.line_num}"
                if fault := _row_fault(row, os.path.dirname(path)):
                    faults.append(f"{place}: {fault}")
                    continue
                image = os.path.abspath(os.path.join(os.path.dirname(path), row["path"]))
                sample = Sample(image, int(row["pid"]), int(row["camid"]), f"{place} ({image})")
                getattr(splits, row["split"]).append(sample)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: cannot be read ({error})") from error
    if faults:
        raise DatasetError(listed("lines that cannot be used", faults))
    return splits


def _row_fault(row: dict[str, str], folder: str) -> str | None:
    if None in row or None in row.values():
        return f"expected {len(COLUMNS)} values"
    if row["split"] not in Splits._fields:
        return f"split: expected {', '.join(Splits._fields)}, found {row['split']!r}"
    for column in ("pid", "camid"):
        if not re.fullmatch("[0-9]+", row[column]):
            return f"{column}: expected a whole number from 0, found {row[column]!r}"
    if not os.path.isfile(os.path.join(folder, row["path"])):
        return f"there is no file {os.path.join(folder, row['path'])}"
    return None


def _check_identities(splits: Splits) -> None:
    trained = {sample.pid: sample for sample in splits.train}
    both = {s.pid: s for s in [*splits.query, *splits.gallery] if s.pid in trained}
    if both:
        _complain(
            "identities both to train on and to test with, which must be other people",
            [f"{pid}: {trained[pid].place} and {both[pid].place}" for pid in sorted(both)],
        )
    cameras: dict[int, set[int]] = {}
    for sample in splits.gallery:
        cameras.setdefault(sample.pid, set()).add(sample.camid)
    alone = [s for s in splits.query if not cameras.get(s.pid, set()) - {s.camid}]
    # Without a gallery at all, that is the fault to tell.
    if alone and splits.gallery:
        _complain(
            "queries whose identity has no image from another camera in the gallery",
            [f"identity {s.pid}, camera {s.camid}: {s.place}" for s in alone],
        )


def _complain(what: str, faults: Sequence[str]) -> None:
    raise DatasetError(listed(what, faults))


@cache
def own_folder(name: str) -> type[ImageFolder]:
    """The dataset class that reads the folder ``name`` below the data root.

    Raises:
        ValueError: the name cannot be a dataset's.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or plain_name(name) != name:
        raise ValueError(
            f"{OWN_FOLDERS}: expected names of letters, digits, _ and -, that do not end in "
            f"{MASKS_SUFFIX} or {TEXTURES_SUFFIX}, with commas between them; found {name!r}"
        )
    cls = type(f"ImageFolder_{name}", (ImageFolder,), {"dataset_dir": name, "__module__": __name__})
    globals()[cls.__name__] = cls  # where pickle looks for it, in worker processes too
    return cls


def own_folders() -> dict[str, type[ImageFolder]]:
    """The datasets that the environment variable ``TORCHREID_MAGNIFIER_IMAGE_FOLDERS`` names."""
    names = os.environ.get(OWN_FOLDERS, "").split(",")
    return {name: own_folder(name) for name in map(str.strip, names) if name}
