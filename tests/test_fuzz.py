"""Damaged, odd and hostile files through each door: an error of this package, or the right thing.

Never another exception, an endless loop or memory without bound.
"""

import io
import json
import os
import pickle
import random
import resource
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from torchreid_magnifier.annotate.images import folder_images
from torchreid_magnifier.annotate.parsers.keypoints import KeypointFiles, read_names
from torchreid_magnifier.data.image_datasets.image_folder import read_table
from torchreid_magnifier.data.masks import MASKS
from torchreid_magnifier.errors import MagnifierError
from torchreid_magnifier.files import read_lines
from torchreid_magnifier.images import (
    files_below,
    image_size,
    open_image,
    read_classes,
    read_labels,
    read_npy,
)

DOORS = (open_image, image_size, read_labels, read_classes, read_npy)
SETTINGS = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _is_answered(path: Path) -> None:
    """Every door answers with what it promises or an error that names the file."""
    for door in DOORS:
        try:
            door(path)
        except MagnifierError as error:
            assert path.name in str(error)


def _whole_files() -> list[bytes]:
    rgb = np.random.default_rng(0).integers(0, 256, (24, 12, 3)).astype(np.uint8)
    images = [
        (Image.fromarray(rgb), kind)
        for kind in ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM")
    ]
    grey = Image.fromarray(rgb[..., 0])
    images += [(grey, "PNG"), (grey.convert("P"), "PNG"), (grey.convert("1"), "TIFF")]
    images += [(Image.fromarray(rgb[..., 0].astype(np.float32) / 255), "TIFF")]
    images += [(Image.fromarray(rgb[..., 0].astype(np.uint16) * 257), "PNG")]
    images += [(Image.fromarray(rgb).convert("CMYK"), "JPEG")]
    images += [(Image.fromarray(rgb).convert("RGBA"), "PNG")]
    exif = Image.Exif()
    exif[0x0112] = 6
    files = []
    for image, kind in images:
        stream = io.BytesIO()
        image.save(stream, kind, exif=exif if kind in ("JPEG", "PNG", "WEBP") else b"")
        files.append(stream.getvalue())
    for array in (rgb[..., 0] % 8, rgb.astype(np.float32), np.array(["a"])):
        stream = io.BytesIO()
        np.save(stream, array)
        files.append(stream.getvalue())
    return files


def test_a_thousand_damaged_files(tmp_path):
    rng = random.Random(0)
    whole = _whole_files()
    start = time.monotonic()
    for number in range(1000):
        data = bytearray(rng.choice(whole))
        for _ in range(rng.choice((0, 1, 1, 3, 20))):
            data[rng.randrange(len(data))] = rng.choice((0, 255, rng.randrange(256)))
        if rng.random() < 0.3:
            del data[rng.randrange(len(data)) :]
        if rng.random() < 0.1:
            at = rng.randrange(len(data) + 1)
            data[at:at] = rng.randbytes(rng.randrange(64))
        path = tmp_path / f"{number}{rng.choice(('.jpg', '.png', '.npy', '.tif', ''))}"
        path.write_bytes(data)
        _is_answered(path)
        path.unlink()
    assert time.monotonic() - start < 120


@SETTINGS
@given(
    data=st.binary(max_size=200), start=st.sampled_from([b"", *(f[:16] for f in _whole_files())])
)
def test_any_bytes(tmp_path, data, start):
    for ending in (".png", ".npy"):
        path = tmp_path / f"a{ending}"
        path.write_bytes(start + data)
        _is_answered(path)


def _png_bomb(width: int, height: int) -> bytes:
    """A PNG of nothing, as small as can be."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    body = b"".join(packer.compress(bytes(width + 1)) for _ in range(height)) + packer.flush()
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


_MEMORY = """
import sys
from torchreid_magnifier.errors import MagnifierError
from torchreid_magnifier.images import open_image, read_classes, read_labels, read_npy
for path in sys.argv[1:]:
    for door in (open_image, read_labels, read_classes, read_npy):
        try:
            door(path)
            print(door.__name__, path)
        except MagnifierError:
            pass
# Not getrusage, which counts what the parent had when it started this process.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="kilobytes of memory are Linux's")
def test_bombs_and_odd_shapes_take_less_than_a_gigabyte(tmp_path):
    (tmp_path / "bomb.png").write_bytes(_png_bomb(30000, 30000))
    (tmp_path / "large.png").write_bytes(_png_bomb(6500, 6000))  # allowed
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    Image.new("RGB", (1, 20000)).save(tmp_path / "high.png")
    Image.new("RGB", (20000, 1)).save(tmp_path / "wide.jpg")
    Image.new("F", (5000, 5000)).save(tmp_path / "deep.tif", compression="tiff_deflate")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6)}
    )
    (tmp_path / "huge.npy").write_bytes(header.getvalue())
    with open(tmp_path / "sparse.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": (10**5, 10**5)}
        )
        file.truncate(file.tell() + 10**10)
    paths = sorted(map(str, tmp_path.iterdir()))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _MEMORY, *paths],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    *answers, peak = done.stdout.split("\n")[:-1]
    read = {tuple(line.rsplit("/", 1))[-1] for line in answers if line.startswith("open_image")}
    assert read == {"large.png", "dot.png", "high.png", "wide.jpg"}
    assert int(peak) < 2**20  # kilobytes


NAMES = st.text(
    st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=40
).filter(lambda name: name not in (".", "..") and not name.startswith("."))


@SETTINGS
@given(name=NAMES)
def test_every_name_that_the_file_system_allows(tmp_path, name):
    folder = tmp_path / "names"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    path = folder / f"{name}.png"
    if len(os.fsencode(path.name)) > 255:
        return
    Image.new("L", (4, 8)).save(path)
    assert list(files_below(folder)) == [(str(folder), [path.name])]
    assert folder_images(str(folder)).paths == [str(path)]
    assert open_image(path).size == (4, 8) and read_labels(path).shape == (8, 4)
    assert set(MASKS.inspect([str(path)]).problems) == {"images without a mask"}


@pytest.mark.parametrize("name", ["--overwrite", "-h", "{}", "%s", "a\nb", "\u202e", "~", "$HOME"])
def test_names_that_are_options_or_patterns(tmp_path, name):
    path = tmp_path / f"{name}.png"
    Image.new("RGB", (4, 8), "red").save(path)
    assert folder_images(str(tmp_path)).paths == [str(path)]
    with pytest.raises(MagnifierError) as error:
        read_labels(path)
    assert path.name in str(error.value)


def test_a_name_that_is_no_text(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"\xff\xfe.png")
    Image.new("RGB", (4, 8)).save(io.BytesIO(), "PNG")
    with open(path, "wb") as file:
        Image.new("RGB", (4, 8)).save(file, "PNG")
    [name] = folder_images(str(tmp_path)).paths
    assert open_image(name).size == (4, 8)


# -- lists, tables, keypoints ----------------------------------------------------------------------

TEXTS = st.one_of(
    st.binary(max_size=300),
    st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.text(max_size=200).map(lambda text: text.encode("utf-16", "surrogatepass")),
    st.lists(st.sampled_from(["a.jpg", "x\\b.PNG", "", "  ", "c/d.webp", "none", '"', ","]))
    .map("\r\n".join)
    .map(str.encode),
)


@SETTINGS
@given(content=TEXTS)
def test_any_list(tmp_path, content):
    path = tmp_path / "names.txt"
    path.write_bytes(content)
    for read in (read_lines, read_names):
        try:
            read(path)
        except MagnifierError as error:
            assert "names.txt" in str(error)


CELLS = st.sampled_from(
    ["train", "query", "gallery", "", "1", "-1", "0", "a.png", "x", '"', "9" * 30, "\u0663", "é\n"]
)


@SETTINGS
@given(
    rows=st.one_of(
        st.binary(max_size=200),
        st.lists(st.lists(CELLS, max_size=5).map(",".join), max_size=6)
        .map(lambda lines: "\n".join(["split,path,pid,camid", *lines]))
        .map(str.encode),
    )
)
def test_any_table(tmp_path, rows):
    Image.new("RGB", (4, 8)).save(tmp_path / "a.png")
    path = tmp_path / "images.csv"
    path.write_bytes(rows)
    try:
        splits = read_table(str(path))
    except MagnifierError as error:
        assert "images.csv" in str(error)
    else:
        assert all(os.path.isfile(s.path) and s.pid >= -1 for split in splits for s in split)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["keypoints", "file_name", "image_id", "a.jpg"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "images",
                    "annotations",
                    "id",
                    "file_name",
                    "image_id",
                    "keypoints",
                    "score",
                    "kpt",
                    "people",
                    "pose_keypoints_2d",
                    "keypoint_scores",
                    "foot_kpts",
                    "categories",
                ]
            )
            | st.text(max_size=4),
            inner,
            max_size=5,
        )
        | st.just([0.5] * 51)
    ),
    max_leaves=12,
)


@SETTINGS
@given(content=VALUES)
def test_any_keypoints(tmp_path, content):
    json_file, pickle_file = tmp_path / "k.json", tmp_path / "k.pkl"
    json_file.write_text(json.dumps(content))
    pickle_file.write_bytes(pickle.dumps(content))
    for file in (json_file, pickle_file):
        try:
            KeypointFiles([file], {})
        except MagnifierError as error:
            assert file.name in str(error)


@SETTINGS
@given(content=st.binary(max_size=200))
def test_any_bytes_as_keypoints(tmp_path, content):
    for name in ("k.json", "k.pkl", "k.mat"):
        file = tmp_path / name
        file.write_bytes(content)
        try:
            KeypointFiles([file], {})
        except MagnifierError as error:
            assert name in str(error)


def test_deep_json_and_a_pickle_that_asks_for_much(tmp_path):
    (tmp_path / "k.json").write_text("[" * 100_000)
    (tmp_path / "k.pkl").write_bytes(
        b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I999999999999\ntS'b'\ntR."
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in ("k.json", "k.pkl"):
        with pytest.raises(MagnifierError, match=name):
            KeypointFiles([tmp_path / name], {})
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**18
