"""From a network to a checked file, and back to the file's description."""

import copy
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch

from ...files import write_atomically
from ..network import Network
from . import onnx_file, pt2_file
from .description import Description, describe
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
        description: that the file carries.
        parity: between the file and the network.
    """

    path: Path
    size: int
    description: Description
    parity: Parity


def check_target(path: str | os.PathLike, opset: int | None = None) -> None:
    """Whether a file can be written at ``path``, before anything takes time.

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


def export_network(network: Network, path: str | os.PathLike, opset: int | None = None) -> Export:
    """Writes a network as one file, after checking that the file answers as the network does.

    The file takes ``images`` ``(N, 3, height, width)``, float32, for any N from 1, and gives
    ``embedding`` ``(N, D)``, float32, and of a network with a mask module also ``labels``
    ``(N, height / 8, width / 8)``, int64: the part of each cell.

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
    form, description = _format(path), describe(network)
    model = copy.deepcopy(network.model).cpu()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, about its own workings
            data = form.to_bytes(trace(model, network.preprocessing), description, opset)
        parity = compare(model, form.runner(data), pedestrians(network.preprocessing))
    except (ExportError, OSError, MemoryError):
        raise
    except Exception as error:  # each part of torch and onnxruntime has its own kinds
        raise ParityError(
            f"{network.name} cannot be exported to {path.name} or not be run from it, with torch "
            f"{torch.__version__} ({type(error).__name__}: {str(error).strip()})"
        ) from error
    parity.require()
    write_atomically(path, data)
    return Export(path, len(data), description, parity)


def read_description(path: str | os.PathLike) -> Description:
    """What an exported file says of itself.

    Raises:
        ExportError: the file was not made by ``export_network``, or cannot be read.
    """
    path = Path(path)
    form = _format(path)
    try:
        return Description.from_json(form.read_description(path.read_bytes()))
    except ExportError:
        raise
    except Exception as error:  # of onnx, zip files, JSON, …: all end the same way
        raise ExportError(
            f"{path} was not written by torchreid-magnifier export ({type(error).__name__}: "
            f"{error})"
        ) from error


def _format(path: Path) -> ModuleType:
    """The module of a file's format, by its suffix."""
    if path.suffix not in FORMATS:
        raise ExportError(f"expected a name that ends in {' or '.join(FORMATS)}, got {path.name!r}")
    return FORMATS[path.suffix]
