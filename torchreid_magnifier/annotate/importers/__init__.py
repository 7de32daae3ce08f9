"""Label files of other parsers, by the tables of :mod:`.tables`, as this package's labels."""

import json
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from ... import __version__
from ...data.masks import MASKS
from ...images import ImageError, image_size, read_classes, read_npy
from ...parts import FOREGROUND, NUM_PARTS
from .. import ParsingError
from ..drawing import draw_parts
from ..images import Images
from ..parsers.keypoints import KeypointFiles
from ..people import Shown, keep_person
from ..plausible import problem_of, sample
from ..poses import central_pose
from ..writing import make_sidecars
from .tables import FORMATS, Format

# Below it, no field is sure of a part: background. BPBReID's own threshold.
MIN_CONFIDENCE = 0.5
_STRIDE, _PADDING = 8, 16  # of OpenPifPaf's fields and images, in pixels
_BATCH = 16  # images that a thread takes at once
# Beside label files, what their values are called, as the Hugging Face Hub has it.
_NAMES = ("id2label.json", "config.json")
_OTHERS = 1 / 3  # share of names that differ where it is another set of classes


class LabelFiles:
    """The label files of a parser in a folder that repeats the folders of the images.

    Args:
        name: of the format, a key of ``FORMATS``.
        folder: where the files lie.
        images: the images that they belong to.
        keypoints: poses of the images, to split classes that may be several parts.

    Raises:
        ParsingError: there is no such format or folder, no label file of any image in it, or the
            labels would be written over it.
    """

    def __init__(
        self,
        name: str,
        folder: str | os.PathLike[str],
        images: Images,
        keypoints: KeypointFiles | None = None,
    ) -> None:
        if name not in FORMATS:
            raise ParsingError(f"unknown format {name!r}: expected {', '.join(FORMATS)}")
        self.name, self._format = name, FORMATS[name]
        self._folder, self._root = Path(folder), images.root
        self._keypoints = keypoints
        self.settings: dict[str, Any] = {"keypoints": keypoints.settings if keypoints else None}
        if self._format.fields:
            self.settings = {"min_confidence": MIN_CONFIDENCE}
        if not self._folder.is_dir():
            raise ParsingError(f"there is no folder {folder}")
        if self._folder.resolve() == Path(images.sidecar_root(MASKS)).resolve():
            raise ParsingError(
                f"{folder} is where the labels are written: move the files of {name} elsewhere"
            )
        if not any(self._find(path) for path in images.paths):
            first = "\n  ".join(map(str, self._candidates(images.paths[0])))
            raise ParsingError(
                f"no image has a label file of {name} in {folder}: expected, of the first of "
                f"{len(images.paths)} images,\n  {first}"
            )
        self._check_names()

    def _check_names(self) -> None:
        """See that a record of the classes' names beside the labels has those of the format."""
        for file in (self._folder / name for name in _NAMES):
            try:
                content = json.loads(file.read_bytes())
                names = {int(k): str(v) for k, v in content.get("id2label", content).items()}
            except FileNotFoundError:
                continue
            except (ValueError, AttributeError):
                continue  # it is of something else
            if not _named_alike(names, self._format):
                fitting = [name for name in FORMATS if _named_alike(names, FORMATS[name])]
                raise ParsingError(
                    f"{file}: expected the {len(self._format.classes)} classes of {self.name}, "
                    f"found {len(names)}, such as {min(names)} {names[min(names)]}, "
                    f"{max(names)} {names[max(names)]}"
                    + (f": they are those of --format {fitting[0]}" if fitting else "")
                )

    def check_people(self, paths: Sequence[str]) -> None:
        """See on some images that the labels can be of people.

        Raises:
            ParsingError: they cannot, or are not those of the format.
        """
        found = [path for path in paths if self._find(path)]
        problem = problem_of(sample(found, self.read))
        if problem is None:
            return
        plain = [name for name, other in FORMATS.items() if not other.fields]
        fitting = []
        for name in plain if not self._format.fields else []:
            try:
                fits = problem_of(sample(found, partial(self._convert, described=FORMATS[name])))
            except ParsingError:
                continue
            fitting += [name] if fits is None else []
        raise ParsingError(
            f"{self._folder}: as labels of {self.name} these cannot be people: {problem}. "
            + (f"As {' or '.join(fitting)} they can: give that --format. " if fitting else "")
            + "'torchreid-magnifier masks formats' prints the classes of each"
        )

    def _candidates(self, path: str) -> Iterator[Path]:
        image = Path(os.path.relpath(path, self._root))
        for file in self._format.files:
            yield self._folder / image.parent / file.format(name=image.name, stem=image.stem)

    def _find(self, path: str) -> Path | None:
        return next((file for file in self._candidates(path) if file.is_file()), None)

    def __call__(self, paths: Sequence[str]) -> dict[str, np.ndarray | Shown | str]:
        """Return the labels of each image, or a line on why it has none.

        Raises:
            ParsingError: labels that are not those of the format.
        """
        answers: dict[str, np.ndarray | Shown | str] = {}
        for path in paths:
            try:
                answers[path] = keep_person(self.read(path))
            except ImageError as error:
                answers[path] = error.problem
        return answers

    def read(self, path: str) -> np.ndarray:
        """Return the labels of all people in an image, uint8 (H, W) with values 0 to 7.

        Raises:
            ImageError: the image or its label file cannot be read or do not fit.
            ParsingError: the labels are not those of the format.
        """
        return self._convert(path, self._format)

    def _convert(self, path: str, described: Format) -> np.ndarray:
        width, height = image_size(path)
        file = self._find(path)
        if file is None:
            tried = ", ".join(map(str, self._candidates(path)))
            raise ImageError(f"{path}: there is no {tried}")
        if described.fields:
            return _labels_of_fields(_read_fields(file, described), described, height, width)
        classes = self._read_classes(file, described)
        if classes.shape != (height, width):
            raise ImageError(
                f"{file}: expected {width}x{height}, the size of {path}, found "
                f"{classes.shape[1]}x{classes.shape[0]}"
            )
        table = np.array([entry.parts[0] for entry in described.classes], np.uint8)
        labels: np.ndarray = table[classes]
        if self._keypoints is not None and described is self._format:
            pose = central_pose(self._keypoints([path], [])[0], height, width)
            if pose is not None:
                split_classes(labels, classes, draw_parts(pose, height, width), described)
        return labels

    def _read_classes(self, file: Path, described: Format) -> np.ndarray:
        """Return the file's values, integers of the format's table."""
        count = len(described.classes)
        if file.suffix == ".npy" and (scores := read_npy(file)).ndim == 3:
            if len(scores) != count:
                fitting = [name for name, one in FORMATS.items() if len(one.classes) == len(scores)]
                raise ParsingError(
                    f"{file}: expected scores (classes, height, width) of the {count} classes of "
                    f"{self.name}, found shape {scores.shape}"
                    + (f": is it of --format {' or '.join(fitting)}?" if fitting else "")
                )
            return np.asarray(scores.argmax(axis=0), np.intp)
        values = read_classes(file, count, described.colour_channel)
        if values.dtype.kind == "b":
            raise ParsingError(
                f"{file}: expected labels 0 to {count - 1}, found only true and false"
            )
        broken = (values < 0) | (values >= count) | (values != np.floor(values))
        if broken.any():
            y, x = np.argwhere(broken)[0]
            raise ParsingError(
                f"{file}: expected the labels 0 to {count - 1} of {self.name}, found "
                f"{values[y, x]:g} at x={x}, y={y}: is it of another format? "
                "(torchreid-magnifier masks formats prints all)"
            )
        return np.asarray(values, np.intp)


def _named_alike(names: dict[int, str], described: Format) -> bool:
    def plain(name: str) -> str:
        return "".join(filter(str.isalnum, name.lower()))

    expected = [plain(entry.name) for entry in described.classes]
    if described.fields or sorted(names) != list(range(len(expected))):
        return False
    differ = sum(plain(names[value]) != name for value, name in enumerate(expected))
    return differ <= _OTHERS * len(expected)


def split_classes(
    labels: np.ndarray, classes: np.ndarray, drawn: np.ndarray, described: Format
) -> None:
    """Give each pixel of a class that may be several parts the one that is drawn nearest to it.

    Args:
        labels: uint8 (H, W), 0 to 7; changed in place.
        classes: integers (H, W), values of the format's table.
        drawn: uint8 (H, W), the parts drawn from keypoints; a class none of whose parts is drawn
            keeps its label.
        described: the format.
    """
    distances: dict[int, np.ndarray] = {}
    for value in np.unique(classes):
        parts = [part for part in described.classes[value].parts if (drawn == part).any()]
        if len(described.classes[value].parts) == 1 or not parts:
            continue
        for part in parts:
            if part not in distances:
                away = (drawn != part).astype(np.uint8)
                distances[part] = cv2.distanceTransform(away, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        inside = classes == value
        nearest = np.argmin([distances[part][inside] for part in parts], axis=0)
        labels[inside] = np.array(parts, np.uint8)[nearest]


def _read_fields(file: Path, described: Format) -> np.ndarray:
    """Confidence fields, float32 (channels, h, w)."""
    fields = read_npy(file)
    count = len(described.classes)
    if fields.ndim != 3 or len(fields) != count or not fields.size or fields.dtype.kind != "f":
        raise ParsingError(
            f"{file}: expected {count} confidence fields (channels, height, width), found shape "
            f"{fields.shape} of {fields.dtype}"
        )
    return np.nan_to_num(fields.astype(np.float32))


def _labels_of_fields(fields: np.ndarray, described: Format, height: int, width: int) -> np.ndarray:
    """Return the part with the highest field at each pixel, background where none is high."""
    large = _enlarge(fields, height, width)
    parts = np.array([entry.parts[0] for entry in described.classes])
    grouped = np.full((NUM_PARTS, height, width), MIN_CONFIDENCE, np.float32)
    for part in FOREGROUND:
        grouped[part] = large[parts == part].max(axis=0)
    return np.asarray(grouped.argmax(axis=0), np.uint8)  # of equals the first: background


def _enlarge(fields: np.ndarray, height: int, width: int) -> np.ndarray:
    """Fields (channels, h, w) at an image's pixels, (channels, height, width), bilinearly.

    OpenPifPaf pads an image on all sides to a multiple of 16 and one pixel, and has a field's cell
    on every eighth pixel of that. Fields of another size lie with their corners on the image's.
    """
    padded = [_STRIDE * (cells - 1) + 1 for cells in fields.shape[1:]]
    top, left = (whole - part for whole, part in zip(padded, (height, width), strict=True))
    if not (0 <= top < _PADDING and 0 <= left < _PADDING):
        padded, top, left = [height, width], 0, 0
    large = F.interpolate(
        torch.from_numpy(fields)[None], padded, mode="bilinear", align_corners=True
    )[0].numpy()
    top, left = top // 2, left // 2
    return np.asarray(large[:, top : top + height, left : left + width])


def import_masks(
    images: Images, source: LabelFiles, *, workers: int = 2, overwrite: bool = False
) -> list[str]:
    """Write the label map of every image that has none, from another parser's files.

    Args:
        workers: threads that read and convert.
        overwrite: write all labels anew.

    Returns:
        A line for each image without labels: its file is missing, unreadable or of another size.

    Raises:
        ParsingError: another run writes there, the labels there were made otherwise, a file is
            not of the source's format, or the labels cannot be of people.
        OSError: the folder cannot be written.
    """
    source.check_people(images.paths)
    record = {"format": source.name, "version": __version__, "settings": source.settings}
    return make_sidecars(
        MASKS,
        images,
        lambda: source,
        record,
        batch_size=_BATCH,
        workers=workers,
        overwrite=overwrite,
    )
