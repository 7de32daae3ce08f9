"""Images from files, as arrays and as a network sees them."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...data.folders import files_below
from ...data.image_datasets.base import IMAGE_ENDINGS
from ...data.masks import UNREADABLE
from ...models import Embedding
from ..network import Network
from . import ExplainError


def find_images(places: Iterable[str | os.PathLike]) -> list[str]:
    """The images that files and folders mean, each once.

    Args:
        places: files, and folders of which everything below counts but folders of part labels and
            what is hidden; the images of a folder are sorted.

    Raises:
        ExplainError: there is no such file or folder, or no image in a folder.
    """
    found: dict[str, None] = {}
    for place in map(Path, places):
        if place.is_file():
            found[str(place)] = None
            continue
        if not place.is_dir():
            raise ExplainError(f"there is no file or folder {place}")
        below = [
            os.path.join(f, n) for f, names in files_below(str(place), IMAGE_ENDINGS) for n in names
        ]
        if not below:
            raise ExplainError(
                f"{place}: expected images ({', '.join(IMAGE_ENDINGS)}) in it or below, found none"
            )
        found |= dict.fromkeys(below)
    return list(found)


def read_image(path: str | os.PathLike) -> np.ndarray:
    """An image of any kind and size as RGB, uint8 ``(H, W, 3)``.

    Raises:
        ExplainError: it cannot be read.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except UNREADABLE as error:
        reason = getattr(error, "strerror", None) or error
        raise ExplainError(f"{path} cannot be read as an image ({reason})") from error


@torch.no_grad()
def inspect_images(network: Network, paths: Sequence[str], batch_size: int) -> Iterator[Embedding]:
    """Shows images to a network.

    Args:
        network: the network.
        paths: of the images.
        batch_size: images at once.

    Yields:
        What was seen of each batch, on the CPU.

    Raises:
        ExplainError: an image cannot be read.
    """
    for start in range(0, len(paths), batch_size):
        batch = paths[start : start + batch_size]
        images = [network.preprocessing(Image.fromarray(read_image(path))) for path in batch]
        yield _on_cpu(network.model.inspect(torch.stack(images).to(network.device)))


def _on_cpu(seen: Embedding) -> Embedding:
    found = {
        name: value.cpu() if isinstance(value, Tensor) else value
        for name, value in seen._asdict().items()
    }
    return Embedding(**{**found, "maps": {name: map.cpu() for name, map in seen.maps.items()}})
