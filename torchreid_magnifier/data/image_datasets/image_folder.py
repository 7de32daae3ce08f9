"""A user's own images as datasets: from file names, or from a table."""

import csv
import io
import os
import re
import warnings
from collections.abc import Iterable
from functools import cache
from typing import Any

from ...errors import listed
from ...files import ListError, read_text
from ..datasets import MASKS_SUFFIX, TEXTURES_SUFFIX, DatasetError, plain_name
from .base import CheckedImageDataset, Sample, Splits

TABLE = "images.csv"
COLUMNS = ("split", "path", "pid", "camid")
OWN_FOLDERS = "TORCHREID_MAGNIFIER_IMAGE_FOLDERS"

JUNK = -1  # boxes around nobody, which torchreid's Market-1501 passes over, too
DISTRACTOR = 0  # people of no identity, where an image of the gallery alone has this number

# MSMT17's names (0000_000_01_0303morning_0015_0), whose second number is the image's; pid_camid,
# pid_camid_anything, and Market-1501's own (0002_c1s1_000451_03).
_NAME = (
    r"(?P<pid>\d+)_\d+_(?P<camid>\d+)_\d+(?:morning|noon|afternoon)_.*"
    r"|(?P<own_pid>-1|\d+)_c?(?P<own_camid>\d+)(s\d+)?(_.*)?"
)


# torchreid's names of CUHK03 (1_001_1_01): campus, identity, camera, image.
_CUHK03 = re.compile(r"\d_\d{3}_[12]_\d{2}")
_MANY_CAMERAS = 8


class ImageFolder(CheckedImageDataset):
    """Images in ``image_folder/`` below the data root, or in another folder of a subclass.

    Either the folders ``train``, ``query`` and ``gallery`` hold images whose names begin with
    identity and camera, as in ``0012_3_anything.jpg``; or a table ``images.csv`` has a line for
    each image with the columns split, path, pid and camid. Without training images it is a dataset
    for testing only. As in Market-1501, images of identity -1 are passed over, and 0, if only the
    gallery has it, is that of distractors, who are not trained on with ``combineall`` either.

    Raises:
        DatasetError: no images to test with, a name or a line that cannot be read, a missing file,
            a file that stands for two images, an identity both in training and in testing, or a
            query without an image of its identity from another camera in the gallery, which
            torchreid would pass over.
    """

    dataset_dir = "image_folder"
    example = (
        "train/0001_1_anything.jpg (identity 1, camera 1)",
        "query/0002_1_anything.jpg",
        "gallery/0002_3_anything.jpg",
        f"or a table {TABLE} with the columns {','.join(COLUMNS)}",
    )

    def __init__(self, root: str = "", *, verbose: bool = True, **kwargs: Any) -> None:
        super().__init__(root, verbose=verbose, **kwargs)
        if verbose and self._junk:
            print(f"  {self._junk} images of identity {JUNK} (nobody) passed over")

    def read(self) -> Splits:
        self.require()
        table = os.path.join(self.dataset_dir, TABLE)
        if os.path.exists(table):
            everything = read_table(table)
        else:
            self.require("query", "gallery")
            everything = Splits(*(self.images(split, _NAME) for split in Splits._fields))
            _check_names(everything)
        splits = Splits(*([s for s in split if s.pid != JUNK] for split in everything))
        self._junk = sum(map(len, everything)) - sum(map(len, splits))
        _check_files(splits)
        _check_identities(splits)
        if all(s.pid != DISTRACTOR for s in (*splits.train, *splits.query)):
            self._junk_pids = [DISTRACTOR]  # torchreid's name for who is not trained on
        return splits


def read_table(path: str) -> Splits:
    """Read a table of images.

    Args:
        path: CSV file with the columns of ``COLUMNS``, in any order: ``train``, ``query`` or
            ``gallery``; an image's path, absolute or from the table's folder; identity, a whole
            number from 0 or -1, and camera, a whole number from 0.

    Raises:
        DatasetError: with the lines that are wrong.
    """
    splits = Splits([], [], [])
    wrong: list[str] = []
    folder = os.path.dirname(path)
    try:
        rows = csv.DictReader(io.StringIO(read_text(path), newline=""))
        if sorted(rows.fieldnames or ()) != sorted(COLUMNS):
            found = ",".join(rows.fieldnames or ()) or "nothing"
            raise DatasetError(
                f"{path}, line 1: expected the columns {','.join(COLUMNS)}, found {found}"
            )
        for row in rows:
            if None in row.values() and not "".join(filter(None, row.values())).strip():
                continue  # a line of spaces
            place = f"{path}, line {rows.line_num}"
            if problem := _row_problem(row, folder):
                wrong.append(f"{place}: {problem}")
                continue
            image = _image_path(row, folder)
            sample = Sample(image, int(row["pid"]), int(row["camid"]), f"{place} ({image})")
            getattr(splits, row["split"]).append(sample)
    except ListError as error:
        raise DatasetError(str(error)) from error
    except (OSError, csv.Error) as error:
        raise DatasetError(f"{path}: cannot be read ({error})") from error
    if wrong:
        raise DatasetError(listed("lines that cannot be used", wrong))
    return splits


def _image_path(row: dict[str, str], folder: str) -> str:
    path = os.path.join(folder, row["path"])
    if os.sep != "\\" and not os.path.exists(path):  # a table that was written on Windows
        path = os.path.join(folder, row["path"].replace("\\", "/"))
    return os.path.abspath(path)


def _row_problem(row: dict[str, str], folder: str) -> str | None:
    if None in row or None in row.values():
        return f"expected {len(COLUMNS)} values"
    if row["split"] not in Splits._fields:
        return f"split: expected {', '.join(Splits._fields)}, found {row['split']!r}"
    for column, least, number in (("pid", "-1", "-1|[0-9]{1,18}"), ("camid", "0", "[0-9]{1,18}")):
        if not re.fullmatch(number, row[column]):
            return f"{column}: expected a whole number from {least}, found {row[column]!r}"
    if not os.path.isfile(path := _image_path(row, folder)):
        return f"there is no file {path}"
    return None


def _check_names(splits: Splits) -> None:
    """See that the numbers in names are identities and cameras, as far as they can show it."""
    samples = [sample for split in splits for sample in split]
    stems = (os.path.splitext(os.path.basename(s.path))[0] for s in samples)
    if samples and all(map(_CUHK03.fullmatch, stems)):
        raise DatasetError(
            f"{samples[0].path}: names like torchreid's of CUHK03 have the identity at their "
            f"second place: take the dataset cuhk03, or say by a table {TABLE} who is who"
        )
    cameras: dict[int, list[int]] = {}
    for sample in samples:
        cameras.setdefault(sample.pid, []).append(sample.camid)
    counted = all(sorted(c) == [*range(min(c), min(c) + len(c))] for c in cameras.values())
    counts = set(map(len, cameras.values()))
    if counted and len(counts) > 1 and max(counts) >= _MANY_CAMERAS:
        warnings.warn(
            f"the second number of the names in {os.path.dirname(samples[0].path)} counts the "
            "images of each identity: is it a camera? Queries are searched for in other cameras "
            f"only; a table {TABLE} says who is who",
            stacklevel=2,
        )


def _check_files(splits: Splits) -> None:
    """See that a file is one image; of one person it may be a query and in the gallery."""
    seen: dict[str, tuple[str, Sample]] = {}
    twice = []
    for split, samples in zip(Splits._fields, splits, strict=True):
        for sample in samples:
            other, first = seen.setdefault(os.path.realpath(sample.path), (split, sample))
            if first is sample:
                continue
            tested = {other, split} == {"query", "gallery"}
            if not tested or (first.pid, first.camid) != (sample.pid, sample.camid):
                twice.append(f"{other}: {first.place}; {split}: {sample.place}")
    _refuse("files that stand for two images, which must be different ones", twice)


def _check_identities(splits: Splits) -> None:
    trained = {sample.pid: sample for sample in splits.train}
    both = {s.pid: s for s in [*splits.query, *splits.gallery] if s.pid in trained}
    _refuse(
        "identities both to train on and to test with, which must be other people",
        (f"{pid}: {trained[pid].place} and {both[pid].place}" for pid in sorted(both)),
    )
    cameras: dict[int, set[int]] = {}
    for sample in splits.gallery:
        cameras.setdefault(sample.pid, set()).add(sample.camid)
    alone = [s for s in splits.query if not cameras.get(s.pid, set()) - {s.camid}]
    if splits.gallery:  # without one at all, that is the problem to name
        _refuse(
            "queries whose identity has no image from another camera in the gallery",
            (f"identity {s.pid}, camera {s.camid}: {s.place}" for s in alone),
        )


def _refuse(what: str, problems: Iterable[str]) -> None:
    if lines := list(problems):
        raise DatasetError(listed(what, lines))


@cache
def own_folder(name: str) -> type[ImageFolder]:
    """Return the dataset class that reads the folder ``name`` below the data root.

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
    """Return the datasets that ``TORCHREID_MAGNIFIER_IMAGE_FOLDERS`` in the environment names."""
    names = os.environ.get(OWN_FOLDERS, "").split(",")
    return {name: own_folder(name) for name in map(str.strip, names) if name}
