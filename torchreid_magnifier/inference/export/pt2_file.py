"""Programs of ``torch.export``: run by torch alone, without this package."""

import io

import torch
from torch import Tensor
from torch.export import ExportedProgram

from ...hub.card import CARD_KEY, Card
from .errors import ExportError
from .parity import Run


def require(opset: int | None) -> None:
    """Check that such a file can be written.

    Raises:
        ExportError: an opset is given.
    """
    if opset is not None:
        raise ExportError(f"an opset is for ONNX files, got {opset}: leave it out")


def to_bytes(program: ExportedProgram, card: Card, opset: int | None) -> bytes:
    """Return the content of a .pt2 file, weights and card included.

    Raises:
        ExportError: as ``require``.
    """
    require(opset)
    data = io.BytesIO()
    torch.export.save(program, data, extra_files={CARD_KEY: card.to_json()})
    return data.getvalue()


def read_card(data: bytes) -> str:
    """Return the card in a file's content, as JSON; an empty text if there is none."""
    extra = {CARD_KEY: ""}
    torch.export.load(io.BytesIO(data), extra_files=extra)
    return extra[CARD_KEY]


def runner(data: bytes) -> Run:
    """Return a function that runs a file's content on the CPU."""
    module = torch.export.load(io.BytesIO(data)).module()

    def run(images: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            return module(images)

    return run
