"""A model of one's own: six horizontal stripes, as in PCB (Sun et al., 2018)."""

import torch
from orthogonality import OrthogonalityLoss
from slim import Slim  # registers the backbone
from torch import Tensor, nn

from torchreid_magnifier import register_model
from torchreid_magnifier.models.backbones import build_backbone
from torchreid_magnifier.models.base import Embedding, ReIDModel, TrainOutput

NUM_STRIPES = 6


class Stripes(ReIDModel):
    """A classifier for each stripe; all stripes together are the embedding."""

    branches = tuple(f"stripe{number}" for number in range(NUM_STRIPES))

    def __init__(
        self,
        num_classes: int,
        loss: str = "softmax",
        *,
        backbone: str = "slim",
        pretrained: bool = False,
        orthogonality_weight: float = 0.5,
        **options: str,
    ) -> None:
        super().__init__(num_classes, loss, **options)
        self.backbone = build_backbone(backbone, pretrained=pretrained)
        width = self.backbone.channels[-1]
        self.stride = max(self.backbone.strides)
        self.embedding_size = NUM_STRIPES * width
        self.orthogonality_weight = orthogonality_weight
        self.orthogonality = OrthogonalityLoss()
        self.classifier = nn.ModuleDict(
            {branch: nn.Linear(width, num_classes) for branch in self.branches}
        )

    def pooled(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last feature map and the stripes' features ``(N, 6, C)``."""
        last = self.backbone(images)[-1]
        stripes = last.tensor_split(NUM_STRIPES, dim=2)
        return last, torch.stack([stripe.mean((2, 3)) for stripe in stripes], 1)

    def forward_train(self, images: Tensor, extra: None) -> TrainOutput:
        _, features = self.pooled(images)
        by_branch = dict(zip(self.branches, features.unbind(1)))
        return TrainOutput(
            logits={branch: self.classifier[branch](f) for branch, f in by_branch.items()},
            features={"all": features.flatten(1)},
            losses={
                "loss_orthogonality": (self.orthogonality_weight, self.orthogonality(features))
            },
        )

    def embed(self, images: Tensor) -> Embedding:
        last, features = self.pooled(images)
        width = features.shape[2]
        return Embedding(
            vector=features.flatten(1),
            branches={
                branch: slice(number * width, (number + 1) * width)
                for number, branch in enumerate(self.branches)
            },
            maps=dict.fromkeys(self.branches, last),
        )


register_model("stripes", Stripes)

__all__ = ["Slim", "Stripes"]
