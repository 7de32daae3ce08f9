"""Comparing the answers of an exported network with those of the network itself."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from ...models import Embedding, ReIDModel
from ...synthetic.camera import CAMERAS
from ...synthetic.scene import Shot, render
from ..open import Preprocessing
from .program import EMBEDDING, LABELS, VISIBILITY, outputs_of
from .settings import ParityError, Run

TOLERANCE = 1e-4
BATCHES = (1, 2, 5)


@dataclass(frozen=True)
class Parity:
    """The distance of an exported network from the network itself.

    The part label of a cell is the largest of eight logits. Where two are equal up to rounding,
    two programs may choose differently, and the embedding differs visibly then: such images are
    counted, and left out of ``deviation``.

    Attributes:
        images: that were compared.
        deviation: largest difference of their embeddings, relative to the largest value.
        labels, other_labels: number of labels, and of those that differ.
        other_images: images with such labels.
        margin: by how much a logit exceeds that of the differing label, relative to the largest
            logit; the largest over all such labels, 0 without any.
        visibility: largest difference of the parts' shares in the pictures, left out likewise.
    """

    images: int
    deviation: float
    labels: int
    other_labels: int
    other_images: int
    margin: float
    visibility: float

    def require(self) -> None:
        """Refuse differences that are larger than rounding explains.

        Raises:
            ParityError: with the difference.
        """
        if self.other_images == self.images:
            raise ParityError(
                f"the exported network gives all {self.images} images other part labels than the "
                f"network itself ({self.other_labels} of {self.labels} labels differ)"
            )
        # Not '>': NaN must fail.
        for value, what in (
            (self.deviation, "embeddings"),
            (self.margin, "logits of part labels"),
            (self.visibility, "visibilities"),
        ):
            if not value <= TOLERANCE:
                raise ParityError(
                    f"the exported network differs from the network itself: {what} by {value:.2g} "
                    f"of their largest value, expected at most {TOLERANCE:g}"
                )


@torch.no_grad()
def compare(model: ReIDModel, run: Run, batches: Iterable[Tensor]) -> Parity:
    """Run both on the same images.

    Args:
        model: in evaluation mode, on the CPU.
        run: the exported network.
        batches: of images.

    Raises:
        ParityError: the outputs have other names or shapes.
    """
    images = other_images = labels = other_labels = 0
    deviation = largest = margin = visibility = 0.0
    for batch in batches:
        embedding, outputs = model.inspect(batch), run(batch)
        seen = outputs_of(embedding)
        shapes = {name: tuple(tensor.shape) for name, tensor in outputs.items()}
        wanted = {name: tuple(tensor.shape) for name, tensor in seen.items()}
        if shapes != wanted:
            raise ParityError(f"the exported network gives {shapes}, expected {wanted}")
        same = torch.ones(len(batch), dtype=torch.bool)
        if LABELS in seen:
            other = outputs[LABELS] != seen[LABELS]
            same = ~other.flatten(1).any(1)
            labels, other_labels = labels + other.numel(), other_labels + int(other.sum())
            if other.any():
                margin = _larger(margin, _margins(embedding, outputs[LABELS]))
        images, other_images = images + len(batch), other_images + int((~same).sum())
        if same.any():
            deviation = _larger(deviation, (outputs[EMBEDDING] - seen[EMBEDDING])[same])
        if VISIBILITY in seen and same.any():
            visibility = _larger(visibility, (outputs[VISIBILITY] - seen[VISIBILITY])[same])
        largest = _larger(largest, seen[EMBEDDING])
    relative = deviation / largest if largest else float("nan")
    return Parity(images, relative, labels, other_labels, other_images, margin, visibility)


def pedestrians(
    preprocessing: Preprocessing, batches: Iterable[int] = BATCHES, first: int = 0
) -> Iterator[Tensor]:
    """Yield batches of so many drawn people: noise would hardly have a body part.

    Args:
        preprocessing: of the network.
        batches: number of people in each.
        first: number of the first person.
    """
    person = first
    for size in batches:
        pictures = []
        for _ in range(size):
            shot = Shot(seed=0, stream=0, person=person, camera=person % len(CAMERAS), index=0)
            pictures.append(preprocessing(Image.fromarray(render(shot).image)))
            person += 1
        yield torch.stack(pictures)


def _larger(number: float, tensor: Tensor) -> float:
    """Return the larger of a number and a tensor's largest magnitude; NaN if either has one."""
    return torch.maximum(torch.tensor(number), tensor.abs().max()).item()


def _margins(seen: Embedding, others: Tensor) -> Tensor:
    """Return by how much the logits of the network's labels exceed those of ``others``."""
    labels, logits = seen.part_labels, seen.part_logits
    if labels is None or logits is None:
        raise ParityError("the exported network gives other part labels than the network itself")
    chosen, other = (logits.gather(1, which.unsqueeze(1)) for which in (labels, others))
    return (chosen - other) / logits.abs().max()
