"""People in a frame, by their boxes -> embeddings."""

from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

from ..errors import MagnifierError
from ..models import ReIDModel
from ..parts import NUM_PARTS
from .errors import RetrievalError

Order: TypeAlias = Literal["bgr", "rgb"]

_MOST = 3  # boxes that a message names


class BoxError(MagnifierError, ValueError):
    """A frame or boxes that cannot be what was meant."""


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
    corners = _corners(boxes)
    height, width = frame.shape[:2]
    bounds = [width, height, width, height]
    inside = corners.clip(0, bounds)
    is_empty = np.asarray((inside[:, :2] >= inside[:, 2:]).any(1))
    if empty == "error" and is_empty.any():
        rows = np.flatnonzero(is_empty)
        raise BoxError(
            f"{len(rows)} of {len(corners)} boxes have no pixel in the frame of {width}x{height}: "
            f"{_listed(corners, rows)}. Are they of an image of another size?"
        )
    crops = np.concatenate([np.floor(inside[:, :2]), np.ceil(inside[:, 2:])], 1).astype(int)
    pixels = torch.from_numpy(np.require(frame, requirements=["C", "W"])).permute(2, 0, 1)
    device = next(model.parameters()).device
    scale = 255 * torch.tensor(std, device=device).view(3, 1, 1)
    shift = 255 * torch.tensor(mean, device=device).view(3, 1, 1)
    vectors = np.full((len(crops), model.embedding_size), np.nan, np.float32)
    shares = np.full((len(crops), NUM_PARTS), np.nan, np.float32) if model.has_parts else None
    filled = np.flatnonzero(~is_empty)
    for start in range(0, len(filled), batch_size):
        rows = filled[start : start + batch_size]
        batch = torch.empty(len(rows), 3, *size, dtype=torch.uint8)
        for place, (left, top, right, bottom) in enumerate(crops[rows].tolist()):
            crop = pixels[None, :, top:bottom, left:right]
            batch[place] = F.interpolate(crop, size, mode="bilinear", antialias=True)[0]
        images = batch.to(device)
        images = (images.flip(1) if order == "bgr" else images).float()
        seen = model.inspect((images - shift) / scale)
        vectors[rows] = _unit(seen.vector).cpu().numpy()
        if shares is not None and seen.visibility is not None:
            shares[rows] = seen.visibility.cpu().numpy()
    if not np.isfinite(vectors[filled]).all():
        raise RetrievalError("the network gives embeddings that are not finite: weights of no use")
    return BoxEmbeddings(vectors, shares, is_empty)


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


def _corners(boxes: Any) -> np.ndarray:
    """Boxes as float64 (N, 4)."""
    given: ArrayLike = getattr(boxes, "xyxy", boxes)  # of supervision.Detections
    try:
        corners = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BoxError(f"boxes: expected numbers (N, 4), found {given!r}") from error
    if corners.size == 0:
        return corners.reshape(0, 4)
    if corners.ndim != 2 or corners.shape[1] != 4:
        raise BoxError(
            f"boxes: expected x1, y1, x2, y2 of each, shape (N, 4), found shape {corners.shape}"
        )
    if not np.isfinite(corners).all():
        rows = np.flatnonzero(~np.isfinite(corners).all(1))
        raise BoxError(f"boxes: expected finite numbers, found {_listed(corners, rows)}")
    if (corners[:, :2] > corners[:, 2:]).any():
        rows = np.flatnonzero((corners[:, :2] > corners[:, 2:]).any(1))
        raise BoxError(
            f"boxes: expected x1, y1, x2, y2 with x1 <= x2 and y1 <= y2, found "
            f"{_listed(corners, rows)}. Are they x, y, width, height?"
        )
    if ((corners >= 0) & (corners <= 1)).all():
        raise BoxError(
            "boxes: expected pixels, found no number above 1: multiply them by the frame's width "
            "and height"
        )
    return corners


def _listed(corners: np.ndarray, rows: np.ndarray) -> str:
    named = [f"number {row}: {corners[row].tolist()}" for row in rows[:_MOST]]
    return "; ".join(named) + ("; …" if len(rows) > _MOST else "")
