"""Textures of images that have none, as a network with a decoder sees them.

SAN (Jin et al., AAAI 2020) takes those of its generator, SAN-PG (``san_pg`` here), for the truth
when it learns from real people.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .. import __version__
from ..data.textures import TextureFiles
from ..inference.open import Network
from ..models import ReIDModel
from . import ParsingError
from .images import Images
from .writing import BatchMaker, make_sidecars

_AT_ONCE = 2  # one batch is read while the network works on another


def make_textures(
    images: Images, network: Network, *, batch_size: int = 16, overwrite: bool = False
) -> list[str]:
    """Write the texture of every image that has none, where ``_textures`` datasets find it.

    They are RGB, of 8 bits, as high as the network's images and twice as wide. Each file is
    complete or not there. One run at a time writes into a folder.

    Args:
        network: whose model decodes textures, such as ``san_pg``.
        batch_size: images that the network sees at once.
        overwrite: make all textures anew.

    Returns:
        A line for each image that could not be read; it has no texture.

    Raises:
        ParsingError: the network has no decoder, the folder cannot be written, another run writes
            there, or the textures there were made by another network.
        OSError: a file cannot be written, such as on a full disk.
    """
    model = network.model
    if not model.decodes_textures:
        raise ParsingError(
            f"{network.card.name} is of the model {network.card.model}, which has no decoder and "
            "sees no textures: expected weights of san_pg or of another SAN with a decoder"
        )
    record = {
        "version": __version__,
        "model": network.card.model,
        "weights": network.card.sha256,
        "settings": asdict(network.preprocessing),
    }
    return make_sidecars(
        TextureFiles(),
        images,
        lambda: _Decoder(model, network),
        record,
        batch_size=batch_size,
        workers=_AT_ONCE,
        overwrite=overwrite,
    )


def to_pixels(textures: Tensor) -> np.ndarray:
    """Return decoded textures (N, 3, height, width) as uint8 (N, height, width, 3).

    -1 becomes 0 and 1 becomes 255; what lies beyond, as it may, becomes the nearest of these.
    """
    pixels = ((textures.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).cpu().numpy()


class _Decoder(BatchMaker):
    """Decodes the textures of batches of images."""

    def __init__(self, model: ReIDModel, network: Network) -> None:
        super().__init__()
        self._model, self._network = model, network

    def make(self, paths: Sequence[str], images: Sequence[np.ndarray]) -> list[np.ndarray]:
        prepare, device = self._network.preprocessing, self._network.device
        batch = torch.stack([prepare(Image.fromarray(image)) for image in images])
        with self.one_batch, torch.inference_mode():
            decoder: Any = self._model  # has decode(): make_textures looked at decodes_textures
            return list(to_pixels(decoder.decode(batch.to(device)).texture))
