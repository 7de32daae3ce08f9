"""The parser ``magnifiernet``: the parts that a trained network of this package sees itself.

Its mask head has learnt label maps, and gives them for any picture of a person: no pose, no
download, one pass. They are as coarse as its feature maps (an eighth of its input), which is what
training compares label maps at.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from ...hub import DEFAULT
from ...inference.open import Network, open_network
from .. import ParsingError

# L_mask counts every part alike, however few its pixels, so a network takes too much for a foot.
# How many pixels each part has is put back: its share in the maps drawn from keypoints of
# Market-1501's training images. The exponent was chosen on its gallery (mean IoU 0.40 with 0, 0.49,
# 0.46 with 1).
_SHARES = (0.638, 0.0283, 0.149, 0.0396, 0.0261, 0.065, 0.045, 0.0093)
_EXPONENT = 0.75


def settings(network: Network) -> dict[str, Any]:
    """Return what makes the label maps what they are, for the record beside them."""
    prepare = asdict(network.preprocessing)
    return {"model": network.card.model, "weights": network.card.sha256, "preprocessing": prepare}


def open_parts(weights: str | None, device: torch.device | str = "cpu") -> Network:
    """Open a network that sees parts.

    Args:
        weights: a name in a manifest or a checkpoint; the default ones with None.

    Raises:
        ParsingError: it has no mask head.
        WeightsError, CheckpointError: as ``open_network``.
    """
    network = open_network(weights or DEFAULT, device=device)
    if not network.model.has_parts:
        raise ParsingError(
            f"{network.card.name} is of the model {network.card.model}, which sees no parts: "
            "expected weights of a MagnifierNet with a mask module"
        )
    return network


class PartsOfNetwork:
    """Label maps as a network predicts them.

    Args:
        weights: as for :func:`open_parts`.
        device: for the network.

    Raises:
        ParsingError, WeightsError, CheckpointError: as :func:`open_parts`.
    """

    def __init__(self, weights: str | None, device: torch.device | str) -> None:
        self._network = open_parts(weights, device)

    @torch.inference_mode()
    def __call__(self, paths: Sequence[str], images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the label map of each image, uint8 (H, W) of its own size; no path is used."""
        network = self._network
        batch = torch.stack([network.preprocessing(Image.fromarray(image)) for image in images])
        logits = network.model.inspect(batch.to(network.device)).part_logits
        assert logits is not None  # of a model that has parts
        return [
            _enlarged(one, image.shape[:2])
            for one, image in zip(logits.float().cpu(), images, strict=True)
        ]


def _enlarged(logits: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    """The likeliest part at each pixel, of logits (8, h, w) that are enlarged smoothly."""
    large = F.interpolate(logits[None], size, mode="bilinear", align_corners=False)[0]
    prior = _EXPONENT * torch.tensor(_SHARES).log()
    return np.asarray((large + prior[:, None, None]).argmax(dim=0), np.uint8)
