"""What can be wrong with an evaluation."""


class EvaluationError(ValueError):
    """Embeddings, distances or labels that cannot be evaluated."""
