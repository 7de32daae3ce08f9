"""From a network to a checked file, and back to the file's card."""

import copy
import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import torch

from ...files import write_atomically
from ...hub.card import Card
from ..open import Network
from . import onnx_file, pt2_file
from .errors import ExportError, ParityError
from .parity import Parity, compare, pedestrians
from .program import trace

FORMATS: dict[str, ModuleType] = {".onnx": onnx_file, ".pt2": pt2_file}
OLDEST_TORCH = "2.9"  # the first whose ONNX files are made from torch.export unless asked otherwise


@dataclass(frozen=True)
class Export:
    """A file that was written.

    Attributes:
        path: of the file.
        size: in bytes.
        card: of the network, which the file carries.
        parity: between the file and the network.
    """

    path: Path
    size: int
    card: Card
    parity: Parity

    def __str__(self) -> str:
        card, parity = self.card, self.parity
        outputs = f"embedding (N, {card.embedding_size})"
        if card.parts:
            outputs += f", labels (N, h, w), visibility (N, {len(card.parts)})"
        text = (
            f"Wrote {self.path}: {card.model}, {self.size / 1e6:.1f} MB\n"
            f"  images (N, 3, {card.height}, {card.width}) -> {outputs}\n"
            f"  checked on {parity.images} images: embeddings differ from the network's by "
            f"{parity.deviation:.1g} of the largest value"
        )
        if parity.other_labels:
            text += (
                f"\n  {parity.other_labels} of {parity.labels} part labels differ, where two parts "
                f"are equal up to rounding, in {parity.other_images} images, left out of that "
                "comparison"
            )
        return text


def check_target(path: str | os.PathLike[str], opset: int | None = None) -> None:
    """Check that a file can be written at ``path``, before anything takes time.

    Raises:
        ExportError: for another suffix than those of ``FORMATS``, an opset that there is not, if
            the file exists or its folder does not, or if something is not installed.
    """
    path = Path(path)
    form = _format(path)
    if torch.__version__ < OLDEST_TORCH:
        raise ExportError(f"export needs torch {OLDEST_TORCH} or newer, found {torch.__version__}")
    if path.exists():
        raise ExportError(f"{path} exists already: give another name")
    if not path.parent.is_dir():
        raise ExportError(f"there is no folder {path.parent} to write {path.name} into")
    form.require(opset)


def export_network(
    network: Network, path: str | os.PathLike[str], opset: int | None = None
) -> Export:
    """Write a network as one file, after checking that the file answers as the network does.

    The file takes ``images`` ``(N, 3, height, width)``, float32, for any N from 1, and gives
    ``embedding`` ``(N, D)``, float32; of a network with body parts also ``labels`` ``(N, h, w)``,
    int64, the part of each cell, and ``visibility`` ``(N, K)``, float32, the parts' shares.

    Args:
        network: it stays as it is; the file is made and checked on the CPU.
        path: new file, ``.onnx`` or ``.pt2`` (a program of ``torch.export``).
        opset: of an ONNX file; None takes the oldest that can be written.

    Raises:
        ParityError: the network cannot be exported or run, or the exported one differs from it;
            nothing is written then.
        ExportError, OSError: as ``check_target``.
    """
    path = Path(path)
    check_target(path, opset)
    form, card = _format(path), card_for(network)
    model = copy.deepcopy(network.model).cpu()
    model.precision = "float32"  # whatever it was trained in
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, about its own workings
            program = trace(model, card.height, card.width)
            data = form.to_bytes(program, card, opset)
        parity = compare(model, form.runner(data), pedestrians(network.preprocessing))
    except (ExportError, OSError, MemoryError):
        raise
    except Exception as error:  # each part of torch and onnxruntime has its own kinds
        raise ParityError(
            f"{card.model} cannot be exported to {path.name} or not be run from it, with torch "
            f"{torch.__version__} ({type(error).__name__}: {str(error).strip()})"
        ) from error
    parity.require()
    write_atomically(path, data)
    return Export(path, len(data), card, parity)


def card_for(network: Network) -> Card:
    """Return a network's card without the folders of the machine that exports it."""
    from ... import __version__

    return replace(network.card, name=Path(network.card.name).name, version=__version__, size=None)


def read_card(path: str | os.PathLike[str]) -> Card:
    """Read the card of an exported file.

    Raises:
        ExportError: the file was not made by ``export_network``, or cannot be read.
    """
    path = Path(path)
    form = _format(path)
    try:
        return Card.from_json(form.read_card(path.read_bytes()))
    except ExportError:
        raise
    except Exception as error:  # of onnx, zip files, JSON, …: all end the same way
        raise ExportError(
            f"{path} was not written by torchreid-magnifier export ({type(error).__name__}: "
            f"{error})"
        ) from error


def _format(path: Path) -> ModuleType:
    """Return the module of a file's format, by its suffix."""
    if path.suffix not in FORMATS:
        raise ExportError(f"expected a name that ends in {' or '.join(FORMATS)}, got {path.name!r}")
    return FORMATS[path.suffix]
