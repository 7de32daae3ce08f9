"""The parser ``keypoints``: poses from files, by other programs or by hand.

Three formats, by the file's ending:

* ``.pkl``: EANet's ``im_path_to_kpt.pkl``, image path -> ``{'kpt': (17, 3) array, 'im_h_w': ...}``;
* ``.json``: COCO's annotations (``images`` and ``annotations``), its results (a list of
  ``image_id`` or ``file_name``, ``keypoints``, ``score``), or a mapping of image path to keypoints;
* ``.mat``: the 14-point sets of Market-1501 (MATLAB v7.3): ``pp`` with 28 columns, 14 x then 14 y
  from 1 on, a row for each image of a folder in the order of the sorted names.
"""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ...files import read_lines, sha256
from ...images import IMAGE_ENDINGS
from .. import ParsingError
from ..images import Images
from ..poses import BODY_POINTS, COCO_KEYPOINTS, Pose, pose_from_14, pose_from_coco

# Scores of EANet's file below it are not used by EANet either; COCO-style scores are those of
# heat maps, and its visibilities are whole numbers.
MIN_SCORES = {".pkl": 0.1, ".json": 0.3, ".mat": 0.0}

_MOST_ROWS = 10_000_000  # of a .mat file; Market-1501 has 33,000

Poses = dict[str, list[Pose]]  # by the image's path or name, "/" between folders


def keypoint_files(
    files: Sequence[str | os.PathLike[str]],
    images: Images,
    names: str | os.PathLike[str] | None = None,
    min_score: float | None = None,
) -> KeypointFiles:
    """Return keypoint files that have every image.

    Args:
        files: paths of keypoint files.
        images: that they are for.
        names: list of the paths of all images that the rows of ``.mat`` files belong to.
        min_score: joints below it are unknown; the default of each format with None.

    Raises:
        ParsingError: a file that cannot be read, or an image without an entry or with one that may
            be another image's.
        ListError: a list that is no text.
    """
    there = images.folders()
    found = KeypointFiles(files, read_names(names) if names else there, min_score)
    found.check(
        images.paths, [os.path.join(folder, name) for folder in there for name in there[folder]]
    )
    return found


class KeypointFiles:
    """Poses of images from keypoint files.

    An image is found by its name in a file or by as many of its folders as the file gives.

    Args:
        files: paths of keypoint files.
        folders: folder -> the sorted names of all its images, for the rows of ``.mat`` files.
        min_score: joints below it are unknown; the default of each format with None.

    Attributes:
        settings: what the poses came from, for the record beside the masks.

    Raises:
        ParsingError: a file that is missing or has another format, or whose rows fit no folder.
    """

    def __init__(
        self,
        files: Sequence[str | os.PathLike[str]],
        folders: Mapping[str, Sequence[str]],
        min_score: float | None = None,
    ) -> None:
        self._poses: Poses = {}
        self.settings: dict[str, Any] = {"min_score": min_score, "files": {}}
        for file in map(Path, files):
            kind = file.suffix.lower()
            if kind not in MIN_SCORES:
                raise ParsingError(
                    f"{file}: expected a keypoint file named {', '.join(MIN_SCORES)}"
                )
            if not file.is_file():
                raise ParsingError(f"there is no keypoint file {file}")
            threshold = MIN_SCORES[kind] if min_score is None else min_score
            if kind == ".mat":
                poses = _read_mat(file, folders)
            else:
                read = _read_pickle if kind == ".pkl" else _read_json
                poses = read(file, threshold)
            poses = {_key(name): found for name, found in poses.items()}
            if twice := poses.keys() & self._poses.keys():
                raise ParsingError(
                    f"{file}: {len(twice)} of its images are in a file before it, too, such as "
                    f"{min(twice)}: give one of both files"
                )
            self._poses.update(poses)
            self.settings["files"][file.name] = sha256(file)

    def check(self, paths: Sequence[str], others: Iterable[str] = ()) -> None:
        """See that every image has an entry that is no other image's.

        Args:
            paths: of the images.
            others: of all images that are there, these too or not.

        Raises:
            ParsingError: with counts and an example.
        """
        entries = {path: self._entry(path) for path in paths}
        absent = [path for path, entry in entries.items() if entry is None]
        names = " and ".join(self.settings["files"])
        if absent:
            raise ParsingError(
                f"{names}: {len(self._poses)} images, but {len(absent)} of the {len(paths)} "
                f"images are not among them; the first is {absent[0]}, the first in the files "
                f"{next(iter(self._poses), 'none')}. An image without a person needs an entry "
                'too: with an empty list, or in COCO\'s "images"'
            )
        owner: dict[str | None, str] = {}
        for path in (*paths, *others):
            entry = entries[path] if path in entries else self._entry(path)
            first = owner.setdefault(entry, path)
            if entry is not None and first != path and first in entries:
                raise ParsingError(
                    f"{names}: the entry {entry} may be {first} or {path}: give entries the "
                    "folders of their images, such as "
                    f"{'/'.join(Path(path).parts[-2 - entry.count('/') :])}"
                )

    def __call__(self, paths: Sequence[str], images: Sequence[np.ndarray]) -> list[list[Pose]]:
        """Return the poses in each image (of those that ``check`` accepts), whatever its pixels."""
        entries = map(self._entry, paths)
        return [[] if entry is None else self._poses[entry] for entry in entries]

    def _entry(self, path: str) -> str | None:
        """Return the name in the files with most of the folders of an image."""
        tail = Path(path).as_posix()
        while tail not in self._poses:
            _, slash, tail = tail.partition("/")
            if not slash:
                return None
        return tail


def _key(name: str) -> str:
    """Return a name as the files may have it, from Windows too, like a path here."""
    return name.replace("\\", "/").removeprefix("./")


def _rows(file: Path, name: str, keypoints: Any) -> np.ndarray:
    """Return (17, 3) array from nested or flat numbers."""
    try:
        array = np.asarray(keypoints, np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.size != 3 * COCO_KEYPOINTS:
        raise ParsingError(
            f"{file}: expected {COCO_KEYPOINTS} keypoints of x, y and score for {name}, "
            f"found shape {array.shape}"
        )
    return array.reshape(COCO_KEYPOINTS, 3)


# -- EANet's pickle -------------------------------------------------------------------------------

# What arrays and numbers need; a pickle can name any function of any module, and so run code.
_HARMLESS = {
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in
      ("_reconstruct", "scalar")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    ("collections", "OrderedDict"),
}  # fmt: skip


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not data")
        return super().find_class(module, name)


def _read_pickle(file: Path, min_score: float) -> Poses:
    try:
        with file.open("rb") as stream:
            content = _ArraysOnly(stream, encoding="latin1").load()  # written by Python 2
    except Exception as error:  # a damaged pickle raises anything
        raise ParsingError(
            f"{file}: expected a pickle of plain numbers and arrays ({error})"
        ) from error
    if not isinstance(content, dict):
        raise ParsingError(f"{file}: expected a dict, found {type(content).__name__}")
    poses = {}
    for path, entry in content.items():
        keypoints = entry.get("kpt") if isinstance(entry, dict) else None
        poses[str(path)] = [pose_from_coco(_rows(file, path, keypoints), min_score)]
    return poses


# -- COCO's JSON ----------------------------------------------------------------------------------


def _read_json(file: Path, min_score: float) -> Poses:
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ParsingError(f"{file}: cannot be read as JSON ({error})") from error
    poses: Poses = {}

    def add(name: str, keypoints: Any, score: Any = 1.0) -> None:
        pose = pose_from_coco(_rows(file, name, keypoints), min_score, float(score))
        poses.setdefault(name, []).append(pose)

    try:
        if isinstance(content, dict) and "annotations" in content:
            names = {image["id"]: image["file_name"] for image in content["images"]}
            poses.update((name, []) for name in names.values())
            for entry in content["annotations"]:
                add(names[entry["image_id"]], entry["keypoints"], entry.get("score", 1.0))
        elif isinstance(content, dict):
            for name, keypoints in content.items():
                poses[name] = []
                if keypoints:
                    add(name, keypoints)
        else:
            for entry in content:
                add(_image_name(file, entry), entry["keypoints"], entry.get("score", 1.0))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ParsingError(
            f"{file}: expected COCO's annotations or results with keypoints "
            f"({type(error).__name__}: {error})"
        ) from error
    return poses


def _image_name(file: Path, entry: dict[str, Any]) -> str:
    name = entry.get("file_name", entry.get("image_id"))
    if not isinstance(name, str):
        raise ParsingError(
            f"{file}: expected a file_name, found only image_id {name}; numbers need COCO's form "
            'with "images" and "annotations"'
        )
    return name


# -- the 14 points of Market-1501 -----------------------------------------------------------------


def _read_mat(file: Path, folders: Mapping[str, Sequence[str]]) -> Poses:
    try:
        with h5py.File(file) as content:
            if content["pp"].size > 2 * BODY_POINTS * _MOST_ROWS:
                raise ValueError(f"its shape is {content['pp'].shape}")
            table = np.asarray(content["pp"], np.float64)
    except Exception as error:  # a damaged file raises anything
        raise ParsingError(
            f"{file}: expected a MATLAB v7.3 file with the variable pp ({error})"
        ) from error
    if table.ndim != 2 or table.shape[1] != 2 * BODY_POINTS:
        raise ParsingError(
            f"{file}: expected pp with {2 * BODY_POINTS} columns, found shape {table.shape}"
        )
    fitting = [folder for folder, names in folders.items() if len(names) == len(table)]
    if len(fitting) != 1:
        counts = ", ".join(f"{folder}: {len(names)}" for folder, names in folders.items())
        raise ParsingError(
            f"{file}: {len(table)} rows, one for each image of a complete folder in the order of "
            f"the sorted names; expected one folder with as many images, found {counts or 'none'}. "
            "For an excerpt of the images, give the complete list of paths by --names"
        )
    points = table.reshape(-1, 2, BODY_POINTS).transpose(0, 2, 1) - 1  # MATLAB counts from 1
    names = folders[fitting[0]]
    keys = [os.path.join(os.path.basename(fitting[0]), name) for name in names]
    return {key: [pose_from_14(row)] for key, row in zip(keys, points, strict=True)}


def read_names(file: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Return folder -> sorted image names, from a list with one path on each line.

    Raises:
        ParsingError: the file cannot be read or names no image.
        ListError: it is no text.
    """
    try:
        lines = [line.replace("\\", "/") for _, line in read_lines(file)]
    except OSError as error:
        raise ParsingError(f"--names: {file}: cannot be read ({error})") from error
    folders: dict[str, list[str]] = {}
    for line in sorted(lines):
        if line.lower().endswith(IMAGE_ENDINGS):
            folder, _, name = line.rpartition("/")
            folders.setdefault(folder, []).append(name)
    if not folders:
        raise ParsingError(f"--names: {file}: expected one image path on each line, found none")
    return folders
