"""Networks ready for use: a trained model together with what its images need."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import yaml
from PIL import Image
from torch import Tensor
from torchvision.transforms import Compose, Normalize, Resize, ToTensor

from .. import models
from ..checkpoint import restore
from ..files import sha256
from ..hub import WeightsError, entries, fetch
from ..models import ReIDModel
from .frames import BoxEmbeddings, embed_boxes

# What torchreid normalises with unless it is told otherwise: ImageNet's.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """From a picture to a network's input, as torchreid's data manager does it for tests.

    Attributes:
        height, width: in pixels.
        mean, std: of the channels red, green and blue, for values 0..1.
    """

    height: int
    width: int
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __call__(self, image: Image.Image) -> Tensor:
        """A picture -> ``(3, height, width)``, normalised."""
        steps = Compose(
            [
                Resize((self.height, self.width)),
                ToTensor(),
                Normalize(mean=self.mean, std=self.std),
            ]
        )
        return steps(image.convert("RGB"))


@dataclass(frozen=True)
class Network:
    """A trained model, in evaluation mode, and what its images need.

    Attributes:
        model: on the device that was asked for.
        name: of the model, such as ``magnifiernet_r18``.
        preprocessing: of its images.
        weights: name or path of its weights, as it was given.
        sha256: of their file.
    """

    model: models.ReIDModel
    name: str
    preprocessing: Preprocessing
    weights: str
    sha256: str

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def embed(
        self,
        frame: np.ndarray,
        boxes: Any,
        *,
        order: Literal["bgr", "rgb"],
        empty: Literal["nan", "error"] = "nan",
        batch_size: int = 64,
    ) -> BoxEmbeddings:
        """Embed the people in a frame.

        Args:
            frame: uint8 (H, W, 3).
            boxes: corners x1, y1, x2, y2 of N people in pixels, (N, 4), or
                ``supervision.Detections``; N may be 0. What lies beyond the frame is cut off.
            order: of the frame's channels: ``bgr`` of OpenCV, ``rgb`` of Pillow and most others.
            empty: what boxes without a pixel in the frame give: ``nan`` or an ``error``.
            batch_size: people that the network sees at once.

        Returns:
            ``vectors`` (N, D) of length 1, ``visibility`` (N, K) or None, and which are ``empty``.

        Raises:
            BoxError: a frame of another kind, or boxes that cannot be meant.
            RetrievalError: the network gives values that are not finite.
        """
        size = self.preprocessing.height, self.preprocessing.width
        mean, std = self.preprocessing.mean, self.preprocessing.std
        return embed_boxes(self._fast, size, mean, std, frame, boxes, order, empty, batch_size)

    @cached_property
    def _fast(self) -> ReIDModel:
        return self.model.optimize_for_inference()


def open_network(
    weights: str,
    model: str | None = None,
    height: int | None = None,
    width: int | None = None,
    device: str | torch.device = "cpu",
) -> Network:
    """Builds a network from weights of a manifest, or from a checkpoint of training.

    A manifest tells the model and the size of its images. Of a checkpoint
    ``<folder>/model/model.pth.tar-60``, the ``<folder>/config.yaml`` tells them, which
    ``torchreid-magnifier train`` writes; without that file they must be given.

    Args:
        weights: a name in a manifest, or the path of a checkpoint.
        model: the model that a checkpoint is of, such as ``magnifiernet_r18``.
        height, width: of the images that it was trained on, in pixels.
        device: for the model.

    Raises:
        WeightsError: if the weights are neither, or cannot be fetched; if model or size are told
            by nothing, or contradict what the manifest or the ``config.yaml`` tells.
        CheckpointError: if the file cannot be read, or is of another model.
    """
    if entry := entries().get(weights):
        path, source = fetch(entry), "its manifest"
        told: dict[str, Any] = {
            key: getattr(entry, key) for key in ("model", "height", "width", "mean", "std")
        }
    else:
        path = Path(weights).expanduser()
        if not path.is_file():
            raise WeightsError(
                f"there are no weights {weights!r}: expected a name that 'torchreid-magnifier "
                "weights list' shows, or the path of a checkpoint"
            )
        record = path.absolute().parent.parent / "config.yaml"
        told, source = _read_record(record), str(record)
    given = {"model": model, "height": height, "width": width}
    for key, value in given.items():
        if value is not None and told.setdefault(key, value) != value:
            raise WeightsError(
                f"{weights} is for {key} {told[key]} by {source}, which {key} {value} contradicts: "
                "leave it out"
            )
    if missing := [key for key in given if key not in told]:
        raise WeightsError(
            f"nothing tells what {weights} was trained with (there is no {source}): give "
            f"{', '.join(missing)}"
        )
    name = told.pop("model")
    if name not in models.list_models():
        raise WeightsError(
            f"{weights} is of the model {name!r}: expected one of {', '.join(models.list_models())}"
        )
    network = models.build(name, num_classes=1, loss="triplet")
    restore(network, path)
    return Network(network.eval().to(device), name, Preprocessing(**told), weights, sha256(path))


def _read_record(path: Path) -> dict[str, Any]:
    """What the configuration of a training run tells of its model; nothing if there is none."""
    if not path.is_file():
        return {}
    try:
        cfg = yaml.safe_load(path.read_text(encoding="utf-8"))
        data = cfg["data"]
        return {
            "model": str(cfg["model"]["name"]),
            "height": int(data["height"]),
            "width": int(data["width"]),
            "mean": tuple(map(float, data["norm_mean"])),
            "std": tuple(map(float, data["norm_std"])),
        }
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise WeightsError(
            f"{path} is no configuration of a training run ({type(error).__name__}: {error}): "
            "move it away, or move the checkpoint elsewhere"
        ) from error
