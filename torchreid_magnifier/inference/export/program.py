"""The graph that is exported of a network: from images to embeddings and part labels."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.overrides import TorchFunctionMode

from ...hub.card import Card
from ...models import Embedding, ReIDModel

INPUT, PICTURES = "images", "pictures"
EMBEDDING, LABELS, VISIBILITY = "embedding", "labels", "visibility"


def outputs_of(embedding: Embedding) -> dict[str, Tensor]:
    """Return what an exported network gives, by name, of what the network itself gives.

    Returns:
        ``embedding`` ``(N, D)`` and, of a network with body parts, ``labels`` ``(N, h, w)``, int64,
        and ``visibility`` ``(N, K)``, the share of the picture that each part takes.
    """
    outputs = {EMBEDDING: embedding.vector}
    if embedding.part_labels is not None:
        outputs[LABELS] = embedding.part_labels
    if embedding.visibility is not None:
        outputs[VISIBILITY] = embedding.visibility
    return outputs


def output_names(card: Card) -> tuple[str, ...]:
    """Return the names of what an exported network gives, in this order."""
    return (EMBEDDING, LABELS, VISIBILITY) if card.parts else (EMBEDDING,)


def to_pictures(images: Tensor, card: Card) -> Tensor:
    """Return the uint8 pictures (N, H, W, 3) that normalised images (N, 3, H, W) were made of."""
    std, mean = (torch.tensor(values).view(3, 1, 1) for values in (card.std, card.mean))
    return (255 * (images * std + mean)).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


class InferenceGraph(nn.Module):
    """A copy of a network without what only training needs: classifiers, SAN's decoder, ….

    Args:
        model: on the CPU, in evaluation mode; it stays as it is.
        example: images ``(N, 3, H, W)``, of any values.
    """

    def __init__(self, model: ReIDModel, example: Tensor) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.model.precision = "float32"
        _keep_only_what_runs(self, example)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the outputs, as ``outputs_of``, of normalised images ``(N, 3, H, W)``."""
        return outputs_of(self.model.inspect(images))


def trace(model: ReIDModel, height: int, width: int) -> ExportedProgram:
    """Return the graph of a network on the CPU, for any number of images of this size."""
    example = torch.zeros(2, 3, height, width)
    with torch.no_grad():
        program = torch.export.export(
            InferenceGraph(model, example),
            (example,),
            dynamic_shapes={INPUT: {0: Dim("batch", min=1)}},
            strict=False,
        )
    for node in program.graph.nodes:  # paths of this machine
        node.meta.pop("stack_trace", None)
    return program


class _Used(TorchFunctionMode):
    """Records the tensors that torch's functions are given."""

    def __init__(self) -> None:
        super().__init__()
        self._ids: set[int] = set()

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self._record((*args, *(kwargs or {}).values()))
        return function(*args, **(kwargs or {}))

    def _record(self, given: Any) -> None:
        for value in given:
            if isinstance(value, Tensor):
                self._ids.add(id(value))
            elif isinstance(value, (list, tuple)):
                self._record(value)

    def __contains__(self, tensor: Tensor) -> bool:
        return id(tensor) in self._ids


@torch.no_grad()
def _keep_only_what_runs(module: nn.Module, example: Tensor) -> None:
    """Remove the submodules whose weights ``module(example)`` does not use."""
    with _Used() as used:
        module(example)

    def prune(part: nn.Module) -> None:
        for name, child in list(part.named_children()):
            tensors = [*child.parameters(), *child.buffers()]
            if tensors and not any(tensor in used for tensor in tensors):
                setattr(part, name, None)
            else:
                prune(child)

    prune(module)
