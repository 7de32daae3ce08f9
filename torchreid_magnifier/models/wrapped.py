"""Networks of other libraries with this package's contract, in evaluation alone."""

import torch
from torch import Tensor, nn

from .base import RGB, Embedding, ReIDModel


class WrappedModel(ReIDModel):
    """A network that maps images to embeddings, such as one of torchreid's.

    Its weights go into files by the names that they have in the network.

    Args:
        network: ``(N, 3, H, W)`` -> ``(N, D)`` in evaluation mode.
        size: height and width of its images, in pixels.

    Raises:
        ValueError: it cannot take images of this size, or gives something else.
    """

    def __init__(self, network: nn.Module, size: tuple[int, int]) -> None:
        super().__init__(num_classes=1)
        self.network = network
        self.trained_size = size
        self.eval()
        try:
            with torch.no_grad():
                found = network(torch.zeros(1, RGB, *size))
        except (RuntimeError, AssertionError) as error:  # of layers; of hacnn, which checks sizes
            raise ValueError(f"it cannot take images of {size[0]}x{size[1]} ({error})") from error
        if not isinstance(found, Tensor) or found.dim() != 2:
            raise ValueError("it gives no embedding of an image (N, D) in evaluation mode")
        self.embedding_size = found.shape[1]

    def embed(self, images: Tensor) -> Embedding:
        """Return what the network gives of images ``(N, 3, H, W)``."""
        return Embedding(self.network(images))

    def _example_size(self) -> tuple[int, int]:
        assert self.trained_size is not None
        return self.trained_size
