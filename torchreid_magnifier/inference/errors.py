"""The errors of inference."""

from ..errors import MagnifierError


class RetrievalError(MagnifierError):
    """Pictures, embeddings or an index that cannot be used as they were given."""


class ExplainError(MagnifierError):
    """Nothing can be explained: no images, an image that cannot be read, a network without..."""


def missing_extra(package: str, purpose: str, extra: str = "search") -> RetrievalError:
    """Return what to raise where an optional package is absent."""
    return RetrievalError(
        f'{purpose} needs {package}, which is not installed: pip install "torchreid-magnifier'
        f'[{extra}]"'
    )
