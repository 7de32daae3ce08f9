"""The mask-aware version of any torchreid image dataset class."""

from functools import cache
from typing import Any

from PIL import Image
from torchreid import data as torchreid_data

from .masks import UNREADABLE, check_masks, read_mask
from .transforms import JointTransform


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
        :func:`torchreid_magnifier.data.masks.check_masks`) and TypeError for unknown transforms
        (see :class:`torchreid_magnifier.data.transforms.JointTransform`). Its instances pickle.

    Raises:
        TypeError: ``cls`` is not an image dataset class.
    """
    if not isinstance(cls, type) or not issubclass(cls, torchreid_data.ImageDataset):
        raise TypeError(f"expected a subclass of torchreid's ImageDataset, found {cls!r}")
    if issubclass(cls, _MaskedDataset):
        return cls
    return _masked_class((cls, name or cls.__name__.lower()))


@cache
def _masked_class(made_of: tuple[type[Any], str]) -> type[Any]:
    cls, _ = made_of
    namespace = {"_made_of": made_of, "__doc__": f"{cls.__name__} with part masks."}
    return type(f"{cls.__name__}Masks", (_MaskedDataset, cls), namespace)


def _blank(made_of: tuple[type[Any], str]) -> Any:
    """An instance without state: how pickle reaches a class that stands in no module."""
    return object.__new__(_masked_class(made_of))


class _MaskedDataset(torchreid_data.ImageDataset):
    """What :func:`with_masks` puts before a dataset class."""

    _made_of: tuple[type[Any], str]
    transform: Any

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.mask_paths: dict[str, str] = {}
        if self.mode != "train":
            return
        cls, name = self._made_of
        if cls.__getitem__ is not torchreid_data.ImageDataset.__getitem__:
            raise TypeError(
                f"{cls.__name__} has its own __getitem__, which does not know masks: expected "
                "torchreid's ImageDataset.__getitem__"
            )
        if self.transform is not None:
            self.transform = JointTransform(self.transform)
        images = (sample[0] for sample in self.data)
        options = ["--cuhk03-labeled"] if "cuhk03" in name and kwargs.get("cuhk03_labeled") else []
        if self.combineall or kwargs.get(
            "split_id"
        ):  # images beyond the first split's training set
            options.append("--all")
        self.mask_paths = check_masks(images, name, getattr(self, "root", None), options)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if self.mode != "train":
            return super().__getitem__(index)
        path, pid, camid, dsetid = self.data[index]
        image, labels = _read_image(path), read_mask(self.mask_paths[path])
        item = {"img": image, "pid": pid, "camid": camid, "impath": path, "dsetid": dsetid}
        if self.transform is None:
            item["mask"] = labels
        else:
            views = [self.transform(image, labels) for _ in range(self.k_tfm)]
            item["img"] = views[0] if self.k_tfm == 1 else views
        return item

    def __add__(self, other: Any) -> Any:
        if not isinstance(other, _MaskedDataset):
            raise _mixed(self, other)
        if self.mode != other.mode:
            raise ValueError(f"expected one mode, found {self.mode!r} and {other.mode!r}")
        # torchreid's own sum shifts the labels; it returns a plain ImageDataset without k_tfm.
        total = _blank((torchreid_data.ImageDataset, "DATASET"))
        total.__dict__.update(super().__add__(other).__dict__)
        total.k_tfm = self.k_tfm
        total.mask_paths = {**self.mask_paths, **other.mask_paths}
        return total

    def __radd__(self, other: Any) -> Any:
        if other == 0:  # sum() starts with it
            return self
        raise _mixed(other, self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        _, _, *state = super().__reduce_ex__(2)
        return _blank, (self._made_of,), *state


def _mixed(left: Any, right: Any) -> TypeError:
    names = " and ".join(type(dataset).__name__ for dataset in (left, right))
    return TypeError(
        f"cannot add a dataset with masks and one without, found {names}: "
        "use the *_masks version of every source"
    )


def _read_image(path: str) -> Image.Image:
    # Not torchreid's read_image: it retries for ever on an unreadable file.
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except UNREADABLE as error:
        raise OSError(f"{path}: the image cannot be read ({error})") from error
