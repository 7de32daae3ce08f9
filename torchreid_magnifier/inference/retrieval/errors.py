"""The error of this package's part that extracts embeddings and searches them."""

from ...errors import MagnifierError


class RetrievalError(MagnifierError, RuntimeError):
    """Pictures, embeddings or an index that cannot be used as they were given."""


def missing_extra(package: str, purpose: str) -> RetrievalError:
    """What to raise where an optional package is absent."""
    return RetrievalError(
        f'{purpose} needs {package}, which is not installed: pip install "torchreid-magnifier'
        '[search]"'
    )
