"""Keypoints in JSON files: annotations, results of pose estimators, prompts.

What a file is shows in its content:

* annotations as COCO's: ``images`` and ``annotations`` (COCO, COCO-WholeBody, Halpe, CrowdPose,
  PoseTrack), with the keypoints' names in ``categories``;
* results, a list with ``image_id`` or ``file_name``, ``keypoints`` and ``score`` (of COCO and
  AlphaPose); numbers of images need a file with COCO's ``images`` beside it;
* the people of one image, which the file is named after: ``people`` (OpenPose), ``bodies``
  (AlphaPose with ``--format cmu``), ``instance_info`` (MMPose's and Sapiens's demos), or a list of
  ``keypoints`` (OpenPifPaf, MMPose), with ``is_target`` of KPR, whose negative prompts are the
  others;
* a mapping of image path to any of these people, or to the keypoints of one.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import ParsingError
from ..poses import Pose, pose_from_keypoints
from ..skeletons import SKELETONS, skeleton_named, skeleton_of

Poses = dict[str, list[Pose]]  # by the image's path or name, "/" between folders

_ENDINGS = ("_keypoints", ".predictions")  # after the image's name: OpenPose, KPR; OpenPifPaf
_OF_DEMO, _DEMO_START = "instance_info", "results_"  # what MMPose's demos write, and into what file
_PEOPLE = ("people", "bodies", _OF_DEMO)
_KEYPOINTS = ("keypoints", "pose_keypoints_2d", "joints")
_SCORES = "keypoint_scores"  # beside x and y in MMPose's files
_FEET = "foot_kpts"  # beside the keypoints in COCO-WholeBody's files
_COUNTS = ", ".join(f"{len(points)}: {name}" for name, points in SKELETONS.items())


def read_people(
    files: Mapping[Path, str | None], min_score: float, skeleton: str | None = None
) -> Iterator[tuple[Path, Poses]]:
    """Yield the poses in each of several JSON files.

    Args:
        files: their paths, and for those of a folder the image's path below it that the file's own
            name stands for.
        min_score: keypoints with a lower score are unknown.
        skeleton: a key of ``SKELETONS``; None takes what the file or the number of keypoints says.

    Raises:
        ParsingError: a file is no such JSON, or has another number of keypoints, coordinates that
            are no pixels, or keypoints in an order that it does not say.
    """
    contents = {file: _load(file) for file in files}
    images: dict[Any, str] = {}
    for file, content in contents.items():
        for image in _dicts(content.get("images") if isinstance(content, dict) else None):
            if isinstance(number := image.get("id"), (int, str)) and "file_name" in image:
                name = image["file_name"]
                if images.setdefault(number, name) != name:
                    raise ParsingError(
                        f"{file}: the image {number} is {name} here and {images[number]} before it,"
                        " in this file or another: import their labels one file at a time"
                    )
    reader = _Reader(min_score, skeleton, images)
    for file, content in contents.items():
        try:
            yield file, reader.read(file, content, files[file])
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ParsingError(
                f"{file}: expected COCO's annotations or results with keypoints, OpenPose's people "
                f"or a mapping of images to keypoints ({type(error).__name__}: {error})"
            ) from error
    reader.check_order()


def image_of(file: Path) -> str:
    """Return the name of the image that a file of one image is named after, or its stem."""
    name = file.stem
    return next((name.removesuffix(end) for end in _ENDINGS if name.endswith(end)), name)


def rows(file: Path, name: str, keypoints: Any, skeleton: str | None) -> tuple[np.ndarray, str]:
    """Return an array (K, 3) of nested or flat numbers, and its skeleton.

    Raises:
        ParsingError: these are not the keypoints of a known skeleton, or of the one given.
    """
    try:
        array = np.asarray(keypoints, np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    found = skeleton or (skeleton_of(array.size // 3) if array.size % 3 == 0 else None)
    if found is None or array.size != 3 * len(SKELETONS[found]):
        expected = f"{len(SKELETONS[skeleton])} ({skeleton})" if skeleton else f"({_COUNTS})"
        raise ParsingError(
            f"{file}: expected {expected} keypoints of x, y and score for {name}, found "
            f"{array.size} numbers"
        )
    return array.reshape(-1, 3), found


class _Reader:
    def __init__(self, min_score: float, skeleton: str | None, images: dict[Any, str]) -> None:
        self._min_score, self._skeleton, self._images = min_score, skeleton, images
        self._order = {True: 0, False: 0}  # of unnamed sets of 17: how many look like PoseTrack's
        self._unnamed: Path | None = None

    def read(self, file: Path, content: Any, name: str | None) -> Poses:
        poses: Poses = {}
        named: str | None = None
        entries: Iterable[tuple[str, Any]]
        if isinstance(content, dict) and "annotations" in content:
            poses |= {image["file_name"]: [] for image in content["images"]}
            if len(poses) < len(content["images"]):
                raise ValueError("a file_name is there twice among the images")
            named = _named(content.get("categories"))
            entries = self._annotated(file, content["annotations"])
        elif isinstance(content, dict) and "images" in content:
            return {}  # their numbers are all that other files need of it
        elif name is not None or _is_of_one_image(content):
            name = image_of(file) if name is None else name
            if isinstance(content, dict) and _OF_DEMO in content:
                path = Path(name)
                name = path.with_name(path.name.removeprefix(_DEMO_START)).as_posix()
            poses[name] = []
            entries = ((name, person) for person in _people(content))
        elif isinstance(content, dict):
            poses |= {image: [] for image in content}
            entries = ((image, one) for image in content for one in _people(content[image]))
        else:
            entries = ((self._image_name(file, entry), entry) for entry in content)
        pixels = []
        for image, entry in entries:
            pose, known = self._pose(file, image, entry, named)
            poses.setdefault(image, []).append(pose)
            pixels.append(known)
        if strange := [image for image in poses if not isinstance(image, str)]:
            raise TypeError(f"expected names of images, found {strange[0]!r}")
        points = np.concatenate(pixels) if pixels else np.empty((0, 2))
        if len(points) and np.abs(points).max() <= 1:
            raise ParsingError(
                f"{file}: expected coordinates in pixels, found none beyond 1: they are fractions "
                "of the image's size (OpenPose writes pixels with --keypoint_scale 0)"
            )
        return poses

    def _pose(self, file: Path, image: str, entry: Any, named: str | None) -> tuple[Pose, Any]:
        is_dict = isinstance(entry, dict)
        key = next((key for key in _KEYPOINTS if is_dict and key in entry), _KEYPOINTS[0])
        keypoints = entry[key] if is_dict else entry
        if is_dict and _SCORES in entry:
            keypoints = np.column_stack([keypoints, entry[_SCORES]])
        skeleton = self._skeleton or named
        if is_dict and _FEET in entry and np.size(keypoints) == 3 * len(SKELETONS["coco"]):
            keypoints = [*np.ravel(keypoints), *np.ravel(entry[_FEET])]
            skeleton = "coco_feet"
        array, found = rows(file, image, keypoints, skeleton)
        if skeleton is None and found == "coco":
            self._note_order(file, array)
        score = float(entry.get("score", 1.0)) if is_dict else 1.0
        if not math.isfinite(score):
            raise ValueError(f"the score of {image} is {score}")
        is_target = entry.get("is_target") if is_dict else None
        pose = pose_from_keypoints(
            array,
            self._min_score,
            score,
            skeleton=found,
            is_target=None if is_target is None else bool(is_target),
        )
        return pose, array[(array[:, 2] > 0) & np.isfinite(array).all(axis=1), :2]

    def _annotated(self, file: Path, annotations: Any) -> Iterator[tuple[str, Any]]:
        with_keypoints = 0
        for entry in annotations:
            # Halpe's have null where a person was not annotated, COCO's crowds only zeros.
            if isinstance(entry.get("keypoints"), list) and not entry.get("iscrowd"):
                with_keypoints += 1
                yield self._images[entry["image_id"]], entry
        if annotations and not with_keypoints:
            raise ParsingError(
                f"{file}: expected annotations of keypoints, found {len(annotations)} without"
            )

    def _image_name(self, file: Path, entry: dict[str, Any]) -> str:
        name = entry.get("file_name", entry.get("image_id"))
        name = self._images.get(name, name)
        if not isinstance(name, str):
            raise ParsingError(
                f"{file}: expected a file_name, found only image_id {name}: give the annotation "
                'file too, whose "images" name this number'
            )
        return name

    def _note_order(self, file: Path, array: np.ndarray) -> None:
        """Count who has the second point below the nose and the third above, as PoseTrack's."""
        if (array[:3, 2] > 0).all():
            nose, second, third = array[:3, 1]
            self._order[bool(second > nose > third)] += 1
            self._unnamed = file

    def check_order(self) -> None:
        """See that sets of 17 keypoints without names have COCO's eyes.

        Raises:
            ParsingError: most have not.
        """
        if self._order[True] > self._order[False]:
            raise ParsingError(
                f"{self._unnamed}: expected COCO's keypoints, but of "
                f"{sum(self._order.values())} people {self._order[True]} have one eye below the "
                "nose and one above: they are PoseTrack's, whose second and third keypoint are "
                "neck and top of the head, it seems: give --skeleton posetrack, or --skeleton coco"
            )


def _load(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes(), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ParsingError(f"{file}: cannot be read as JSON ({error})") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dict; json's own keeps the last of two values in silence."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{max(names, key=names.count)!r} is there twice")
    return found


def _dicts(content: Any) -> list[dict[str, Any]]:
    entries = content if isinstance(content, list) else []
    return [entry for entry in entries if isinstance(entry, dict)]


def _named(categories: Any) -> str | None:
    """Return the skeleton whose names the categories of annotations have."""
    names = [entry["keypoints"] for entry in _dicts(categories) if entry.get("keypoints")]
    return skeleton_named(names[0]) if names else None


def _is_of_one_image(content: Any) -> bool:
    if isinstance(content, dict):
        return any(isinstance(content.get(key), list) for key in (*_PEOPLE, *_KEYPOINTS))
    first = content[0] if isinstance(content, list) and content else None
    return isinstance(first, dict) and not {"image_id", "file_name"} & first.keys()


def _people(content: Any) -> list[Any]:
    """Return the entries of people in one image's content."""
    if isinstance(content, dict):
        return next((content[key] for key in _PEOPLE if key in content), [content])
    if content and isinstance(content[0], dict):
        return list(content)
    return [content] if content else []
