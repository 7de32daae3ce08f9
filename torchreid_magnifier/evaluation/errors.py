"""What can be wrong with an evaluation."""

from ..errors import MagnifierError


class EvaluationError(MagnifierError, ValueError):
    """Embeddings, distances or labels that cannot be evaluated."""

    exit_status = 1
