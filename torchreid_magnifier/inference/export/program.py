"""What is exported of a network: the graph from images to embeddings and part labels."""

import copy

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from ...models import ReIDModel
from ..network import Preprocessing

INPUT = "images"
EMBEDDING, LABELS = "embedding", "labels"


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
        """Images to embeddings, and to part labels where there is a mask module.

        Args:
            images: ``(N, 3, H, W)``, normalised.

        Returns:
            ``embedding`` ``(N, D)`` and, with a mask module, ``labels`` ``(N, H/8, W/8)``, 0..7.
        """
        seen = self.model.inspect(images)
        outputs = {EMBEDDING: seen.vector}
        if seen.part_labels is not None:
            outputs[LABELS] = seen.part_labels
        return outputs


def trace(model: ReIDModel, preprocessing: Preprocessing) -> ExportedProgram:
    """The graph of a network on the CPU, for any number of images of the size it was trained on."""
    example = torch.zeros(2, 3, preprocessing.height, preprocessing.width)
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


@torch.no_grad()
def _keep_only_what_runs(module: nn.Module, example: Tensor) -> None:
    """Removes the submodules that ``module(example)`` does not call."""
    called: set[nn.Module] = set()
    hooks = [
        part.register_forward_pre_hook(lambda part, _: called.add(part))
        for part in module.modules()
    ]
    module(example)
    for hook in hooks:
        hook.remove()

    def prune(part: nn.Module) -> None:
        for name, child in list(part.named_children()):
            if called.isdisjoint(child.modules()):
                setattr(part, name, None)
            else:
                prune(child)

    prune(module)
