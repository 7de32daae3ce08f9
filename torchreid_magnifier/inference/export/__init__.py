"""A trained network as one file that other programs run: ONNX, or a program of torch.export."""

from .settings import ExportError, ParityError, Settings
from .writing import Export, check_target, export_network, read_card

__all__ = [
    "Export",
    "ExportError",
    "ParityError",
    "Settings",
    "check_target",
    "export_network",
    "read_card",
]
