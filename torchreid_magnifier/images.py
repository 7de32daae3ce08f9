"""The one door through which every image and every label map is opened, with one policy.

Training, testing, label maps, textures, extraction and figures see the same pixels of a file:
turned upright by EXIF, 8 bits of red, green and blue; 16-bit and 0..1 images are scaled; of
transparent ones the colours count. What cannot be read as a whole is an error at once.
"""

import io
import os
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from threading import Lock
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from .errors import MagnifierError
from .parts import NUM_PARTS

# The contents decide how a file is read; by the ending it is found in folders.
IMAGE_ENDINGS = (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".tif", ".tiff", ".webp")
# What the names of folders with label maps and with textures end in: these hold no images.
LABELS_SUFFIX, TEXTURES_SUFFIX = "_ps_label", "_texture"
# Against decompression bombs: decoded, turned and copied, such an image takes half a gigabyte.
MAX_PIXELS = 40_000_000
_LARGE = MAX_PIXELS // 10  # larger images are decoded by one thread at a time

# Not all that Pillow knows: some formats start other programs.
_FORMATS = ("JPEG", "PNG", "BMP", "DIB", "TIFF", "WEBP", "GIF", "PPM")
_TIFF = (b"II*\0", b"MM\0*")
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = ("JPEG", "MPO")
_ZEROS = 32  # at the end of compressed pixels, they are none
_WITH_EXIF = {"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"}  # keys of Image.info
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ROUNDING = 1e-3  # by which values of 0..1 may lie outside
_one_large, _truncated_switch = Lock(), Lock()

_ADVICE = "copy or make it anew, or remove it"
_LABELS_ADVICE = "remove it, and 'torchreid-magnifier masks make' (or 'masks import') makes it anew"
_REASON = 160  # letters of a library's reason that a message shows


class ImageError(MagnifierError):
    """An image or label map that cannot be read.

    Args:
        problem: file and reason; kept, for lists of them.
        advice: on what to do, which ends the message.
    """

    def __init__(self, problem: str, advice: str = "") -> None:
        super().__init__(f"{problem}: {advice}" if advice else problem)
        self.problem = problem


class LabelError(ImageError):
    """A label map with values that are no part labels."""


def open_image(path: str | os.PathLike[str]) -> Image.Image:
    """Return an image in RGB, upright and completely decoded.

    Args:
        path: of a JPEG, PNG, BMP, TIFF, WebP, GIF (its first frame) or PPM file, whatever its
            ending.

    Returns:
        PIL image of mode ``RGB``.

    Raises:
        ImageError: the file is missing, no image, damaged, cut short or larger than
            ``MAX_PIXELS``, or its values fit no range of brightness.
    """
    try:
        with _opened(path) as image, _not_too_many(image):
            _load_whole(image)
            _check_whole(path, image)
            turn = _UPRIGHT.get(_orientation(image))
            rgb = (_in_8_bits(image) if _is_deep(image.mode) else image).convert("RGB")
            return rgb if turn is None else rgb.transpose(turn)
    except Exception as error:  # a damaged file raises anything
        raise _unreadable(path, "an image", error) from error


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Return an image as :func:`open_image` does, as a uint8 array (H, W, 3).

    Raises:
        ImageError: as :func:`open_image`.
    """
    return np.array(open_image(path))


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return width and height of an upright image from its header alone.

    Raises:
        ImageError: the file is missing or no image.
    """
    try:
        with _opened(path) as image:
            width, height = image.size
            orientation = _orientation(image)
            if isinstance(image, TiffImageFile):  # some versions of Pillow have turned these
                width, height = image.tag_v2[256], image.tag_v2[257]
                orientation = image.tag_v2.get(_ORIENTATION, 1)
            return (height, width) if 5 <= orientation <= 8 else (width, height)
    except Exception as error:
        raise _unreadable(path, "an image", error) from error


def read_labels(path: str | os.PathLike[str]) -> np.ndarray:
    """Return a label map.

    Args:
        path: as for :func:`read_classes`.

    Returns:
        uint8 array (H, W) with values 0 to 7.

    Raises:
        ImageError: the file cannot be read; LabelError: it holds other values.
    """
    if (decoded := _decoded_labels(path)) is not None:
        return decoded
    try:
        labels = _classes(path, NUM_PARTS)
    except Exception as error:
        raise _unreadable(path, "a label map", error, _LABELS_ADVICE) from error
    wrong = (labels < 0) | (labels >= NUM_PARTS)
    if labels.dtype.kind == "f":  # some tools save whole numbers as floats; NaN is wrong, too
        wrong |= labels != np.floor(labels)
    if wrong.any():
        y, x = np.argwhere(wrong)[0]
        raise LabelError(
            f"{os.fspath(path)}: expected the integer labels 0 to {NUM_PARTS - 1}, found "
            f"{labels[y, x]:g} at x={x}, y={y}",
            _LABELS_ADVICE,
        )
    return labels.astype(np.uint8, copy=False)


def read_classes(
    path: str | os.PathLike[str], count: int = NUM_PARTS, colour_channel: int | None = None
) -> np.ndarray:
    """Return the values of a map of classes as they are, also those beyond ``count``.

    Args:
        path: an image of one channel (8 or 16 bits, a palette) or three equal ones, or a 2-D
            ``.npy``. Where all colours of a palette that are used are greys below ``count``, which
            is how lossless optimisers store label maps, these are the values; else its indices.
        count: of classes.
        colour_channel: the one of R, G and B that is read of images in colour.

    Returns:
        Array (H, W) of numbers or truth values.

    Raises:
        ImageError: there is no such array in the file.
    """
    try:
        return _classes(path, count, colour_channel)
    except Exception as error:
        raise _unreadable(path, "a label map", error) from error


def read_npy(path: str | os.PathLike[str]) -> np.ndarray:
    """Return the array of a ``.npy`` file, which is never unpickled.

    Raises:
        ImageError: the file is missing, damaged or cut short, or larger than ``MAX_PIXELS`` in
            32 bits.
    """
    try:
        return _npy(path)
    except Exception as error:
        raise _unreadable(path, "an array", error) from error


def files_below(
    root: str | os.PathLike[str], endings: tuple[str, ...] = IMAGE_ENDINGS
) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder that has files of a kind, and their sorted names; upper folders first.

    Symbolic links are followed. One that leads back to a folder above it or to nothing is passed
    over with a warning. Folders of label maps and textures and what is hidden (``.name``) are
    passed over too.

    Args:
        root: folder to begin with.
        endings: of the names, in lower case; files may have them in upper case.

    Raises:
        OSError: a folder cannot be read.
    """
    top = os.fspath(root)
    real = os.path.realpath(top)
    pending = [(top, real, frozenset([real]))]
    while pending:
        folder, real, above = pending.pop()
        names: list[str] = []
        folders: list[tuple[str, str, frozenset[str]]] = []
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for entry in found:
            if entry.name.startswith("."):
                continue
            is_file = entry.name.lower().endswith(endings)
            if _is_folder(entry):
                if entry.name.endswith((LABELS_SUFFIX, TEXTURES_SUFFIX)):
                    continue
                to = os.path.realpath(entry.path) if entry.is_symlink() else None
                if to in above:
                    _warn(f"{entry.path}: the link leads in a circle, to {to}; passed over")
                    continue
                to = to or os.path.join(real, entry.name)
                folders.append((entry.path, to, above | {to}))
            elif is_file and os.path.isfile(entry.path):
                names.append(entry.name)
            elif is_file:
                _warn(f"{entry.path}: a link to nothing, or no file; passed over")
        if names:
            yield folder, names
        pending += reversed(folders)


def image_files(folder: str | os.PathLike[str]) -> list[str]:
    """Return the paths of all images in a folder and below it, as :func:`files_below` finds them.

    Raises:
        OSError: a folder cannot be read.
    """
    return [os.path.join(parent, name) for parent, names in files_below(folder) for name in names]


def _classes(
    path: str | os.PathLike[str], count: int, colour_channel: int | None = None
) -> np.ndarray:
    if os.fspath(path).lower().endswith(".npy"):
        array = _npy(path)
        if array.ndim == 3 and array.shape[2] in (1, 3) and (array == array[..., :1]).all():
            array = array[..., 0]
    else:
        with _opened(path) as image, _not_too_many(image):
            if image.format in _JPEG:
                raise ValueError("expected a lossless format, such as PNG, found JPEG")
            stored = _stored_as(image)
            _load_whole(image)
            _check_whole(path, image)
            array = _channel(image, count, colour_channel, _uncut(path, image, stored))
    if array.ndim != 2 or array.size == 0 or array.dtype.kind not in "buif":
        raise ValueError(
            f"expected shape (height, width), found shape {array.shape} of {array.dtype}"
        )
    return array


def _npy(path: str | os.PathLike[str]) -> np.ndarray:
    if not os.path.isfile(path):
        raise FileNotFoundError("there is no such file")
    if not os.path.getsize(path):
        raise ValueError("the file is empty")
    # Mapped, the header's shape is compared with the size of the file before memory is taken.
    mapped = np.lib.format.open_memmap(os.fspath(path), mode="r")
    if mapped.nbytes > 4 * MAX_PIXELS:
        raise ValueError(f"expected at most {4 * MAX_PIXELS} bytes, found {mapped.nbytes}")
    return np.array(mapped)


def _opened(path: str | os.PathLike[str]) -> Image.Image:
    """An image whose header was read; whoever calls closes it."""
    if not os.path.isfile(path):  # from a pipe we would wait for ever
        raise FileNotFoundError(
            "it is no file" if os.path.exists(path) else "there is no such file"
        )
    try:
        image: Image.Image = Image.open(path, formats=_FORMATS)
    except UnidentifiedImageError:
        if (float_image := _float_tiff(path)) is None:
            raise
        return float_image
    try:
        _check_size(*image.size, deep=_is_deep(image.mode))
    except ValueError:
        image.close()
        raise
    return image


def _check_size(width: int, height: int, deep: bool) -> None:
    most = MAX_PIXELS // 4 if deep else MAX_PIXELS
    if width * height > most:
        raise ValueError(f"{width}x{height} are more than {most} pixels")


def _not_too_many(image: Image.Image) -> AbstractContextManager[object]:
    return _one_large if image.width * image.height > _LARGE else nullcontext()


def _float_tiff(path: str | os.PathLike[str]) -> Image.Image | None:
    """A TIFF of floats in colour, which Pillow does not know, in 8 bits; None of other files."""
    with open(path, "rb") as file:
        start = file.read(8)
        if not start.startswith(_TIFF):
            return None
        tags = ImageFileDirectory_v2(start)
        file.seek(tags.next)
        tags.load(file)
        _check_size(tags[256], tags[257], deep=True)
        file.seek(0)
        pixels = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype.kind != "f":
        return None
    return Image.fromarray(_from_floats(pixels if pixels.ndim == 2 else pixels[..., 2::-1]))


def _load_whole(image: Image.Image) -> None:
    """Decode all pixels, also where somebody has set Pillow to be content with half of them."""
    with _nothing_truncated():
        image.load()


def _check_whole(path: str | os.PathLike[str], image: Image.Image) -> None:
    """Find what decoders pass over: a JPEG that was cut and closed, a file with zeros for its end.

    Raises:
        ValueError: for such a file.
    """
    if image.format not in (*_JPEG, "PNG", "WEBP"):
        return
    with open(path, "rb", buffering=0) as file:
        data = file.read()
    if image.format == "PNG":
        at = len(_PNG)
        while at < len(data) - 12:
            end = at + 8 + int.from_bytes(data[at : at + 4], "big")
            kind, sum_there = data[at + 4 : at + 8], data[end : end + 4]
            # Others may be wrong without harm to the pixels; what is cut is for the decoder.
            if kind == b"IDAT" and len(sum_there) == 4:
                if zlib.crc32(data[at + 4 : end]) != int.from_bytes(sum_there, "big"):
                    raise ValueError("a check sum of its pixels is wrong: the file is damaged")
            at = end + 4
    elif image.format == "WEBP":
        end = 8 + int.from_bytes(data[4:8], "little")
        if data[12:15] == b"VP8" and data[15:16] != b"X" and not any(data[end - _ZEROS : end]):
            raise ValueError("the end of the file is zeros")
    else:
        closed = data.rfind(b"\xff\xd9")
        if closed < data.rfind(b"\xff\xda"):
            raise ValueError("the end of the file is missing")
        # What is missing is decoded as a flat rest: then further data would be taken for it.
        right, low = image.width - 1, image.height - 1
        corner = {
            image.getpixel((max(right - x, 0), max(low - y, 0))) for x in (0, 3) for y in (0, 3)
        }
        if len(corner) == 1 or "progressive" in image.info:
            longer = io.BytesIO(data[:closed] + b"\x5a\xa5\x33\xc6" * 256 + data[closed:])
            with Image.open(longer, formats=["JPEG"]) as other:
                _load_whole(other)
                if other.tobytes() != image.tobytes():
                    raise ValueError("pixels are missing, though the file was closed")


@contextmanager
def _nothing_truncated() -> Iterator[None]:
    if not ImageFile.LOAD_TRUNCATED_IMAGES:
        yield
        return
    with _truncated_switch:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = True


def _orientation(image: Image.Image) -> int:
    """EXIF's number, 1 of an upright image. Pillow itself turns TIFFs when it loads them."""
    if image.format == "TIFF" or _WITH_EXIF.isdisjoint(image.info):
        return 1
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # other programs take an image with damaged EXIF as it lies, too
        return 1


def _is_deep(mode: str) -> bool:
    """Return if values have more than 8 bits; Pillow would cut them off at 255."""
    return mode == "F" or mode.startswith("I")


def _in_8_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if values.dtype.kind == "f":
        return Image.fromarray(_from_floats(values))
    low, high, most = int(values.min()), int(values.max()), 65535
    if image.mode == "I" and image.format not in ("PNG", "PPM") and high <= 255:
        most = 255  # of those two, Pillow opens 16 bits as 32
    if low < 0 or high > most:
        raise ValueError(f"expected values of 0..{most}, found {low} to {high}")
    return Image.fromarray(np.rint(values * np.float32(255 / most)).astype(np.uint8))


def _from_floats(values: np.ndarray) -> np.ndarray:
    """Floats of 0..1 or 0..255 as uint8."""
    low, high = float(values.min()), float(values.max())
    unit = -_ROUNDING <= low and high <= 1 + _ROUNDING
    if not unit and not (0 <= low and high <= 255):  # NaN is neither
        raise ValueError(f"expected values of 0..1 or 0..255, found {low:g} to {high:g}")
    scaled = values * np.float32(255) if unit else values
    result: np.ndarray = np.rint(scaled.clip(0, 255)).astype(np.uint8)
    return result


def _stored_as(image: Image.Image) -> str:
    """Return how pixels are in the file, such as ``RGB;16B``; of an image not decoded yet."""
    tiles: Any = getattr(image, "tile", None)
    if not tiles:
        return image.mode
    how = tiles[0][3]
    return str(how[0] if isinstance(how, tuple) and how else how)


def _uncut(path: str | os.PathLike[str], image: Image.Image, stored: str) -> np.ndarray:
    """Return the values that the file has, where Pillow makes all channels 8 bits of brightness."""
    values = np.asarray(image)
    if ";16" in stored and values.ndim == 3:
        whole = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
        if whole is None or whole.ndim != 3:
            raise ValueError(f"expected a map of classes, found {stored}")
        whole = whole[..., [2, 1, 0, 3][: whole.shape[2]]]
        if image.mode == "LA":
            whole = whole[..., [0, 3]]
        elif image.mode == "RGB":
            whole = whole[..., :3]
        return np.asarray(whole)
    if match := re.fullmatch(r"L;([24])", stored):
        return np.asarray(values // (255 // (2 ** int(match[1]) - 1)))
    return values


def _channel(
    image: Image.Image, count: int, colour_channel: int | None, values: np.ndarray
) -> np.ndarray:
    if image.mode == "P":
        colours = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
        used = np.unique(values)
        if used[-1] < len(colours):
            greys = colours[used]
            if (greys == greys[:, :1]).all() and greys.max() < count:
                return np.asarray(colours[:, 0][values])
        return values
    if values.ndim == 3:
        if image.mode in ("LA", "RGBA"):
            if values[..., -1].min() < np.iinfo(values.dtype).max:
                raise ValueError("expected a map of classes, found an image with transparent parts")
            values = values[..., :-1]
        if colour_channel is not None and values.shape[2] == 3:
            return np.asarray(values[..., colour_channel])
        if image.mode not in ("LA", "RGB", "RGBA") or (values != values[..., :1]).any():
            raise ValueError(f"expected one channel or three equal ones, found mode {image.mode!r}")
        return np.asarray(values[..., 0])
    return values


def _decoded_labels(path: str | os.PathLike[str]) -> np.ndarray | None:
    """Labels in 8 bits of grey, by OpenCV, which takes half of Pillow's time for them.

    Returns:
        uint8 array (H, W) with values 0 to 7; None of any other file, or a broken one.
    """
    if not os.fspath(path).endswith(".png"):
        return None
    try:
        with open(path, "rb", buffering=0) as file:
            content = file.read()
        # An 8-bit grey PNG says so in its header; all else, and bombs, are for read_classes.
        width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
        if content[24:26] != b"\x08\x00" or width * height > MAX_PIXELS:
            return None
        labels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except (OSError, cv2.error):
        return None
    if labels is None or labels.ndim != 2 or labels.dtype != np.uint8 or labels.max() >= NUM_PARTS:
        return None
    return labels


def _unreadable(
    path: str | os.PathLike[str], what: str, error: Exception, advice: str = _ADVICE
) -> ImageError:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if isinstance(error, UnidentifiedImageError):
        empty = Path(path).stat().st_size == 0
        reason = "the file is empty" if empty else "its content is none"
    if len(reason) > _REASON or not reason.isprintable():
        reason = repr(reason)[:_REASON] + " ..."
    return ImageError(f"{os.fspath(path)}: cannot be read as {what} ({reason})", advice)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=3)
