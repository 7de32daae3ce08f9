"""A trained network as one file that other programs run: ONNX, or a program of torch.export."""

from .description import Description
from .errors import ExportError, ParityError
from .writing import Export, check_target, export_network, read_description

__all__ = [
    "Description",
    "Export",
    "ExportError",
    "ParityError",
    "check_target",
    "export_network",
    "read_description",
]
