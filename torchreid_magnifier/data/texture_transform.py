"""An image's own transform, and its texture after it as six further channels."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torchvision import transforms as T

from .fused_steps import fused_steps, with_room
from .transforms import keeping_random_states


class TextureTransform:
    """Transforms an image and appends its texture, which lives in coordinates of the body.

    Whatever is done to the image, flip and crop and erasing, does not concern the texture, as in
    SAN's released code. A texture larger than (H, 2W) is reduced by averaging areas.

    Args:
        transform: transform for images; it must turn a PIL image into a tensor of shape (3, H, W).
        image_size: width and height of an image, of which a blank one is transformed once, to see
            H and W. Random numbers are as if it had not been.

    Attributes:
        size: (H, W).

    Raises:
        ValueError: the transform does not end in a tensor of shape (3, H, W).
    """

    def __init__(self, transform: Callable[[Any], Any], image_size: tuple[int, int]):
        self._transform = T.Compose(fused_steps(transform, 6))
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
        """Transforms an image and appends its texture.

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
            channels = F.interpolate(channels[None], (height, 2 * width), mode="area")[0]
        result = with_room(transformed, 6)
        result[3:6], result[6:] = channels.split(width, dim=2)
        return result
