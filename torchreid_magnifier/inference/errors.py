"""The errors of inference."""

from collections.abc import Sequence

from ..errors import MagnifierError


class RetrievalError(MagnifierError):
    """Pictures, embeddings or an index that cannot be used as they were given."""

    @classmethod
    def none_usable(cls, problems: Sequence[str]) -> "RetrievalError":
        """Return the error that no picture is left, with a line for each."""
        return cls("\n  ".join(["none of the pictures can be used", *problems]))


class ExplainError(MagnifierError):
    """Nothing can be explained: no images, an image that cannot be read, a network without..."""
