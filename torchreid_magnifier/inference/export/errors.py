"""Errors of an export."""

from ...errors import MagnifierError


class ExportError(MagnifierError, RuntimeError):
    """A network that cannot be exported, or a file that is no export of this package."""


class ParityError(ExportError):
    """A network that cannot be written or run, or does not answer then as the network itself."""

    exit_status = 1
