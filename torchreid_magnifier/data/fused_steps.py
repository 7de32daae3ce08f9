"""The steps of a transform, two of them as one: from a PIL image to normalised channels.

``ToTensor`` and ``Normalize`` copy every value several times; here it is written once, where it
stays, beside room for the channels that follow the image.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision import transforms as T


def fused_steps(transform: Callable[[Any], Any], further: int) -> list[Callable[[Any], Any]]:
    """The steps of a transform, which together do bit for bit what it does.

    Args:
        transform: for images; a ``Compose`` is taken apart.
        further: channels that :func:`with_room` will add to the result.
    """
    steps = list(_flatten(transform))
    for index, (first, second) in enumerate(pairwise(steps)):
        if type(first) is T.ToTensor and type(second) is T.Normalize and _fits(second):
            steps[index : index + 2] = [ToNormalizedTensor(first, second, further)]
            break
    return steps


def with_room(image: torch.Tensor, further: int) -> torch.Tensor:
    """An image with room for further channels behind its own.

    Args:
        image: ``(C, H, W)``.
        further: number of channels.

    Returns:
        ``(C + further, H, W)``: the image, then channels to be written. It is not copied if
        :class:`ToNormalizedTensor` made it with as much room.
    """
    room, channels = image._base, len(image)
    if room is None or len(room) != channels + further or not image.is_set_to(room[:channels]):
        room = image.new_empty(channels + further, *image.shape[1:])
        room[:channels] = image
    return room


class ToNormalizedTensor:
    """``ToTensor`` and then ``Normalize``, bit for bit, with room for further channels.

    Args:
        to_tensor, normalize: the two.
        further: channels of room.
    """

    def __init__(self, to_tensor: T.ToTensor, normalize: T.Normalize, further: int):
        self._plain = T.Compose([to_tensor, normalize])
        self._further = further
        self._mean, self._std = (
            np.array(values, np.float32).reshape(3, 1, 1)
            for values in (normalize.mean, normalize.std)
        )

    def __call__(self, image: Any) -> torch.Tensor:
        """A PIL image -> ``(3, H, W)``, float32. What else ``ToTensor`` takes goes through it."""
        if (
            not isinstance(image, Image.Image)
            or image.mode != "RGB"
            or torch.get_default_dtype() != torch.float32
        ):
            return self._plain(image)
        width, height = image.size
        result = torch.empty(3 + self._further, height, width)[:3]
        values = result.numpy()
        # Rows of red, green and blue in turn: the values of a channel are neighbours.
        rows = np.frombuffer(image.tobytes("raw", "RGB;L"), np.uint8).reshape(height, 3, width)
        np.divide(rows.transpose(1, 0, 2), np.float32(255), out=values)
        values -= self._mean
        values /= self._std
        return result


def _fits(normalize: T.Normalize) -> bool:
    """Whether it is for three channels, and none of the mistakes that it raises itself."""
    return len(normalize.mean) == len(normalize.std) == 3 and all(normalize.std)


def _flatten(transform: Callable[[Any], Any]) -> Iterator[Callable[[Any], Any]]:
    if isinstance(transform, T.Compose):
        for step in transform.transforms:
            yield from _flatten(step)
    else:
        yield transform
