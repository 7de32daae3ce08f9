"""torchreid's engines for images, unchanged in what they do; they keep what passes by."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torchreid import engine as torchreid_engine


class Score(NamedTuple):
    """What torchreid's evaluation finds on one dataset: shares, 0..1."""

    rank1: float
    mean_ap: float


class _Recording(torchreid_engine.Engine):
    """Put before one of torchreid's engines.

    Args:
        on_epoch: called after each epoch of training.

    Attributes:
        scores: of the last test, by the dataset's name. torchreid prints them to a tenth of a
            percent, and hands on the last dataset's rank-1 only.
    """

    def __init__(self, *args: Any, on_epoch: Callable[[], None], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.scores: dict[str, Score] = {}
        self._on_epoch = on_epoch

    def train(self, *args: Any, **kwargs: Any) -> None:
        super().train(*args, **kwargs)
        self._on_epoch()

    def _evaluate(self, dataset_name: str = "", *args: Any, **kwargs: Any) -> tuple[float, float]:
        found = super()._evaluate(dataset_name, *args, **kwargs)
        self.scores[dataset_name] = Score(*map(float, found))
        return found


class SoftmaxEngine(_Recording, torchreid_engine.ImageSoftmaxEngine):
    """Cross-entropy alone."""


class TripletEngine(_Recording, torchreid_engine.ImageTripletEngine):
    """Cross-entropy and triplet loss."""
