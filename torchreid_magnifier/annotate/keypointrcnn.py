"""The parser ``keypointrcnn``: poses by torchvision's Keypoint R-CNN (He et al., 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torchvision

from .detectors import load_detector
from .poses import Pose, pose_from_coco

MODEL = "keypointrcnn_resnet50_fpn"
MIN_PERSON = 0.5
# Its keypoint scores are the heat maps' logits; Detectron draws those above 2.
MIN_SCORE = 2.0


def settings(min_score: float) -> dict[str, Any]:
    """What makes the poses what they are, for the record beside the masks."""
    return {
        "model": MODEL,
        "torchvision": torchvision.__version__,
        "min_score": min_score,
        "min_person": MIN_PERSON,
    }


class KeypointRCNN:
    """Poses of the people in images, by a detector trained on COCO.

    Args:
        min_score: joints with a lower logit are unknown.

    Raises:
        ParsingError: the trained weights cannot be had.
    """

    def __init__(self, min_score: float = MIN_SCORE) -> None:
        self._min_score = min_score
        self._model, self._device = load_detector(MODEL)

    @torch.inference_mode()
    def __call__(self, paths: Sequence[str], images: Sequence[np.ndarray]) -> list[list[Pose]]:
        """The poses in each image, a uint8 array (H, W, 3); sizes may differ. No path is used."""
        batch = [to_tensor(image, self._device) for image in images]
        return [self._poses(found) for found in self._model(batch)]

    def _poses(self, found: dict[str, torch.Tensor]) -> list[Pose]:
        found = {name: values.cpu() for name, values in found.items()}
        points = found["keypoints"].numpy().copy()  # (people, 17, 3)
        points[..., 2] = found["keypoints_scores"].numpy()
        scores = found["scores"].tolist()
        return [
            pose_from_coco(person, self._min_score, score)
            for person, score in zip(points, scores, strict=True)
            if score >= MIN_PERSON
        ]


def to_tensor(image: np.ndarray, device: torch.device) -> torch.Tensor:
    """uint8 (H, W, 3) to float (3, H, W) in 0..1."""
    return torch.from_numpy(image).to(device).permute(2, 0, 1).float() / 255
