"""One door for images and label maps: what a file becomes, or the error that names it."""

import io
import os
import pickle
import runpy
import struct
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile

from torchreid_magnifier import images
from torchreid_magnifier.images import (
    ImageError,
    LabelError,
    files_below,
    image_size,
    open_image,
    read_classes,
    read_image,
    read_labels,
    read_npy,
)

# A collection of inputs that went wrong, beside the repository, where it is at hand.
CASES = next(
    (case for p in Path(__file__).parents if (case := p / "shared" / "cases").is_dir()),
    Path("none"),
)


@pytest.fixture
def rgb() -> np.ndarray:
    """Smooth colours (64, 32, 3), which JPEG keeps."""
    y, x = np.mgrid[:64, :32]
    return np.stack([y * 4, x * 8, 255 - y * 2 - x * 2], axis=2).astype(np.uint8)


@pytest.fixture
def labels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 8, (16, 9)).astype(np.uint8)


# -- images ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".png", ".PNG", ".bmp", ".tif", ".webp", ".jpg"])
def test_an_image_is_read_by_its_content_whatever_its_ending(tmp_path, rgb, ending):
    path = tmp_path / f"a{ending}"
    Image.fromarray(rgb).save(path, format="PNG")
    assert (read_image(path) == rgb).all()
    assert open_image(path).mode == "RGB" and image_size(path) == (32, 64)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_an_image_upright(tmp_path, rgb, kind, orientation):
    # What undoes each of EXIF's eight ways to lie, by numpy.
    lay = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a),
        7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a"
    Image.fromarray(np.ascontiguousarray(lay(rgb))).save(
        path, format=kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {})
    )
    assert image_size(path) == (32, 64)
    assert np.abs(read_image(path).astype(int) - rgb).max() <= (40 if kind == "JPEG" else 0)


def test_damaged_exif_leaves_an_image_as_it_lies(tmp_path, rgb):
    exif = Image.Exif()
    exif[0x0112] = 9  # of 8 ways to lie
    Image.fromarray(rgb).save(tmp_path / "ninth.png", exif=exif)
    assert image_size(tmp_path / "ninth.png") == (32, 64)
    Image.fromarray(rgb).save(tmp_path / "a.png", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert (read_image(tmp_path / "a.png") == rgb).all()


@pytest.mark.parametrize(
    ("dtype", "scale", "ending"),
    [
        (np.uint16, 257, ".png"),
        (np.uint16, 257, ".tif"),
        (np.int32, 257, ".tif"),
        (np.int32, 1, ".tif"),
        (np.float32, 1 / 255, ".tif"),
        (np.float32, 1, ".tif"),
    ],
)
def test_deeper_greys_are_scaled_to_8_bits(tmp_path, rgb, dtype, scale, ending):
    grey = rgb[..., 0]
    path = tmp_path / f"a{ending}"
    Image.fromarray((grey * np.float64(scale)).astype(dtype)).save(path)
    assert (read_image(path) == grey[..., None]).all()


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.float64])
def test_deeper_colours_are_scaled_to_8_bits(tmp_path, rgb, dtype):
    cv2 = pytest.importorskip("cv2")
    scale = 257 if dtype is np.uint16 else 1 / 255
    path = tmp_path / "a.tif"
    plain = [cv2.IMWRITE_TIFF_COMPRESSION, 1]  # OpenCV 4 would lose some of a float's digits
    cv2.imwrite(str(path), (rgb[..., ::-1] * np.float64(scale)).astype(dtype), plain)
    assert np.abs(read_image(path).astype(int) - rgb).max() <= 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_greys_of_more_bits_than_pillow_knows(tmp_path, rgb, dtype):
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / "a.tif"
    cv2.imwrite(str(path), (rgb[..., 0] / 255.0).astype(dtype))
    assert (read_image(path) == rgb[..., :1]).all()


@pytest.mark.parametrize("values", [[-1.0, 0.5], [0.0, 300.0], [np.nan, 0.5]])
def test_floats_of_no_range_of_brightness_are_refused(tmp_path, values):
    Image.fromarray(np.array([values], np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ImageError, match=r"a.tif: .*expected values of 0..1 or 0..255"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "CMYK", "L", "1"])
def test_modes_become_rgb(tmp_path, rgb, mode):
    image = Image.fromarray(rgb).convert(mode)
    if mode in ("RGBA", "LA"):  # of transparent pixels the colours count
        image.putalpha(Image.fromarray(rgb[..., 0]))
    path = tmp_path / "a.tif"
    image.save(path)
    assert (read_image(path) == np.asarray(image.convert("RGB"))).all()


def _png(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


def _damaged(kind: str, rgb: np.ndarray) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 32, 3)).astype(np.uint8)
    Image.fromarray(noise).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize("switched", [False, True])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF"])
def test_an_image_cut_short_is_refused_at_once(tmp_path, rgb, monkeypatch, kind, switched):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", switched)
    whole = _damaged(kind, rgb)
    path = tmp_path / "a.jpg"
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(ImageError, match=r"a.jpg: cannot be read as an image .*remove it"):
        read_image(path)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is switched


@pytest.mark.parametrize("how", ["closed", "zeros"])
@pytest.mark.parametrize("kind", ["JPEG", "progressive JPEG", "PNG", "WEBP"])
def test_an_image_whose_end_was_made_up_is_refused(tmp_path, kind, how):
    noise = np.random.default_rng(0).integers(0, 256, (64, 32, 3)).astype(np.uint8)
    noise[:, :, 0] = 0  # a code of few bits, that zeros are read as
    data = io.BytesIO()
    format, options = kind.split()[-1], {"progressive": " " in kind, "lossless": True}
    Image.fromarray(noise).save(data, format, **options)
    whole, path = data.getvalue(), tmp_path / "a"
    path.write_bytes(whole + b"\0" * 64)
    assert read_image(path).shape == noise.shape  # what comes after an image's end is no harm
    for part in (0.5, 0.9):
        cut = whole[: int(part * len(whole))]
        end = b"\xff\xd9" if how == "closed" else b"\0" * (len(whole) - len(cut))
        path.write_bytes(cut + end)
        with pytest.raises(ImageError, match="a: cannot be read as an image"):
            open_image(path)


def test_what_is_no_image_is_refused_with_its_name(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "a.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    for name, reason in (
        ("empty.jpg", "the file is empty"),
        ("text.jpg", "its content is none"),
        ("a.eps", "its content is none"),
        ("absent.jpg", "there is no such file"),
        ("pipe.jpg", "it is no file"),
        (".", "it is no file"),
    ):
        for read in (read_image, image_size):
            with pytest.raises(ImageError, match=f"{name}: cannot be read as an image .{reason}"):
                read(os.path.join(tmp_path, name))


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path, monkeypatch, rgb):
    path = tmp_path / "bomb.png"
    monkeypatch.setattr(images, "MAX_PIXELS", 64 * 32 - 1)
    path.write_bytes(_png(rgb))
    for read in (read_image, image_size, read_labels, read_classes):
        with pytest.raises(ImageError, match=r"bomb.png: .*32x64 are more than 2047 pixels"):
            read(path)
    # Beyond Pillow's own limit, by a header alone.
    data = bytearray(_png(rgb))
    data[16:24] = (60000).to_bytes(4, "big") * 2
    path.write_bytes(data)
    with pytest.raises(ImageError, match=r"bomb.png: cannot be read"):
        read_image(path)


def test_the_example_without_this_package_sees_the_same(tmp_path, rgb):
    file = Path(__file__).parents[1] / "examples" / "search_with_onnxruntime.py"
    pytest.importorskip("onnxruntime")
    example = runpy.run_path(str(file))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(rgb).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(rgb[..., 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(rgb[..., 0].astype(np.float32) / 255).save(tmp_path / "float.tif")
    Image.fromarray(rgb).convert("CMYK").save(tmp_path / "cmyk.tif")
    for path in tmp_path.iterdir():
        assert (example["read"](path) == read_image(path)).all(), path


# -- label maps ------------------------------------------------------------------------------------


def _palette(labels: np.ndarray, colours: list[tuple[int, int, int]]) -> Image.Image:
    image = Image.fromarray(labels).convert("L")
    image = Image.frombytes("P", image.size, labels.tobytes())
    image.putpalette([value for colour in colours for value in colour])
    return image


def _label_files(folder: Path, labels: np.ndarray) -> dict[str, Path]:
    greys = [(i, i, i) for i in range(8)]
    order = np.array([3, 1, 7, 0, 2, 6, 5, 4])
    kinds = {
        "grey.png": Image.fromarray(labels),
        "sixteen.png": Image.fromarray(labels.astype(np.uint16)),
        "thirty_two.tif": Image.fromarray(labels.astype(np.int32)),
        "three.png": Image.fromarray(np.repeat(labels[..., None], 3, axis=2)),
        "opaque.png": Image.fromarray(np.dstack([labels] * 3 + [np.full_like(labels, 255)])),
        "opaque_grey.png": Image.merge(
            "LA", [Image.fromarray(labels), Image.new("L", labels.shape[::-1], 255)]
        ),
        "grey_palette.png": _palette(labels, greys),
        "colours.png": _palette(labels, [(i * 30, 0, 255 - i) for i in range(8)]),
        "bright_greys.png": _palette(labels, [(i * 30,) * 3 for i in range(8)]),
        # The grey of entry i is order[i], so a label is stored at the place of its grey.
        "reordered.png": _palette(
            np.argsort(order)[labels].astype(np.uint8), [(g, g, g) for g in order]
        ),
    }
    for name, image in kinds.items():
        image.save(folder / name)
    for dtype in (np.uint8, np.int64, np.float32):
        np.save(folder / f"{np.dtype(dtype).name}.npy", labels.astype(dtype))
    np.save(folder / "fortran.npy", np.asfortranarray(labels))
    np.save(folder / "one_channel.npy", labels[..., None])
    np.save(folder / "three_channels.npy", np.repeat(labels[..., None], 3, axis=2))
    return {path.name: path for path in folder.iterdir()}


def test_label_maps_of_every_kind_are_the_same_labels(tmp_path, labels):
    for name, path in _label_files(tmp_path, labels).items():
        read = read_labels(path)
        assert read.dtype == np.uint8 and (read == labels).all(), name


def test_the_grey_of_a_palette_counts_only_where_all_used_ones_are_grey(tmp_path):
    labels = np.array([[0, 1], [1, 0]], np.uint8)
    # Entry 2 is a colour that no pixel has.
    _palette(labels, [(5, 5, 5), (2, 2, 2), (255, 0, 0)]).save(tmp_path / "a.png")
    assert (read_labels(tmp_path / "a.png") == [[5, 2], [2, 5]]).all()
    _palette(labels, [(5, 5, 5), (2, 2, 3)]).save(tmp_path / "a.png")
    assert (read_labels(tmp_path / "a.png") == labels).all()
    # Of another parser with more classes, greys up to its own last class.
    _palette(labels, [(5, 5, 5), (12, 12, 12)]).save(tmp_path / "a.png")
    assert (read_classes(tmp_path / "a.png", 20) == [[5, 12], [12, 5]]).all()
    assert (read_classes(tmp_path / "a.png", 12) == labels).all()


@pytest.mark.parametrize("kind", ["a.png", "deep.png", "a.npy", "float.npy", "nan.npy", "low.npy"])
def test_a_value_that_is_no_label_is_named_with_its_place(tmp_path, labels, kind):
    values: np.ndarray = labels.astype(np.float64)
    value = {"float.npy": 1.5, "nan.npy": np.nan, "low.npy": -1, "deep.png": 300}.get(kind, 8)
    values[4, 7] = value
    path = tmp_path / kind
    if kind.endswith(".npy"):
        np.save(path, values)
    else:
        Image.fromarray(values.astype(np.uint8 if kind == "a.png" else np.uint16)).save(path)
    with pytest.raises(LabelError, match=rf"{kind}: .*0 to 7, found {value:g} at x=7, y=4"):
        read_labels(path)


def test_damaged_label_files_name_the_file_and_the_command(tmp_path, labels):
    np.save(tmp_path / "whole.npy", labels)
    whole = (tmp_path / "whole.npy").read_bytes()
    bad = {
        "cut.npy": whole[:-5],
        "empty.npy": b"",
        "header.npy": whole[:20] + b"\0" * 40 + whole[60:],
        "huge.npy": whole.replace(b"(16, 9), }", b"(999999999999, 9), }"),
        "cut.png": _png(labels)[:60],
        "text.png": b"labels",
    }
    objects = io.BytesIO()
    np.save(objects, np.array([[{}]], object), allow_pickle=True)
    zipped = io.BytesIO()
    np.savez(zipped, labels)
    line, cube = io.BytesIO(), io.BytesIO()
    np.save(line, labels[0])
    np.save(cube, np.array(["a"]))
    bad |= {"objects.npy": objects.getvalue(), "zip.npy": zipped.getvalue()}
    bad |= {"line.npy": line.getvalue(), "words.npy": cube.getvalue()}
    for name, data in bad.items():
        (tmp_path / name).write_bytes(data)
    Image.new("RGB", (4, 4), (1, 2, 3)).save(tmp_path / "colours.png")
    Image.new("RGBA", (4, 4), (1, 1, 1, 0)).save(tmp_path / "glass.png")
    for name in (*bad, "colours.png", "glass.png", "absent.png", "absent.npy"):
        with pytest.raises(ImageError, match=f"{name}: .*masks make"):
            read_labels(tmp_path / name)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_palettes_of_fewer_bits_and_truth_values_are_labels(tmp_path, labels, bits):
    labels = labels % 2**bits
    image = Image.fromarray(labels.astype(bool) if bits == 1 else labels)
    if bits > 1:
        image.putpalette([40 * value % 256 for value in range(768)])
    image.save(tmp_path / "a.png", bits=bits)
    assert (read_labels(tmp_path / "a.png") == labels).all()


def test_deep_colours_and_shallow_greys_hold_the_labels_that_were_written(tmp_path, labels):
    alpha = np.full(labels.shape, 65535, np.uint16)
    for name, channels in {"rgb": 3, "rgba": 4}.items():
        deep = np.dstack([labels.astype(np.uint16)] * 3 + [alpha] * (channels - 3))
        cv2.imwrite(str(tmp_path / f"{name}.png"), deep)
        cv2.imwrite(str(tmp_path / f"{name}.tif"), deep)
    bits = np.unpackbits(np.pad(labels, ((0, 0), (0, 1)))[..., None], axis=-1)[..., 4:]
    rows = np.packbits(bits.reshape(len(labels), -1), axis=1)
    write_png(tmp_path / "shallow.png", labels.shape, (4, 0), rows)
    for path in tmp_path.iterdir():
        assert (read_labels(path) == labels).all(), path
    Image.fromarray(labels).save(tmp_path / "lossy.png", "JPEG")
    with pytest.raises(ImageError, match="lossless"):
        read_labels(tmp_path / "lossy.png")


def write_png(path, shape, kind, rows):
    """Write a PNG of packed rows; ``kind``: bits of a sample and PNG's colour type."""

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = struct.pack(">IIBBBBB", shape[1], shape[0], *kind, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.zeros((2, 3, 8)), "shape (2, 3, 8) of float64"),
        (np.zeros((2, 3), complex), "shape (2, 3) of complex128"),
        (np.full((2, 3), "a"), "shape (2, 3) of <U1"),
    ],
)
def test_an_array_that_is_no_map_of_numbers_says_what_it_is(tmp_path, array, found):
    np.save(tmp_path / "m.npy", array)
    with pytest.raises(ImageError) as error:
        read_labels(tmp_path / "m.npy")
    assert f"(expected shape (height, width), found {found})" in str(error.value)


def test_a_pickle_is_never_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    np.save(tmp_path / "m.npy", np.array([[Trap()]], dtype=object), allow_pickle=True)
    for read in (read_labels, read_npy):
        with pytest.raises(ImageError, match=r"m\.npy: cannot be read"):
            read(tmp_path / "m.npy")
    assert not (tmp_path / "sprung").exists()


def test_an_error_survives_the_way_out_of_a_process(tmp_path):
    with pytest.raises(ImageError) as error:
        read_image(tmp_path / "absent.jpg")
    again = pickle.loads(pickle.dumps(error.value))
    assert type(again) is ImageError and str(again) == str(error.value)
    assert error.value.problem == (
        f"{tmp_path / 'absent.jpg'}: cannot be read as an image (there is no such file)"
    )


def test_an_array_of_any_shape_is_read_without_unpickling(tmp_path):
    fields = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    np.save(tmp_path / "a.npy", fields)
    assert (read_npy(tmp_path / "a.npy") == fields).all()
    (tmp_path / "a.npy").write_bytes(b"\x80\x04.")
    with pytest.raises(ImageError, match="a.npy: cannot be read as an array"):
        read_npy(tmp_path / "a.npy")


# -- folders ---------------------------------------------------------------------------------------


def _touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_files_below_a_folder(tmp_path):
    _touch(
        *(tmp_path / "b" / n for n in ("2.JPG", "1.jfif", "x.webp", "note.txt", ".hidden.jpg")),
        tmp_path / "a.png",
        *(tmp_path / f / "1.png" for f in ("b_ps_label", "b_texture", ".cache", "b/c")),
    )
    assert list(files_below(tmp_path)) == [
        (str(tmp_path), ["a.png"]),
        (str(tmp_path / "b"), ["1.jfif", "2.JPG", "x.webp"]),
        (str(tmp_path / "b" / "c"), ["1.png"]),
    ]


def test_links_are_followed_and_circles_and_dead_ones_named(tmp_path):
    _touch(tmp_path / "elsewhere" / "1.jpg", tmp_path / "data" / "0.jpg")
    data = tmp_path / "data"
    (data / "cam").symlink_to(tmp_path / "elsewhere")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(files_below(data)) == [(str(data), ["0.jpg"]), (str(data / "cam"), ["1.jpg"])]
    (tmp_path / "elsewhere" / "back").symlink_to(data)
    (data / "dead.jpg").symlink_to(tmp_path / "nothing")
    (data / "self.jpg").symlink_to(data / "self.jpg")
    with pytest.warns(UserWarning) as caught:
        found = list(files_below(data))
    assert found == [(str(data), ["0.jpg"]), (str(data / "cam"), ["1.jpg"])]
    said = sorted(str(warning.message) for warning in caught)
    assert [s.split(":")[0] for s in said] == [
        str(data / name) for name in ("cam/back", "dead.jpg", "self.jpg")
    ]
    assert "in a circle" in said[0] and all("link to nothing" in s for s in said[1:])


# -- the collection --------------------------------------------------------------------------------


@pytest.mark.skipif(not CASES.exists(), reason="no collection here")
def test_the_collection_comes_out_as_it_must():
    pictures, maps = CASES / "pictures", CASES / "labels"
    right, grey = (read_image(pictures / name).astype(int) for name in ("right.png", "grey8.png"))
    for name in ("grey16.png", "float01.tif"):
        assert np.abs(read_image(pictures / name) - grey).max() <= 1
    for name in ("exif3.jpg", "exif6.jpg", "transparent.png", "other.webp"):
        assert np.abs(read_image(pictures / name) - right).mean() < 1, name
    for name in ("other.jfif", "jpeg_named.png", "cmyk.jpg"):
        assert np.abs(read_image(pictures / name) - right).mean() < 6, name
    for name in ("truncated.jpg", "empty.jpg", "text.jpg"):
        with pytest.raises(ImageError, match=name):
            read_image(pictures / name)
    labels = np.asarray(Image.open(maps / "right.png"))
    for path in maps.iterdir():
        if path.name in ("cut.npy", "empty.npy", "bad_header.npy"):
            with pytest.raises(ImageError, match=f"{path.name}: .*masks make"):
                read_labels(path)
        elif path.name == "label_8.png":
            with pytest.raises(LabelError, match="label_8.png: .*found 8 at x="):
                read_labels(path)
        else:
            assert (read_labels(path) == labels).all(), path.name
