"""Programs of ``torch.export``: run by torch alone, without this package."""

import io
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.export import ExportedProgram

from ...hub.card import CARD_KEY, Card
from .settings import Contents, ExportError, Run, Settings

SUFFIX = ".pt2"


def require(settings: Settings) -> None:
    """Check that such a file can be written.

    Raises:
        ExportError: an opset, another precision or pictures are asked for.
    """
    if settings.opset is not None:
        raise ExportError(f"an opset is for ONNX files, got {settings.opset}: leave it out")
    if settings.precision != "float32" or settings.pictures:
        raise ExportError(
            f"a {SUFFIX} file takes normalised images and has float32: give a name that ends in "
            ".onnx or .xml for another precision, or for pictures"
        )


def contents(
    program: ExportedProgram, card: Card, settings: Settings, calibration: Sequence[Tensor] = ()
) -> Contents:
    """Return the content of a .pt2 file, weights and card included.

    Raises:
        ExportError: as ``require``.
    """
    require(settings)
    data = io.BytesIO()
    torch.export.save(program, data, extra_files={CARD_KEY: card.to_json()})
    return {SUFFIX: data.getvalue()}


def read_card(files: Contents) -> str:
    """Return the card in a file's content, as JSON; an empty text if there is none."""
    extra = {CARD_KEY: ""}
    torch.export.load(io.BytesIO(files[SUFFIX]), extra_files=extra)
    return extra[CARD_KEY]


def runner(files: Contents, card: Card) -> Run:
    """Return a function that runs a file's content on the CPU."""
    module = torch.export.load(io.BytesIO(files[SUFFIX])).module()

    def run(images: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            return module(images)

    return run
