"""People in a frame, by their boxes -> embeddings."""

from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..models import ReIDModel
from ..parts import NUM_PARTS
from .boxes import BoxError, as_corners, crop_bounds, require_inside
from .errors import RetrievalError

Order: TypeAlias = Literal["bgr", "rgb"]


class BoxEmbeddings(NamedTuple):
    """Embeddings of N boxes, in their order.

    Attributes:
        vectors: float32 (N, D), each of length 1; NaN of empty boxes.
        visibility: float32 (N, K), share of the box that each part takes, background first; NaN of
            empty boxes; None of a network that predicts no parts.
        empty: bool (N,), boxes without a pixel in the frame.
    """

    vectors: np.ndarray
    visibility: np.ndarray | None
    empty: np.ndarray


@torch.inference_mode()
def embed_boxes(
    model: ReIDModel,
    size: tuple[int, int],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    frame: np.ndarray,
    boxes: Any,
    order: Order,
    empty: Literal["nan", "error"] = "nan",
    batch_size: int = 64,
) -> BoxEmbeddings:
    """Embed the people in a frame; see ``Network.embed``.

    A crop is resized as ``Preprocessing`` does it, to the grey level or the next one.

    Args:
        model: in evaluation mode.
        size: height and width of its images.
        mean, std: of the channels red, green and blue, for values 0..1.
        frame, boxes, order, empty, batch_size: see there.
    """
    _check_frame(frame, order)
    corners = as_corners(boxes)
    height, width = frame.shape[:2]
    crops, is_empty = crop_bounds(corners, width, height)
    if empty == "error":
        require_inside(corners, is_empty, width, height)
    device = next(model.parameters()).device
    vectors = np.full((len(crops), model.embedding_size), np.nan, np.float32)
    shares = np.full((len(crops), NUM_PARTS), np.nan, np.float32) if model.has_parts else None
    filled = np.flatnonzero(~is_empty)
    for start in range(0, len(filled), batch_size):
        rows = filled[start : start + batch_size]
        batch = torch.empty(len(rows), 3, *size, dtype=torch.uint8)
        for place, (left, top, right, bottom) in enumerate(crops[rows].tolist()):
            batch[place] = resized(frame[top:bottom, left:right], size)
        images = batch.to(device)
        seen = model.inspect(normalised(images.flip(1) if order == "bgr" else images, mean, std))
        vectors[rows] = _unit(seen.vector).cpu().numpy()
        if shares is not None and seen.visibility is not None:
            shares[rows] = seen.visibility.cpu().numpy()
    if not np.isfinite(vectors[filled]).all():
        raise RetrievalError("the network gives embeddings that are not finite: weights of no use")
    return BoxEmbeddings(vectors, shares, is_empty)


def resized(crop: np.ndarray, size: tuple[int, int]) -> Tensor:
    """Return a crop (h, w, 3) at a network's ``size``, height and width: uint8 (3, H, W)."""
    pixels = torch.from_numpy(np.require(crop, requirements=["C", "W"])).permute(2, 0, 1)
    return F.interpolate(pixels[None], size, mode="bilinear", antialias=True)[0]


def normalised(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Return uint8 images (N, 3, H, W), red first, as a network's input.

    Args:
        images: on its device.
        mean, std: of the channels, for values 0..1.
    """
    shift, scale = (255 * torch.tensor(v, device=images.device).view(3, 1, 1) for v in (mean, std))
    return (images.float() - shift) / scale


def _unit(vectors: Tensor) -> Tensor:
    return F.normalize(vectors.float(), dim=1)


def _check_frame(frame: object, order: object) -> None:
    if order not in ("bgr", "rgb"):
        raise BoxError(f"order: expected 'bgr' (OpenCV's) or 'rgb', found {order!r}")
    found = f"{type(frame).__name__}"
    if isinstance(frame, np.ndarray):
        if frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3 and frame.size:
            return
        found = f"{frame.dtype} of shape {frame.shape}"
    raise BoxError(f"frame: expected a uint8 array (height, width, 3), found {found}")
