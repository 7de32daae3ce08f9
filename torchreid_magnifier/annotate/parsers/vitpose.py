"""The parser ``vitpose``: poses by ViTPose (Xu et al., 2022), from Hugging Face's transformers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ...errors import needing
from .. import ParsingError
from ..poses import Pose, pose_from_keypoints
from ..skeletons import SKELETONS
from .rcnn import device

MODEL = "usyd-community/vitpose-base-simple"
# Its scores are the heights of the heat maps' peaks, about 1 for a joint in plain view; with 0.3
# mmpose and transformers draw it.
MIN_SCORE = 0.3
_ADVICE = (
    "Download config.json, preprocessor_config.json and model.safetensors of a ViTPose, such as "
    f"https://huggingface.co/{MODEL}/tree/main, into a folder and give it by --model FOLDER"
)


def settings(model: str, min_score: float) -> dict[str, Any]:
    """Return what makes the poses what they are, for the record beside the masks.

    Raises:
        ParsingError: transformers is not installed.
    """
    return {
        "model": model,
        "transformers": _transformers().__version__,
        "min_score": min_score,
    }


class VitPose:
    """The pose of the person whose crop an image is: the whole image is the person's box.

    Args:
        model: name on the Hugging Face Hub, or a folder with the same files.
        min_score: joints with a lower score are unknown.

    Raises:
        ParsingError: transformers or the trained weights cannot be had, or find other keypoints.
    """

    def __init__(self, model: str = MODEL, min_score: float = MIN_SCORE) -> None:
        transformers = _transformers()
        self._min_score = min_score
        try:
            self._processor = transformers.VitPoseImageProcessor.from_pretrained(model)
            loaded, report = transformers.VitPoseForPoseEstimation.from_pretrained(
                model, output_loading_info=True
            )
        except Exception as error:  # no network, no such name, a broken file: all end the same way
            reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            raise ParsingError(
                f"ViTPose's weights {model} could not be loaded ({reason}). {_ADVICE}"
            ) from error
        missing = sorted(report["missing_keys"])
        if missing:  # transformers would go on with random ones
            raise ParsingError(
                f"{model}: expected all weights of a ViTPose, but {len(missing)} are missing, such "
                f"as {missing[0]}. {_ADVICE}"
            )
        expected = len(SKELETONS["coco"])
        if loaded.config.num_labels != expected:
            raise ParsingError(
                f"{model}: expected a ViTPose that finds COCO's {expected} keypoints, found "
                f"{loaded.config.num_labels}"
            )
        self._device = device()
        self._model = loaded.eval().to(self._device)

    @torch.inference_mode()
    def __call__(self, paths: Sequence[str], images: Sequence[np.ndarray]) -> list[list[Pose]]:
        """Return one pose in each image, uint8 (H, W, 3) of any size; no path is used."""
        boxes = [[[0.0, 0.0, width, height]] for height, width, _ in map(np.shape, images)]
        inputs = self._processor(
            list(images), boxes=boxes, input_data_format="channels_last", return_tensors="pt"
        )
        outputs = self._model(
            inputs["pixel_values"].to(self._device), dataset_index=self._dataset(len(images))
        )
        found = self._processor.post_process_pose_estimation(outputs, boxes=boxes)
        return [[self._pose(person)] for [person] in found]

    def _dataset(self, count: int) -> torch.Tensor | None:
        """Return the expert of a ViTPose+ for each image: COCO's is the first of its data sets."""
        if self._model.config.backbone_config.num_experts == 1:
            return None
        return torch.zeros(count, dtype=torch.long, device=self._device)

    def _pose(self, person: dict[str, torch.Tensor]) -> Pose:
        keypoints = torch.column_stack([person["keypoints"], person["scores"]])
        return pose_from_keypoints(keypoints.numpy(), self._min_score)


def _transformers() -> Any:
    with needing("the parser vitpose needs transformers 4.48", "parsing", ParsingError):
        import transformers
        from transformers import VitPoseForPoseEstimation  # noqa: F401  which older ones have not
    return transformers
