"""Errors of an export."""

from collections.abc import Iterator
from contextlib import contextmanager

from ...errors import MagnifierError


class ExportError(MagnifierError, RuntimeError):
    """A network that cannot be exported, or a file that is no export of this package."""


class ParityError(ExportError):
    """A network that cannot be written or run, or does not answer then as the network itself."""

    exit_status = 1


@contextmanager
def needing(what: str, extra: str) -> Iterator[None]:
    """Make an import that fails an ExportError: what is needed, and the extra that brings it."""
    try:
        yield
    except ImportError as error:
        raise ExportError(
            f'{what} ({error}): pip install "torchreid-magnifier[{extra}]"'
        ) from error
