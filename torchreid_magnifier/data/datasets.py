"""Versions of any torchreid image dataset class whose training images have companions.

``with_masks`` and ``with_textures`` make them; everything but the companions' own reading, check
and transform is shared.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
from PIL import Image
from torchreid import data as torchreid_data

from .companions import UNREADABLE, CompanionFiles
from .masks import MASKS, read_mask
from .texture_transform import TextureTransform
from .textures import TextureFiles, read_texture
from .transforms import JointTransform

# The ends of the names under which datasets with companions are registered.
MASKS_SUFFIX = "_masks"
TEXTURES_SUFFIX = "_textures"


def plain_name(name: str) -> str:
    """The name of the dataset that one with masks or textures is made of; others are plain."""
    return name.removesuffix(MASKS_SUFFIX).removesuffix(TEXTURES_SUFFIX)


def with_masks(cls: type[Any], name: str | None = None) -> type[Any]:
    """Makes the class of a dataset whose training images carry their part labels.

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
        arguments. Making it raises MaskError for faulty masks (see
        :class:`torchreid_magnifier.data.companions.CompanionFiles`) and TypeError for unknown
        transforms (see :class:`torchreid_magnifier.data.transforms.JointTransform`). Its instances
        pickle.

    Raises:
        TypeError: ``cls`` is not an image dataset class, or has other companions already.
    """
    return _extended(_MaskedDataset, cls, name)


def with_textures(cls: type[Any], name: str | None = None) -> type[Any]:
    """Makes the class of a dataset whose training images carry their texture.

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
        arguments. Making it raises TextureError for faulty textures (see
        :class:`torchreid_magnifier.data.textures.TextureFiles`) and ValueError for a transform that
        does not give images of one size. Its instances pickle.

    Raises:
        TypeError: as :func:`with_masks`.
    """
    return _extended(_TexturedDataset, cls, name)


def _extended(base: type[Any], cls: type[Any], name: str | None) -> type[Any]:
    if not isinstance(cls, type) or not issubclass(cls, torchreid_data.ImageDataset):
        raise TypeError(f"expected a subclass of torchreid's ImageDataset, found {cls!r}")
    if issubclass(cls, base):
        return cls
    if issubclass(cls, _CompanionDataset):
        raise TypeError(
            f"{cls.__name__} has {cls.companions} already, and there is no dataset with "
            f"{base.companions} too: take the class that it was made of"
        )
    return _made_class((base, cls, name or cls.__name__.lower()))


@cache
def _made_class(made_of: tuple[type[Any], type[Any], str]) -> type[Any]:
    base, cls, _ = made_of
    namespace = {"_made_of": made_of, "__doc__": f"{cls.__name__} with {base.companions}."}
    return type(f"{cls.__name__}{base.companions.capitalize()}", (base, cls), namespace)


def _blank(made_of: tuple[type[Any], type[Any], str]) -> Any:
    """An instance without state: how pickle reaches a class that stands in no module."""
    return object.__new__(_made_class(made_of))


class _CompanionDataset(torchreid_data.ImageDataset):
    """What stands before a dataset class to give its training images their companions.

    Attributes:
        companions: what they are called.
        suffix: end of the names of such datasets.
        item_key: where an item has one if there is no transform.
        read_companion: reads one from its path.
    """

    companions: str
    suffix: str
    item_key: str
    read_companion: Callable[[str], np.ndarray]

    _made_of: tuple[type[Any], type[Any], str]
    transform: Any

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.companion_paths: dict[str, str] = {}
        if self.mode != "train":
            return
        _, cls, name = self._made_of
        if cls.__getitem__ is not torchreid_data.ImageDataset.__getitem__:
            raise TypeError(
                f"{cls.__name__} has its own __getitem__, which does not know {self.companions}: "
                "expected torchreid's ImageDataset.__getitem__"
            )
        files = self.prepare()
        images = (sample[0] for sample in self.data)
        options = ["--cuhk03-labeled"] if "cuhk03" in name and kwargs.get("cuhk03_labeled") else []
        if self.combineall or kwargs.get(
            "split_id"
        ):  # images beyond the first split's training set
            options.append("--all")
        self.companion_paths = files.check(images, name, getattr(self, "root", None), options)

    def prepare(self) -> CompanionFiles:
        """Makes ``self.transform``, if any, take an image and its companion; says which files."""
        raise NotImplementedError

    def __getitem__(self, index: int) -> dict[str, Any]:
        if self.mode != "train":
            return super().__getitem__(index)
        path, pid, camid, dsetid = self.data[index]
        image, companion = _read_image(path), self.read_companion(self.companion_paths[path])
        item = {"img": image, "pid": pid, "camid": camid, "impath": path, "dsetid": dsetid}
        if self.transform is None:
            item[self.item_key] = companion
        else:
            views = [self.transform(image, companion) for _ in range(self.k_tfm)]
            item["img"] = views[0] if self.k_tfm == 1 else views
        return item

    def __add__(self, other: Any) -> Any:
        base = self._made_of[0]
        if not isinstance(other, base):
            raise self._mixed(self, other)
        if self.mode != other.mode:
            raise ValueError(f"expected one mode, found {self.mode!r} and {other.mode!r}")
        # torchreid's own sum shifts the labels; it returns a plain ImageDataset without k_tfm.
        total = _blank((base, torchreid_data.ImageDataset, "DATASET"))
        total.__dict__.update(super().__add__(other).__dict__)
        total.k_tfm = self.k_tfm
        total.companion_paths = {**self.companion_paths, **other.companion_paths}
        return total

    def __radd__(self, other: Any) -> Any:
        if other == 0:  # sum() starts with it
            return self
        raise self._mixed(other, self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        _, _, *state = super().__reduce_ex__(2)
        return _blank, (self._made_of,), *state

    def _mixed(self, left: Any, right: Any) -> TypeError:
        names = " and ".join(type(dataset).__name__ for dataset in (left, right))
        return TypeError(
            f"cannot add a dataset with {self.companions} and one without, found {names}: "
            f"use the *{self.suffix} version of every source"
        )


class _MaskedDataset(_CompanionDataset):
    """What :func:`with_masks` puts before a dataset class."""

    companions, suffix = "masks", MASKS_SUFFIX
    item_key, read_companion = "mask", staticmethod(read_mask)

    def prepare(self) -> CompanionFiles:
        if self.transform is not None:
            self.transform = JointTransform(self.transform)
        return MASKS


class _TexturedDataset(_CompanionDataset):
    """What :func:`with_textures` puts before a dataset class."""

    companions, suffix = "textures", TEXTURES_SUFFIX
    item_key, read_companion = "texture", staticmethod(read_texture)

    def prepare(self) -> CompanionFiles:
        if make := getattr(self, "make_textures", None):
            make()
        if self.transform is None:
            return TextureFiles()
        self.transform = TextureTransform(self.transform, self._image_size())
        return TextureFiles(self.transform.size)

    def _image_size(self) -> tuple[int, int]:
        """Width and height of the first image."""
        for path, *_ in self.data:
            with suppress(*UNREADABLE):  # the check tells of those
                with Image.open(path) as image:
                    return image.size
        return 128, 256  # of most networks' images


def _read_image(path: str) -> Image.Image:
    # Not torchreid's read_image: it retries for ever on an unreadable file.
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except UNREADABLE as error:
        raise OSError(f"{path}: the image cannot be read ({error})") from error
