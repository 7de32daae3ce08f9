"""The errors of inference."""

from ..errors import MagnifierError


class RetrievalError(MagnifierError):
    """Pictures, embeddings or an index that cannot be used as they were given."""


class ExplainError(MagnifierError):
    """Nothing can be explained: no images, an image that cannot be read, a network without..."""
