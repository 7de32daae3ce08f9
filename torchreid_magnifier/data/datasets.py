"""Versions of any torchreid image dataset class whose training images have sidecar files.

``with_masks`` and ``with_textures`` make them; everything but the sidecar files' own reading, check
and transform is shared. And torchreid's plain dataset, read through this package's door.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

from torchreid import data as torchreid_data

from ..errors import MagnifierError
from ..images import ImageError, image_size, open_image
from .masks import MASKS
from .sidecars import SidecarFiles
from .textures import TextureFiles
from .transforms import JointTransform, TextureTransform

# The ends of the names under which datasets with sidecar files are registered.
MASKS_SUFFIX = "_masks"
TEXTURES_SUFFIX = "_textures"


class DatasetError(MagnifierError, RuntimeError):
    """A dataset that cannot be used as it lies; a RuntimeError, as torchreid's own are."""


def plain_name(name: str) -> str:
    """Return the name of the dataset that one with masks or textures is made of."""
    return name.removesuffix(MASKS_SUFFIX).removesuffix(TEXTURES_SUFFIX)


def with_masks(cls: type[Any], name: str | None = None) -> type[Any]:
    """Make the class of a dataset whose training images carry their part labels.

    In mode ``train`` it finds and checks the mask of every image when it is made, and ``img`` is a
    tensor of shape (4, H, W): the transformed RGB image and the labels 0 to 7, moved by the same
    draw of the same transforms. With ``k_tfm > 1`` it is a list of as many tensors. Without a
    transform ``img`` is the PIL image and the item has the labels, uint8 (H, W), under ``mask``.
    In modes ``query`` and ``gallery`` it is the dataset it was made of.

    Args:
        cls: subclass of torchreid's ``ImageDataset``, or that class itself.
        name: name under which the dataset is registered, for the command in messages; the class's
            name in lower case (so torchreid names its own) without it.

    Returns:
        Subclass of ``cls`` named like it with ``Masks`` added, always the same one for the same
        arguments. Making it raises MaskError for masks that cannot be used (see
        :class:`torchreid_magnifier.data.sidecars.SidecarFiles`), DatasetError for identities that
        are not numbered from 0, and TypeError for unknown transforms (see
        :class:`torchreid_magnifier.data.transforms.JointTransform`). Its instances pickle.

    Raises:
        TypeError: ``cls`` is not an image dataset class, or has other sidecar files already.
    """
    return _extended(_MaskedDataset, cls, name)


def with_textures(cls: type[Any], name: str | None = None) -> type[Any]:
    """Make the class of a dataset whose training images carry their texture.

    In mode ``train`` it finds and checks the texture of every image when it is made, and ``img`` is
    a tensor of shape (9, H, W): the transformed RGB image, then the left and the right half of the
    texture (3, H, 2W) in [-1, 1], which no transform touches. With ``k_tfm > 1`` it is a list of as
    many tensors. Without a transform ``img`` is the PIL image and the item has the texture as it
    lies there, uint8 (height, width, 3), under ``texture``.
    In modes ``query`` and ``gallery`` it is the dataset it was made of.

    A class that can make its textures itself does so in a method ``make_textures()``, which is
    called before they are looked for.

    Args:
        cls, name: as for :func:`with_masks`.

    Returns:
        Subclass of ``cls`` named like it with ``Textures`` added, always the same one for the same
        arguments. Making it raises TextureError for textures that cannot be used and DatasetError
        as :func:`with_masks`, and ValueError for a transform that does not give images of one size.
        Its instances pickle.

    Raises:
        TypeError: as :func:`with_masks`.
    """
    return _extended(_TexturedDataset, cls, name)


def check_identities(samples: list[Any], name: str) -> None:
    """See that identities to train on are numbered as torchreid's losses and sums need it.

    Args:
        samples: ``(path, pid, camid, ...)`` each.
        name: of the dataset, for the message.

    Raises:
        DatasetError: they are not 0, 1, 2, ...
    """
    pids = {sample[1] for sample in samples}
    if pids != set(range(len(pids))):
        raise DatasetError(
            f"{name}: expected identities to train on that are numbered from 0 to {len(pids) - 1}, "
            f"found {len(pids)} from {min(pids)} to {max(pids)}: let the dataset class number them "
            "anew, as torchreid's own do (pid2label)"
        )


def read_here(dataset: Any) -> None:
    """Let a torchreid image dataset read its images through :mod:`torchreid_magnifier.images`.

    torchreid's own ``read_image`` tries an unreadable image again for ever and ignores EXIF. A
    dataset whose class has its own ``__getitem__`` stays as it is.
    """
    cls = type(dataset)
    if cls.__getitem__ is torchreid_data.ImageDataset.__getitem__:
        dataset.__class__ = _made_class((ImageDataset, cls, cls.__name__))


def _extended(base: type[Any], cls: type[Any], name: str | None) -> type[Any]:
    if not isinstance(cls, type) or not issubclass(cls, torchreid_data.ImageDataset):
        raise TypeError(f"expected a subclass of torchreid's ImageDataset, found {cls!r}")
    if issubclass(cls, base):
        return cls
    if issubclass(cls, _SidecarDataset):
        raise TypeError(
            f"{cls.__name__} has {cls.what} already, and there is no dataset with {base.what} too: "
            "take the class that it was made of"
        )
    return _made_class((base, cls, name or cls.__name__.lower()))


@cache
def _made_class(made_of: tuple[type[Any], type[Any], str]) -> type[Any]:
    base, cls, _ = made_of
    what = getattr(base, "what", "")
    namespace = {"_made_of": made_of, "__doc__": f"{cls.__name__} with {what or 'checked images'}."}
    return type(f"{cls.__name__}{what.capitalize()}", (base, cls), namespace)


def _blank(made_of: tuple[type[Any], type[Any], str]) -> Any:
    """Return an instance without state: how pickle reaches a class that stands in no module."""
    return object.__new__(_made_class(made_of))


class ImageDataset(torchreid_data.ImageDataset):  # type: ignore[misc]
    """torchreid's ``ImageDataset``, whose images come through :mod:`torchreid_magnifier.images`."""

    _made_of: tuple[type[Any], type[Any], str]
    transform: Any
    query: list[Any]
    gallery: list[Any]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return a sample as torchreid's own class does.

        Raises:
            ImageError: the image cannot be read.
        """
        path, pid, camid, dsetid = self.data[index]
        image: Any = open_image(path)
        if self.transform is not None:
            image = self._transform_image(self.transform, self.k_tfm, image)
        return {"img": image, "pid": pid, "camid": camid, "impath": path, "dsetid": dsetid}

    def __add__(self, other: Any) -> Any:
        # torchreid's own sum shifts the labels; it returns its plain class without k_tfm, and asks
        # for queries, which a set to train on only has not.
        tested = self.query, self.gallery
        self.query, self.gallery = self.query or self.train[:1], self.gallery or self.train[:1]
        try:
            total = super().__add__(other)
        finally:
            self.query, self.gallery = tested
        total.query, total.gallery = tested
        total.k_tfm = self.k_tfm
        total.__class__ = _made_class((ImageDataset, torchreid_data.ImageDataset, "DATASET"))
        return total

    def __reduce_ex__(self, protocol: Any) -> Any:
        if "_made_of" not in vars(type(self)):
            return super().__reduce_ex__(protocol)
        _, _, *state = super().__reduce_ex__(2)
        return _blank, (self._made_of,), *state


class _SidecarDataset(ImageDataset):
    """Stands before a dataset class to give its training images their sidecar files.

    Attributes:
        what: they are called.
        suffix: end of the names of such datasets.
        item_key: where an item has one if there is no transform.
        read_sidecar: reads one from its path.
    """

    what: str
    suffix: str
    item_key: str
    read_sidecar: Callable[[str], Any]

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.sidecar_paths: dict[str, str] = {}
        if self.mode != "train":
            return
        _, cls, name = self._made_of
        if not _reads_as_torchreid(cls):
            raise TypeError(
                f"{cls.__name__} has its own __getitem__, which does not know {self.what}: "
                "expected torchreid's ImageDataset.__getitem__"
            )
        check_identities(self.data, cls.__name__)
        files = self.prepare()
        images = (sample[0] for sample in self.data)
        options = ["--cuhk03-labeled"] if "cuhk03" in name and kwargs.get("cuhk03_labeled") else []
        if self.combineall or kwargs.get(
            "split_id"
        ):  # images beyond the first split's training set
            options.append("--all")
        self.sidecar_paths = files.check(images, name, getattr(self, "root", None), options)

    def prepare(self) -> SidecarFiles:
        """Make ``self.transform``, if any, take an image and its sidecar; return which files."""
        raise NotImplementedError

    def __getitem__(self, index: int) -> dict[str, Any]:
        if self.mode != "train":
            _, cls, _ = self._made_of
            if _reads_as_torchreid(cls):
                return super().__getitem__(index)
            item: dict[str, Any] = cls.__getitem__(self, index)
            return item
        path, pid, camid, dsetid = self.data[index]
        image, sidecar = open_image(path), self.read_sidecar(self.sidecar_paths[path])
        item = {"img": image, "pid": pid, "camid": camid, "impath": path, "dsetid": dsetid}
        if self.transform is None:
            item[self.item_key] = sidecar
        else:
            views = [self.transform(image, sidecar) for _ in range(self.k_tfm)]
            item["img"] = views[0] if self.k_tfm == 1 else views
        return item

    def __add__(self, other: Any) -> Any:
        base = self._made_of[0]
        if not isinstance(other, base):
            raise self._mixed(self, other)
        if self.mode != other.mode:
            raise ValueError(f"expected one mode, found {self.mode!r} and {other.mode!r}")
        total = super().__add__(other)
        total.__class__ = _made_class((base, torchreid_data.ImageDataset, "DATASET"))
        total.sidecar_paths = {**self.sidecar_paths, **other.sidecar_paths}
        return total

    def __radd__(self, other: Any) -> Any:
        if other == 0:  # sum() starts with it
            return self
        raise self._mixed(other, self)

    def _mixed(self, left: Any, right: Any) -> TypeError:
        names = " and ".join(type(dataset).__name__ for dataset in (left, right))
        return TypeError(
            f"cannot add a dataset with {self.what} and one without, found {names}: "
            f"use the *{self.suffix} version of every source"
        )


def _reads_as_torchreid(cls: type[Any]) -> bool:
    return cls.__getitem__ in (torchreid_data.ImageDataset.__getitem__, ImageDataset.__getitem__)


class _MaskedDataset(_SidecarDataset):
    """The class that :func:`with_masks` puts before a dataset class."""

    what, suffix, item_key = "masks", MASKS_SUFFIX, "mask"
    read_sidecar = staticmethod(MASKS.read)

    def prepare(self) -> SidecarFiles:
        if self.transform is not None:
            self.transform = JointTransform(self.transform)
        return MASKS


class _TexturedDataset(_SidecarDataset):
    """The class that :func:`with_textures` puts before a dataset class."""

    what, suffix, item_key = "textures", TEXTURES_SUFFIX, "texture"
    read_sidecar = staticmethod(TextureFiles.read)

    def prepare(self) -> SidecarFiles:
        if make := getattr(self, "make_textures", None):
            make()
        if self.transform is None:
            return TextureFiles()
        self.transform = TextureTransform(self.transform, self._image_size())
        return TextureFiles(self.transform.size)

    def _image_size(self) -> tuple[int, int]:
        """Width and height of the first image."""
        for path, *_ in self.data:
            with suppress(ImageError):  # the check says which
                return image_size(path)
        return 128, 256  # of most networks' images
