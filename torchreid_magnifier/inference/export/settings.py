"""The form that an exported file is to have, and the errors of an export."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ...errors import MagnifierError

PRECISIONS = ("float32", "float16", "int8")

Contents = dict[str, bytes]
"""What an export consists of: the files' suffixes and bytes, that of the network first."""

Run = Callable[[Tensor], dict[str, Tensor]]
"""Images ``(N, 3, H, W)`` to the outputs of an exported network, by name."""


class ExportError(MagnifierError, RuntimeError):
    """A network that cannot be exported, or a file that is no export of this package."""


class ParityError(ExportError):
    """A network that cannot be written or run, or does not answer then as the network itself."""

    exit_status = 1


@dataclass(frozen=True)
class Settings:
    """The form of an exported file.

    Attributes:
        precision: of the numbers: ``float32``; ``float16``; or ``int8``, whose scales are chosen by
            calibration images.
        pictures: take uint8 pictures of any size and bring them to the network's within the file.
        opset: of an ONNX file; None takes the oldest that can be written.

    Raises:
        ExportError: there is no such precision.
    """

    precision: str = "float32"
    pictures: bool = False
    opset: int | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ExportError(
                f"expected a precision of {', '.join(PRECISIONS)}, got {self.precision!r}"
            )
