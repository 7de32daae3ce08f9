"""Torchvision's detectors that were trained on COCO: poses and outlines of people.

The parser ``keypointrcnn`` is Keypoint R-CNN; Mask R-CNN cuts drawings (He et al., 2017).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torchvision
from torch import nn
from torchvision.models import get_model, get_model_weights

from ...models.backbones.resnet import advice
from ...parts import BACKGROUND
from .. import ParsingError
from ..poses import Pose, pose_from_keypoints

KEYPOINTS, OUTLINES = "keypointrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn"
MIN_PERSON = 0.5
# Its keypoint scores are the heat maps' logits; Detectron draws those above 2.
MIN_SCORE = 2.0
_PERSON = 1  # COCO's category
_INSIDE = 0.5
_WEIGHTS = "COCO_V1"
# Sides in pixels between which crops are scaled. COCO's people are seldom larger than this;
# torchvision's own 800 to 1333 pixels would make a crop ten times slower.
_SIZES = {"min_size": 256, "max_size": 512}
# A crop shows few people; torchvision's own limits, 1000 and 100, are for street scenes.
_LIMITS = {"rpn_post_nms_top_n_test": 200, "box_detections_per_img": 8}


def settings(min_score: float) -> dict[str, Any]:
    """Return what makes the poses what they are, for the record beside the masks."""
    return {
        "model": KEYPOINTS,
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
        self._model, self._device = _load_detector(KEYPOINTS)

    @torch.inference_mode()
    def __call__(self, paths: Sequence[str], images: Sequence[np.ndarray]) -> list[list[Pose]]:
        """Return the poses in each image, uint8 (H, W, 3) of any size; no path is used."""
        batch = [_to_tensor(image, self._device) for image in images]
        return [self._poses(found) for found in self._model(batch)]

    def _poses(self, found: dict[str, torch.Tensor]) -> list[Pose]:
        found = {name: values.cpu() for name, values in found.items()}
        points = found["keypoints"].numpy().copy()  # (people, 17, 3)
        points[..., 2] = found["keypoints_scores"].numpy()
        scores = found["scores"].tolist()
        return [
            pose_from_keypoints(person, self._min_score, score)
            for person, score in zip(points, scores, strict=True)
            if score >= MIN_PERSON
        ]


class PersonMask:
    """The outline of the person whose parts were drawn.

    Raises:
        ParsingError: the trained weights cannot be had.
    """

    def __init__(self) -> None:
        self._model, self._device = _load_detector(OUTLINES)

    @torch.inference_mode()
    def __call__(
        self, images: Sequence[np.ndarray], labels: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Set labels outside the person to background.

        The person is the one whose mask holds the largest part of the drawing. Where none is
        found, the labels stay as they are.

        Args:
            images: uint8 (H, W, 3) RGB each.
            labels: uint8 (H, W) each.
        """
        found = self._model([_to_tensor(image, self._device) for image in images])
        return [self._cut(people, drawn) for people, drawn in zip(found, labels, strict=True)]

    def _cut(self, people: dict[str, torch.Tensor], labels: np.ndarray) -> np.ndarray:
        chosen = (people["labels"] == _PERSON) & (people["scores"] >= MIN_PERSON)
        masks = (people["masks"][chosen, 0] >= _INSIDE).cpu().numpy()
        inside = (masks & (labels != BACKGROUND)).sum(axis=(1, 2))
        if not inside.any():
            return labels
        return np.where(masks[inside.argmax()], labels, BACKGROUND).astype(np.uint8)


def _load_detector(name: str) -> tuple[nn.Module, torch.device]:
    """Return a detector in eval mode, on the GPU where there is one.

    Args:
        name: in torchvision's registry of models.

    Raises:
        ParsingError: the weights can neither be found nor downloaded; it says where to put them.
    """
    weights: Any = get_model_weights(name)[_WEIGHTS]
    try:
        model = get_model(name, weights=weights, **_SIZES, **_LIMITS)
    except Exception as error:  # no network, no space, a broken file: all end the same way
        raise ParsingError(
            f"torchvision's weights of {name} could not be loaded ({type(error).__name__}: "
            f"{error}). {advice(weights)}"
        ) from error
    return model.eval().to(device()), device()


def device() -> torch.device:
    """Return where networks look at images: the GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _to_tensor(image: np.ndarray, device: torch.device) -> torch.Tensor:
    """Return uint8 (H, W, 3) as float (3, H, W) in 0..1."""
    return torch.from_numpy(image).to(device).permute(2, 0, 1).float() / 255
