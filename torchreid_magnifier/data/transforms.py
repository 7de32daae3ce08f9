"""Transforms for an image and its sidecar file, from one made for images alone.

torchreid builds a ``Compose`` for images (``build_transforms``). :class:`JointTransform` runs it
as it is, and lets a label map follow the transforms that move pixels, in one random draw;
:class:`TextureTransform` puts a texture, which no transform touches, behind it.
"""

import copy
import importlib
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any, Literal, cast

import numpy as np
import torch
import torch.nn.functional as nn_functional
from PIL import Image
from torchreid import data as torchreid_data
from torchvision import transforms as T
from torchvision.transforms import functional as F

from ..parts import BACKGROUND

Kind = Literal["geometric", "image"]
Step = Callable[..., Any]  # a transform

# torchreid.data.transforms, wherever this distribution keeps it.
_torchreid = importlib.import_module(f"{torchreid_data.__name__}.transforms")

# How the state of each generator of random numbers is read and set.
_GENERATORS: dict[str, tuple[Step, Step]] = {
    "random": (random.getstate, random.setstate),
    "numpy": (np.random.get_state, np.random.set_state),
    "torch": (torch.get_rng_state, torch.set_rng_state),
}


@contextmanager
def keeping_random_states(generators: Sequence[str] = tuple(_GENERATORS)) -> Iterator[None]:
    """Set generators back, so that what is drawn in here is drawn again afterwards.

    Args:
        generators: of ``random``, ``numpy`` and ``torch``, those that are set back.
    """
    states = [_GENERATORS[name][0]() for name in generators]
    try:
        yield
    finally:
        for name, state in zip(generators, states, strict=True):
            _GENERATORS[name][1](state)


# Transforms that move pixels, and the generators they draw from. Only these are set back: the
# states of all three take as long as reading the mask.
_GEOMETRIC: dict[type, tuple[str, ...]] = {
    T.Resize: (),
    T.Pad: (),
    T.CenterCrop: (),
    T.RandomCrop: ("torch",),
    T.RandomResizedCrop: ("torch",),
    T.RandomHorizontalFlip: ("torch",),
    T.RandomVerticalFlip: ("torch",),
    T.RandomRotation: ("torch",),
    T.RandomAffine: ("torch",),
    T.RandomPerspective: ("torch",),
    _torchreid.Random2DTranslation: ("random",),
}
# Transforms after which every pixel is where it was.
_IMAGE = (
    T.ToTensor,
    T.PILToTensor,
    T.ConvertImageDtype,
    T.Normalize,
    T.ColorJitter,
    T.Grayscale,
    T.RandomGrayscale,
    T.GaussianBlur,
    T.RandomInvert,
    T.RandomPosterize,
    T.RandomSolarize,
    T.RandomAdjustSharpness,
    T.RandomAutocontrast,
    T.RandomEqualize,
    # Occlusions: the labels stay, so that the model learns which part is hidden there.
    T.RandomErasing,
    _torchreid.RandomErasing,
    _torchreid.RandomPatch,
    _torchreid.ColorAugmentation,
)


class JointTransform:
    """Applies a torchvision transform to an image and the same geometry to its label map.

    The image passes through the very transforms it was given, with the very random numbers: a
    seed gives bit for bit the image that the transform alone would give. Labels follow what a
    resize, a flip and torchreid's crop do to the image. Before any other transform that moves
    pixels, a copy of it, with nearest interpolation and background as its filling, moves the
    labels, and the random number generators are set back.

    Args:
        transform: transform for images, usually a ``Compose``, as torchreid's ``build_transforms``
            makes it; it must turn a PIL image into a tensor of shape (3, H, W).

    Raises:
        TypeError: a transform in it is not known to move pixels or to leave them in place.
            :meth:`register` declares it.

    Example:
        >>> joint = JointTransform(T.Compose([T.Resize((4, 2)), T.ToTensor()]))
        >>> joint(Image.new("RGB", (8, 16)), np.full((16, 8), 7, np.uint8)).shape
        torch.Size([4, 4, 2])
    """

    # Class -> generators it draws from if it moves pixels, None if it does not.
    _known: dict[type, tuple[str, ...] | None] = {**_GEOMETRIC, **dict.fromkeys(_IMAGE)}

    def __init__(self, transform: Step):
        self._steps = [self._plan(step) for step in _flatten(transform)]

    @classmethod
    def register(cls, transform_class: type, kind: Kind) -> None:
        """Declare how labels follow a transform class that is not known here.

        Args:
            transform_class: this class exactly; its subclasses may do something else.
            kind: ``"image"`` if every pixel stays where it is; ``"geometric"`` if pixels move. Then
                it is also called with the label map, a PIL image of mode ``L``: its random
                numbers must come from ``random``, ``numpy.random`` or ``torch``, its
                interpolation and filling from its attributes ``interpolation`` and ``fill``.
        """
        if kind not in ("geometric", "image"):
            raise ValueError(f"expected kind 'geometric' or 'image', found {kind!r}")
        cls._known[transform_class] = None if kind == "image" else tuple(_GENERATORS)

    def __call__(self, image: Image.Image, labels: np.ndarray) -> torch.Tensor:
        """Transform an image together with its labels.

        Args:
            image: PIL image, RGB.
            labels: uint8 array of shape (H, W), the image's size.

        Returns:
            Tensor of shape (4, H', W') of the image's dtype: the transformed image, then the
            labels as whole numbers.

        Raises:
            ValueError: the labels are not of the image's size, or the transform does not end in a
                tensor of shape (3, H', W'), or one registered as ``"image"`` changed the size.
        """
        if labels.shape != image.size[::-1]:
            raise ValueError(
                f"expected labels of the image's shape {image.size[::-1]}, found {labels.shape}"
            )
        transformed: Any = image
        moved = labels
        for move in self._steps:
            transformed, moved = move(transformed, moved)

        shape = (3, *moved.shape)
        if not isinstance(transformed, torch.Tensor) or transformed.shape != shape:
            found = getattr(transformed, "shape", type(transformed).__name__)
            raise ValueError(
                f"expected the transform to end in a tensor of shape {shape}, found {found}"
            )
        result = transformed.new_empty(4, *moved.shape)
        result[:3] = transformed
        result[3] = torch.from_numpy(np.array(moved))  # a copy: a flipped one has negative strides
        return result

    def _plan(self, step: Step) -> Callable[[Any, np.ndarray], tuple[Any, np.ndarray]]:
        """Return what does a transform to an image and moves its labels with it."""
        kind = type(step)
        if kind not in self._known:
            raise TypeError(
                f"unknown transform {kind.__module__}.{kind.__name__}: part labels must follow it "
                f"if it moves pixels. Say JointTransform.register({kind.__name__}, 'geometric') if "
                f"it does, JointTransform.register({kind.__name__}, 'image') if every pixel stays "
                "in its place"
            )
        generators = self._known[kind]
        if generators is None:
            return partial(_image_alone, step)
        if kind in _SEEN:
            return partial(_SEEN[kind], step)
        return partial(_replayed, step, _for_labels(step), generators)


class TextureTransform:
    """Transforms an image and appends its texture, which lives in coordinates of the body.

    Whatever is done to the image, flip and crop and erasing, does not concern the texture, as in
    SAN's reference implementation. A texture larger than (H, 2W) is reduced by averaging areas.

    Args:
        transform: transform for images; it must turn a PIL image into a tensor of shape (3, H, W).
        image_size: width and height of an image, of which a blank one is transformed once, to see
            H and W. Random numbers are as if it had not been.

    Attributes:
        size: (H, W).

    Raises:
        ValueError: the transform does not end in a tensor of shape (3, H, W).
    """

    def __init__(self, transform: Step, image_size: tuple[int, int]):
        self._transform = transform
        with keeping_random_states():
            # Some transforms remember images: a copy does.
            probe = copy.deepcopy(transform)(Image.new("RGB", image_size))
        shape = tuple(probe.shape) if isinstance(probe, torch.Tensor) else ()
        if len(shape) != 3 or shape[0] != 3:
            raise ValueError(
                "expected the transform to end in a tensor of shape (3, H, W), found "
                f"{shape or type(probe).__name__}"
            )
        self.size = (shape[1], shape[2])

    def __call__(self, image: Image.Image, texture: np.ndarray) -> torch.Tensor:
        """Transform an image and append its texture.

        Args:
            image: PIL image, RGB.
            texture: uint8 RGB, of shape (H, 2W, 3) or larger of the same shape.

        Returns:
            Tensor of shape (9, H, W) of the image's dtype: the transformed image, then the left
            half and the right half of the texture in [-1, 1], both RGB.

        Raises:
            ValueError: the transformed image is not of shape (3, H, W).
        """
        transformed = self._transform(image)
        if transformed.shape != (3, *self.size):
            raise ValueError(
                f"expected the transform to give every image the shape {(3, *self.size)}, found "
                f"{tuple(transformed.shape)}: let it begin with a Resize"
            )
        height, width = self.size
        channels = torch.from_numpy(texture).permute(2, 0, 1).to(transformed.dtype) / 127.5 - 1
        if channels.shape[1:] != (height, 2 * width):
            size = (height, 2 * width)
            channels = nn_functional.interpolate(channels[None], size, mode="area")[0]
        return torch.cat([transformed, channels[..., :width], channels[..., width:]])


def _flatten(transform: Step) -> Iterator[Step]:
    """Return the steps of a transform; a ``Compose`` is taken apart."""
    if isinstance(transform, T.Compose):
        for step in transform.transforms:
            yield from _flatten(step)
    else:
        yield transform


# Ways of a transform, an image and its labels to an image and its labels.


def _image_alone(step: Step, image: Any, labels: np.ndarray) -> tuple[Any, np.ndarray]:
    return step(image), labels


def _replayed(
    step: Step,
    for_labels: Step,
    generators: Sequence[str],
    image: Any,
    labels: np.ndarray,
) -> tuple[Any, np.ndarray]:
    # Labels first: what the image then draws is what it would draw alone.
    with keeping_random_states(generators):
        moved = np.asarray(for_labels(Image.fromarray(labels)))
    return step(image), moved


def _resized(step: Step, image: Any, labels: np.ndarray) -> tuple[Any, np.ndarray]:
    image = step(image)
    _, height, width = F.get_dimensions(image)
    return image, _nearest(labels, (width, height))


def _flipped(step: Step, image: Any, labels: np.ndarray) -> tuple[Any, np.ndarray]:
    result = step(image)  # an image that is not flipped comes back itself
    return result, labels if result is image else labels[:, ::-1]


def _translated(step: Step, image: Any, labels: np.ndarray) -> tuple[Any, np.ndarray]:
    both = step(_Both(image, labels))
    return both.image, both.labels


# Transforms whose draw shows in what they do to the image: faster than to draw twice.
_SEEN = {
    T.Resize: _resized,
    T.RandomHorizontalFlip: _flipped,
    _torchreid.Random2DTranslation: _translated,
}


class _Both:
    """An image and its labels, for a transform that resizes and crops."""

    def __init__(self, image: Image.Image, labels: np.ndarray):
        self.image, self.labels = image, labels

    def resize(self, size: tuple[int, int], interpolation: int) -> "_Both":
        return _Both(self.image.resize(size, interpolation), _nearest(self.labels, size))

    def crop(self, box: tuple[int, int, int, int]) -> "_Both":
        left, upper, right, lower = box
        return _Both(self.image.crop(box), self.labels[upper:lower, left:right])


def _nearest(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return labels of another size, (width, height), as Pillow's nearest neighbours, sooner.

    OpenCV's are others before its version 5, which NumPy 1 does not go with.
    """
    if labels.shape == size[::-1]:
        return labels
    rows, columns = map(_positions, labels.shape, size[::-1])
    return labels.take(rows, 0).take(columns, 1)


@lru_cache(maxsize=256)
def _positions(old: int, new: int) -> np.ndarray:
    """Return which of ``old`` pixels each of ``new`` shows: Pillow adds up the steps, in order."""
    steps = np.full(new, old / new)
    steps[0] /= 2
    return steps.cumsum().astype(np.intp)


def _for_labels(step: Step) -> Step:
    """Return a copy of a geometric transform that makes no labels which were not there."""
    replay: Any = copy.copy(step)
    if hasattr(replay, "interpolation"):
        pil_constant = isinstance(replay.interpolation, int)
        replay.interpolation = (
            Image.Resampling.NEAREST if pil_constant else T.InterpolationMode.NEAREST
        )
    if hasattr(replay, "fill"):
        replay.fill = BACKGROUND
    return cast(Step, replay)
