"""Exported files as networks of this package, run by their own runtime."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...hub import WeightsError
from ...hub.card import Card
from ...models import Embedding, ReIDModel
from .program import EMBEDDING, LABELS, VISIBILITY
from .settings import Run
from .writing import format_of, read_card, read_contents


class ExportedModel(ReIDModel):
    """A network that another program runs, on the CPU and in evaluation mode alone.

    Args:
        run: the program: float32 images (N, 3, H, W), in the order of ``card.channels``, to its
            outputs.
        card: of the network.
    """

    branches = ()  # nothing says them

    def __init__(self, run: Run, card: Card) -> None:
        super().__init__(num_classes=1)
        self._run = run
        self._reversed = card.channels == "BGR"
        self.embedding_size = card.embedding_size or 0
        self.has_parts = bool(card.parts)
        # What asks for the device of a network asks its parameters.
        self.nothing = nn.Parameter(torch.empty(0), requires_grad=False)
        self.eval()

    def embed(self, images: Tensor) -> Embedding:
        """Return what the program gives of images ``(N, 3, H, W)``."""
        found = self._run(images.flip(1) if self._reversed else images)
        return Embedding(
            found[EMBEDDING], part_labels=found.get(LABELS), visibility=found.get(VISIBILITY)
        )

    def optimize_for_inference(self) -> "ExportedModel":
        """Return the network itself: the program has done what it can."""
        return self

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse: the weights are within the program.

        Raises:
            WeightsError: always.
        """
        raise WeightsError(
            "an exported file cannot be saved or exported again: open the weights that it was "
            "made of"
        )

    def __deepcopy__(self, memo: Mapping[int, Any]) -> "ExportedModel":
        return self


def open_exported(path: Path) -> tuple[Card, ExportedModel]:
    """Open a file that ``export_network`` wrote.

    Raises:
        ExportError: it is another file, or its runtime is not installed.
    """
    card = read_card(path)
    return card, ExportedModel(format_of(path).runner(read_contents(path), card), card)
