"""Writes the synthetic data set to disk: once, completely or not at all.

Layout (that of EANet's Market-1501 labels)::

    synthetic_pedestrians/
        images/{train,query,gallery}/0049_c1s1_000451_00.jpg
        images_ps_label/{train,query,gallery}/0049_c1s1_000451_00.png
        images_texture/{train,query,gallery}/0049_c1s1_000451_00.png    once they are asked for
        keypoints.json    COCO keypoints of every image (boxes and keypoints in pixels)
        dataset.json      version and settings; which queries are heavily occluded
"""

import errno
import json
import os
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from ..data.textures import TextureFiles
from ..files import locked
from ..parts import BACKGROUND
from .canvas import HEIGHT, WIDTH
from .identity import Identity, identity
from .plan import IMAGES, LABELS, STANDARD, SUBSETS, Entry, Settings, plan
from .scene import Picture, render
from .texture import draw_texture

# Raise one with every change of what is drawn: older caches are then made anew.
VERSION = 4
TEXTURE_VERSION = 1
_BYTES_PER_IMAGE = 12_000  # a picture, its labels and its share of the rest, as blocks on disk
_BYTES_PER_TEXTURE = 8_200
_RECORD = "dataset.json"
_TEXTURE_RECORD = "drawn.json"  # in a folder of textures: they were not made otherwise
_JOINTS = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
_COCO_KEYPOINTS = ["nose", *(f"{side}_{joint}" for joint in _JOINTS for side in ("left", "right"))]


def generate(
    folder: str | os.PathLike[str],
    settings: Settings = STANDARD,
    on_image: Callable[[], None] | None = None,
) -> list[Entry]:
    """Make the data set in ``folder`` unless it is there already.

    One of another version or size, or with files missing, is replaced. Processes that ask at the
    same time wait for the first.

    Args:
        folder: the data set's own folder; its parents are made.
        settings: how large.
        on_image: called after each image that is drawn, in place of a progress bar.

    Returns:
        The images in it, :func:`plan`.

    Raises:
        FileExistsError: ``folder`` holds something that this function did not write.
        OSError: the disk is full (``errno`` ENOSPC or EDQUOT); nothing is left behind.
    """
    entries = plan(settings)
    _make_once(
        Path(folder, _RECORD),
        {"version": VERSION, "settings": asdict(settings)},
        [path for entry in entries for path in (entry.image, entry.labels)],
        lambda partial, record: _write_all(partial, record, entries, on_image),
        "the synthetic pedestrians",
        len(entries) * _BYTES_PER_IMAGE,
    )
    return entries


def generate_textures(folder: str | os.PathLike[str], entries: Sequence[Entry]) -> None:
    """Make the textures of a data set's people, a file for each image, unless they are there.

    A folder of textures that were made otherwise stays as it is.

    Args:
        folder: the data set's own folder.
        entries: the images in it.

    Raises:
        OSError: as :func:`generate`.
    """
    record = Path(folder, IMAGES + TextureFiles.suffix, _TEXTURE_RECORD)
    if record.parent.is_dir() and not record.exists():
        return
    people = [entry for entry in entries if entry.pid]
    _make_once(
        record,
        {"version": TEXTURE_VERSION},
        [entry.texture for entry in people],
        lambda partial, content: _write_textures(partial, content, people),
        "their textures",
        len(people) * _BYTES_PER_TEXTURE,
    )


def _make_once(
    record: Path,
    content: dict[str, Any],
    files: Collection[str],
    write: Callable[[Path, dict[str, Any]], None],
    what: str,
    size: int,
) -> None:
    """Make the folder of ``record`` unless that says ``content`` and the files are beside it.

    Everything is written beside the folder and moved there in one step.

    Args:
        record: a JSON file that shows who made the folder.
        content: what it says at least.
        files: paths below the folder.
        write: writes everything, the record too, into another folder, which it makes.
        what: is made, for messages.
        size: about as many bytes are written.
    """
    folder = record.parent

    def is_complete() -> bool:
        try:
            found = json.loads(record.read_text())
        except (OSError, ValueError):
            return False
        return content.items() <= found.items() and all(map(os.path.exists, paths))

    paths = [os.path.join(folder, file) for file in files]
    if is_complete():
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_name(f".{folder.name}.lock"), wait=True):
            if not is_complete():
                _replace(record, lambda partial: write(partial, content))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        megabytes = -(-size // 10**6)
        raise OSError(
            error.errno,
            f"the disk is full: {what} need about {megabytes} MB in '{folder.parent}'. Nothing was "
            "left there. Free some space or choose a root folder on another disk",
        ) from error


def _replace(record: Path, write: Callable[[Path], None]) -> None:
    """Write everything and put it in place of what is there. Needs the lock."""
    folder = record.parent
    if folder.exists() and any(folder.iterdir()) and not record.exists():
        raise FileExistsError(
            errno.EEXIST,
            f"expected a generated data set (with a {record.name}) or nothing, found other files; "
            "move them away or choose another root folder",
            str(folder),
        )
    partial, old = (folder.with_name(f".{folder.name}.{suffix}") for suffix in ("partial", "old"))
    for left_over in (partial, old):  # of a process that was killed
        shutil.rmtree(left_over, ignore_errors=True)
    try:
        write(partial)
        if folder.exists():
            os.replace(folder, old)
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _write_all(
    folder: Path,
    record: dict[str, Any],
    entries: list[Entry],
    on_image: Callable[[], None] | None,
) -> None:
    for kind in (IMAGES, LABELS):
        for subset in SUBSETS:
            (folder / kind / subset).mkdir(parents=True)
    images, annotations = [], []
    hidden = True if on_image else None
    for number, entry in enumerate(tqdm(entries, "synthetic pedestrians", disable=hidden), 1):
        picture = render(entry.shot)
        for path, data in encode(entry, picture).items():
            _write(folder / path, data)
        images.append({"id": number, "file_name": entry.image, "height": HEIGHT, "width": WIDTH})
        if entry.pid:
            annotations.append(_annotation(number, picture))
        if on_image:
            on_image()
    coco = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person", "keypoints": _COCO_KEYPOINTS}],
    }
    occluded = [e.name for e in entries if e.subset == "query" and e.occluded]
    _write(folder / "keypoints.json", json.dumps(coco).encode())
    _write(
        folder / _RECORD, json.dumps({**record, "occluded_queries": occluded}, indent=1).encode()
    )


def _write_textures(folder: Path, record: dict[str, Any], entries: Sequence[Entry]) -> None:
    for subset in SUBSETS:
        (folder / subset).mkdir(parents=True)
    drawn: dict[Identity, bytes] = {}
    smaller = [cv2.IMWRITE_PNG_COMPRESSION, 6]
    for entry in tqdm(entries, "their textures", disable=None):
        assert entry.shot.person is not None
        person = identity(entry.shot.seed, entry.shot.stream, entry.shot.person)
        if person not in drawn:
            _, png = cv2.imencode(".png", draw_texture(person)[..., ::-1], smaller)
            drawn[person] = png.tobytes()
        _write(folder / entry.texture, drawn[person])
    _write(folder / _TEXTURE_RECORD, json.dumps(record).encode())


def encode(entry: Entry, picture: Picture) -> dict[str, bytes]:
    """Return the bytes of an image's two files by their paths below the data set's folder."""
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
