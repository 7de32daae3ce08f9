"""The parser ``keypoints``: poses from files, by other programs or by hand.

By the file's ending:

* ``.pkl``: EANet's ``im_path_to_kpt.pkl``, image path -> ``{'kpt': (17, 3) array, 'im_h_w': ...}``;
* ``.json``: what :mod:`.keypoint_json` reads, also as a folder with a file for each image;
* ``.mat``: the 14-point sets of Market-1501 (MATLAB v7.3): ``pp`` with 28 columns, 14 x then 14 y
  from 1 on, a row for each image of a folder in the order of the sorted names.
"""

import hashlib
import os
import pickle
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ...files import read_lines, sha256
from ...images import IMAGE_ENDINGS, files_below, image_size
from .. import ParsingError
from ..images import Images
from ..people import draw_person
from ..plausible import problem_of, sample
from ..poses import Pose, pose_from_keypoints
from ..skeletons import SKELETONS
from .keypoint_json import Poses, image_of, read_people, rows

# Scores of EANet's file below it are not used by EANet either; COCO-style scores are those of
# heat maps, and its visibilities are whole numbers.
MIN_SCORES = {".pkl": 0.1, ".json": 0.3, ".mat": 0.0}

_MOST_ROWS = 10_000_000  # of a .mat file; Market-1501 has 33,000
BODY_POINTS = len(SKELETONS["market14"])


def keypoint_files(
    files: Sequence[str | os.PathLike[str]],
    images: Images,
    names: str | os.PathLike[str] | None = None,
    min_score: float | None = None,
    skeleton: str | None = None,
    absent_is_nobody: bool = False,
) -> "KeypointFiles":
    """Return keypoint files that have every image.

    Args:
        files: paths of keypoint files, and of folders with a ``.json`` for each image.
        images: that they are for.
        names: list of the paths of all images that the rows of ``.mat`` files belong to.
        min_score: joints below it are unknown; the default of each format with None.
        skeleton: which keypoints JSON files have, a key of ``SKELETONS``; None takes what they say.
        absent_is_nobody: an image without an entry shows nobody; an error otherwise.

    Raises:
        ParsingError: a file that cannot be read, an image without an entry or with one that may be
            another image's, or poses that cannot be of people.
        ListError: a list that is no text.
    """
    there = images.folders()
    folders = read_names(names) if names else there
    found = KeypointFiles(files, folders, min_score, skeleton, absent_is_nobody)
    others = [os.path.join(folder, name) for folder in there for name in there[folder]]
    found.check(images.paths, others, images.root)

    def draw(path: str) -> np.ndarray:
        width, height = image_size(path)
        return draw_person(found([path], [])[0], height, width).labels

    if problem := problem_of(sample(images.paths, draw)):
        raise ParsingError(
            f"{' and '.join(found.settings['files'])}: these keypoints cannot be of the people in "
            f"the images: drawn, {problem}. Expected pixels of the crop, in the order that the "
            "file or --skeleton says"
        )
    return found


class KeypointFiles:
    """Poses of images from keypoint files.

    An image is found by its name in a file, with or without its ending, or by as many of its
    folders as the file gives.

    Args:
        files: paths of keypoint files, and of folders with a ``.json`` for each image.
        folders: folder -> the sorted names of all its images, for the rows of ``.mat`` files.
        min_score: joints below it are unknown; the default of each format with None.
        skeleton: which keypoints JSON files have, a key of ``SKELETONS``; None takes what they say.
        absent_is_nobody: an image without an entry shows nobody.

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
        skeleton: str | None = None,
        absent_is_nobody: bool = False,
    ) -> None:
        self._poses: Poses = {}
        self._absent_is_nobody = absent_is_nobody
        self.settings: dict[str, Any] = {"min_score": min_score, "files": {}}
        if skeleton:
            self.settings["skeleton"] = skeleton
        if absent_is_nobody:
            self.settings["absent"] = "nobody"
        in_json: dict[Path, str | None] = {}
        for file in map(Path, files):
            self.settings["files"][file.name] = self._digest(file, in_json)
            kind = file.suffix.lower()
            threshold = MIN_SCORES.get(kind, 0.0) if min_score is None else min_score
            if kind == ".mat":
                self._add(file, _read_mat(file, folders))
            elif kind == ".pkl":
                self._add(file, _read_pickle(file, threshold))
        threshold = MIN_SCORES[".json"] if min_score is None else min_score
        for file, poses in read_people(in_json, threshold, skeleton):
            self._add(file, poses)

    @staticmethod
    def _digest(file: Path, in_json: dict[Path, str | None]) -> str:
        """Return the hash of a file or folder, and note JSON files with what they stand for."""
        if file.is_dir():
            found = {
                Path(folder, name): Path(folder).relative_to(file) / image_of(Path(name))
                for folder, names in files_below(file, (".json",))
                for name in names
            }
            if not found:
                raise ParsingError(f"{file}: expected .json files in it or below, found none")
            in_json |= {path: image.as_posix() for path, image in found.items()}
            digests = [f"{found[path]} {sha256(path)}" for path in found]
            return hashlib.sha256("\n".join(digests).encode()).hexdigest()
        if file.suffix.lower() not in MIN_SCORES:
            raise ParsingError(
                f"{file}: expected a keypoint file named {', '.join(MIN_SCORES)}, or a folder with "
                "a .json for each image"
            )
        if not file.is_file():
            raise ParsingError(f"there is no keypoint file {file}")
        if file.suffix.lower() == ".json":
            in_json[file] = None
        return sha256(file)

    def _add(self, file: Path, poses: Poses) -> None:
        keys = _keys(list(poses))
        if len(set(keys)) < len(keys):
            raise ParsingError(f"{file}: {max(keys, key=keys.count)} is there twice")
        poses = dict(zip(keys, poses.values(), strict=True))
        if twice := poses.keys() & self._poses.keys():
            raise ParsingError(
                f"{file}: {len(twice)} of its images are in a file before it, too, such as "
                f"{min(twice)}: give one of both files"
            )
        self._poses.update(poses)

    def check(self, paths: Sequence[str], others: Iterable[str] = (), root: str = "") -> None:
        """See that every image has an entry that is no other image's.

        Args:
            paths: of the images.
            others: of all images that are there, these too or not.
            root: of the images; an entry that is an image's whole path below it is that image's.

        Raises:
            ParsingError: with counts and an example.
        """
        entries = {path: self._entry(path) for path in paths}
        absent = [path for path, entry in entries.items() if entry is None]
        names = " and ".join(self.settings["files"])
        if absent and not (self._absent_is_nobody and len(absent) < len(paths)):
            raise ParsingError(
                f"{names}: {len(self._poses)} images, but {len(absent)} of the {len(paths)} "
                f"images are not among them; the first is {absent[0]}, the first in the files "
                f"{next(iter(self._poses), 'none')}. An image without a person needs an entry "
                'too: with an empty list, or in COCO\'s "images"; --absent-is-nobody does without'
            )
        owner: dict[str, str] = {}
        for path, entry in entries.items():
            if entry is not None and owner.setdefault(entry, path) != path:
                self._refuse(entry, owner[entry], path)
        top = Path(root).as_posix()
        certain = {e for e, p in owner.items() if f"{top}/{e}" in (p, os.path.splitext(p)[0])}
        for path in (*paths, *others):
            for entry in _names(path):
                if owner.get(entry, path) != path and entry not in certain:
                    self._refuse(entry, owner[entry], path)

    def _refuse(self, entry: str, first: str, second: str) -> None:
        raise ParsingError(
            f"{' and '.join(self.settings['files'])}: the entry {entry} may be {first} or {second}"
            ": give entries the folders of their images, such as "
            f"{'/'.join(Path(second).parts[-2 - entry.count('/') :])}"
        )

    def __call__(self, paths: Sequence[str], images: Sequence[np.ndarray]) -> list[list[Pose]]:
        """Return the poses in each image (of those that ``check`` accepts), whatever its pixels."""
        entries = map(self._entry, paths)
        return [[] if entry is None else self._poses[entry] for entry in entries]

    def _entry(self, path: str) -> str | None:
        """Return the name in the files with most of the folders of an image."""
        return next((name for name in _names(path) if name in self._poses), None)


def _names(path: str) -> Iterator[str]:
    """Yield how files may call an image, most folders first; OpenPose's lack the ending."""
    tail = Path(path).as_posix()
    while tail:
        yield from (tail, os.path.splitext(tail)[0])
        tail = tail.partition("/")[2]


def _keys(names: Sequence[str]) -> list[str]:
    """Return names as files may have them, from Windows too, like paths here."""
    keys = [name.replace("\\", "/").removeprefix("./") for name in names]
    if os.name != "nt" and keys and all(re.match("[A-Za-z]:/", key) for key in keys):
        # Of another machine: what is below the folder that all have in common.
        folder = os.path.commonpath([os.path.dirname(key) for key in keys])
        keys = [os.path.relpath(key, folder) for key in keys]
    return keys


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
        array, _ = rows(file, path, keypoints, "coco")
        poses[str(path)] = [pose_from_keypoints(array, min_score)]
    return poses


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
    points = np.concatenate([points, np.ones_like(points[..., :1])], axis=2)
    names = folders[fitting[0]]
    keys = [os.path.join(os.path.basename(fitting[0]), name) for name in names]
    return {
        key: [pose_from_keypoints(row, 0, skeleton="market14")]
        for key, row in zip(keys, points, strict=True)
    }


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
