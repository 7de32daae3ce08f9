"""How far an exported network of any precision agrees with the network itself."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from ...evaluation import PairwiseDistances
from ...models import ReIDModel
from ..evaluate import Measures, measure
from ..explain.rankings import EvaluationSet
from .program import EMBEDDING, LABELS
from .settings import ParityError, Run

MOST_LOST = 1.0
"""Percent of mAP that an export may lose on a dataset."""

LEAST_COSINE = {"float32": 0.9999, "float16": 0.999, "int8": 0.9}
"""Between the embeddings of a picture, on average, where there is no dataset to measure mAP on."""


@dataclass(frozen=True)
class Agreement:
    """What an exported network and the network itself give of the same pictures.

    Attributes:
        pictures: their number.
        cosine, lowest: between the two embeddings of a picture, the mean and the lowest.
        labels: share of the part labels that are equal; None of a network without.
        before, after: measures of the network and of the exported one, on a dataset; None without.
    """

    pictures: int
    cosine: float
    lowest: float
    labels: float | None
    before: Measures | None = None
    after: Measures | None = None

    def require(self, precision: str) -> None:
        """Refuse what a precision does not explain.

        Raises:
            ParityError: with the numbers.
        """
        if self.before and self.after:
            if not self.before.mAP - self.after.mAP <= MOST_LOST:  # not '>': NaN must fail
                raise ParityError(
                    f"the exported network has mAP {self.after.mAP:.1f} where the network itself "
                    f"has {self.before.mAP:.1f}: expected at most {MOST_LOST:g} less. Give more "
                    "calibration pictures, of the cameras it is for, or another precision"
                )
        elif not self.cosine >= LEAST_COSINE[precision]:
            raise ParityError(
                f"the embeddings of the exported network and of the network itself have a cosine "
                f"of {self.cosine:.4f}, expected at least {LEAST_COSINE[precision]:g}: give "
                "calibration pictures, of the cameras it is for, or another precision"
            )


@torch.no_grad()
def agree(
    model: ReIDModel,
    run: Run,
    batches: Iterator[Tensor],
    dataset: EvaluationSet | None = None,
    count: int = 0,
    bar: bool = False,
) -> Agreement:
    """Run both on the same images.

    Args:
        model: in evaluation mode, on the CPU.
        run: the exported network.
        batches: of images, in the order of the dataset's if there is one.
        dataset: to measure both on.
        count: number of images, for the bar.
        bar: show how far it is.
    """
    own, exported, equal = [], [], []
    hidden = None if bar and count else True
    with tqdm(total=count or None, unit="picture", disable=hidden) as shown:
        for images in batches:
            seen, found = model.inspect(images), run(images)
            own.append(seen.vector)
            exported.append(found[EMBEDDING])
            if seen.part_labels is not None:
                equal.append((seen.part_labels == found[LABELS]).float().mean((1, 2)))
            shown.update(len(images))
    vectors = torch.cat(own), torch.cat(exported)
    cosines = F.cosine_similarity(*vectors)
    before = after = None
    if dataset:
        count = len(dataset.query)
        before, after = (
            measure(PairwiseDistances(v[:count], v[count:], "cosine"), *dataset.labels())
            for v in vectors
        )
    return Agreement(
        len(cosines),
        cosines.mean().item(),
        cosines.min().item(),
        torch.cat(equal).mean().item() if equal else None,
        before,
        after,
    )
