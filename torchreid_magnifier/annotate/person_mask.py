"""Cuts drawn parts to the person's outline, by torchvision's Mask R-CNN (He et al., 2017)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..parts import BACKGROUND
from .detectors import load_detector
from .keypointrcnn import MIN_PERSON, to_tensor

MODEL = "maskrcnn_resnet50_fpn"
_PERSON = 1  # COCO's category
_INSIDE = 0.5


class PersonMask:
    """The outline of the person whose parts were drawn.

    Raises:
        ParsingError: the trained weights cannot be had.
    """

    def __init__(self) -> None:
        self._model, self._device = load_detector(MODEL)

    @torch.inference_mode()
    def __call__(
        self, images: Sequence[np.ndarray], labels: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Sets labels outside the person to background.

        The person is the one whose mask holds the largest part of the drawing. Where none is
        found, the labels stay as they are.

        Args:
            images: uint8 (H, W, 3) RGB each.
            labels: uint8 (H, W) each.
        """
        found = self._model([to_tensor(image, self._device) for image in images])
        return [self._cut(people, drawn) for people, drawn in zip(found, labels, strict=True)]

    def _cut(self, people: dict[str, torch.Tensor], labels: np.ndarray) -> np.ndarray:
        chosen = (people["labels"] == _PERSON) & (people["scores"] >= MIN_PERSON)
        masks = (people["masks"][chosen, 0] >= _INSIDE).cpu().numpy()
        inside = (masks & (labels != BACKGROUND)).sum(axis=(1, 2))
        if not inside.any():
            return labels
        return np.where(masks[inside.argmax()], labels, BACKGROUND).astype(np.uint8)
