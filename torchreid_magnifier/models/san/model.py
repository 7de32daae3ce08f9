"""SAN, assembled, and its variants by name.

Jin et al., "Semantics-Aligned Representation Learning for Person Re-identification", AAAI 2020.

Data flow: image -> encoder (backbone, fully connected layer) -> embedding -> classifier; in
training also encoder stages -> decoder -> texture. The texture that is to be decoded rides with
the image as six further channels.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...losses.decoder_triplet import NUM_INSTANCES, DecoderTripletLoss
from ...losses.forward_pass import BatchSum
from ...losses.precision import widened
from ..backbones import build_backbone
from ..base import Embedding, ReIDModel, TrainOutput
from ..layers import global_average_pool
from .decoder import Decoded, TextureDecoder

EMBEDDING_SIZE = 512


class SAN(ReIDModel):
    """Encoder for re-identification, and a decoder that regresses the person's texture image.

    Training takes the texture ``(3, H, 2W)`` in [-1, 1] beside the image, as its left and its
    right half. ``L_reconstruction + L_constraints`` are attached to the heads, or left to the
    optimizer ``san_adam``. In evaluation the decoder never runs.

    Args:
        num_classes: number of training identities.
        loss: ``softmax`` or ``triplet`` (the paper's).
        backbone: a name of ``build_backbone`` with four stages, such as a ResNet.
        pretrained: the backbone's ImageNet weights.
        decoder_widths: see ``TextureDecoder``; None leaves the decoder out: the encoder alone,
            which is torchreid's ``resnet50_fc512`` with a last stride of 1.
        constraints: the triplet constraints on the decoder's maps.
        identity: the engine's own losses. False, for SAN-PG (``san_pg``), takes their gradients
            away: the texture alone is learnt.
        separate_lr: learning rate of ``san_adam`` for the attached losses; the default is the
            reference implementation's, for some 37,000 steps.
        reconstruction_weight, constraint_weight: of the two attached losses. The reference
            implementation's are 1, for optimizers of their own (see ``SANAdam``).
        options: of ``ReIDModel``.

    Attributes:
        loss_log: see ``ReIDModel``; the terms are ``loss_l1`` and ``loss_constraints``.

    Raises:
        RuntimeError: if the ImageNet weights cannot be had.
    """

    def __init__(
        self,
        num_classes: int,
        loss: str = "softmax",
        *,
        backbone: str = "resnet50",
        pretrained: bool = True,
        decoder_widths: tuple[int, ...] | None = (512, 256, 64, 32, 16),
        constraints: bool = True,
        identity: bool = True,
        separate_lr: float = 1e-5,
        reconstruction_weight: float = 1.0,
        constraint_weight: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(num_classes, loss, **options)
        self.identity = identity
        self.separate_lr = separate_lr if identity else None
        self.reconstruction_weight = reconstruction_weight
        self.constraint_weight = constraint_weight
        encoder: Any = build_backbone(backbone, pretrained=pretrained)
        self.backbone = encoder
        linear = nn.Linear(encoder.channels[3], EMBEDDING_SIZE)
        self.fc = nn.Sequential(linear, nn.BatchNorm1d(EMBEDDING_SIZE), nn.ReLU())
        self.classifier = nn.Linear(EMBEDDING_SIZE, num_classes)
        for layer in (linear, self.classifier):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)
        self.decoder = None
        if decoder_widths:
            self.decoder = TextureDecoder(encoder.channels, decoder_widths)
        self.constraints = DecoderTripletLoss() if constraints and decoder_widths else None
        self.embedding_size = EMBEDDING_SIZE
        self.stride = max(encoder.strides)
        self.needs = "textures" if self.decoder else None
        self.decodes_textures = self.decoder is not None
        self.num_instances = NUM_INSTANCES if self.constraints else None
        self.to(memory_format=torch.channels_last)

    def embed(self, images: Tensor) -> Embedding:
        """Compute the embedding and the feature map that is pooled for it."""
        stage4 = self.backbone(images)[-1]
        with self.full_precision(images.device.type):
            return Embedding(self._encode(stage4), maps={"global": stage4})

    @torch.no_grad()
    def decode(self, images: Tensor) -> Decoded:
        """Return the texture that is seen in ``(N, 3, H, W)``.

        Raises:
            ValueError: in training mode, without a decoder, or for input of a wrong shape.
        """
        if self.training:
            raise ValueError("decode is for evaluation: call model.eval() first.")
        if self.decoder is None:
            raise ValueError("This variant has no decoder and sees no textures.")
        rgb, _ = self._split_input(images)
        with self.mixed_precision(images.device.type):
            return self._decode(self.decoder, self.backbone(rgb))

    def forward_train(self, images: Tensor, extra: Tensor | None) -> TrainOutput:
        """Compute a training step: identities, and the reconstruction of the texture.

        Args:
            images: ``(N, 3, H, W)``.
            extra: texture ``(N, 3, H, 2W)`` in [-1, 1]; None without a decoder.
        """
        stages = self.backbone(images)
        decoded = None
        if self.decoder is not None and extra is not None:
            decoded = self._decode(self.decoder, stages)
        with self.full_precision(images.device.type):
            feature = self._encode(stages[3])
            logits = self.classifier(feature)
            found = TrainOutput({"global": logits}, {"global": feature}, {}, {}, {}, {})
            found.embeddings["global"] = feature
            if not self.identity:
                found.weights["global"] = 0.0
                found.features["global"] = feature.detach()
            if decoded is None or extra is None:
                return found
            l1 = F.l1_loss(decoded.texture, extra)
            found.losses["loss_l1"] = (self.reconstruction_weight, l1)
            if self.constraints is not None:
                total = BatchSum(self.constraints(decoded.maps))
                found.losses["loss_constraints"] = (self.constraint_weight, total)
            return found

    def _encode(self, stage4: Tensor) -> Tensor:
        return self.fc(global_average_pool(stage4))

    def _decode(self, decoder: TextureDecoder, stages: tuple[Tensor, ...]) -> Decoded:
        texture, maps = decoder(stages)
        first, second, third, fourth = map(widened, maps)
        return Decoded(widened(texture), (first, second, third, fourth))


# For small machines: half the decoder's widths, and a rate for some hundred steps.
_R18 = {"decoder_widths": (256, 128, 32, 16, 8), "separate_lr": 2e-4}
_BACKBONES: dict[str, dict[str, Any]] = {
    "san": {"backbone": "resnet50"},
    "san_r18": {"backbone": "resnet18", **_R18},
}
NETWORKS = tuple(_BACKBONES)  # names of the whole network
_ROWS: dict[str, dict[str, Any]] = {
    "": {},
    # the rows of the paper's ablation
    "_encoder": {"decoder_widths": None},
    "_reconstruction": {"constraints": False},
    # the generator of textures: the reconstruction alone
    "_pg": {"constraints": False, "identity": False},
}
VARIANTS: dict[str, dict[str, Any]] = {
    name + suffix: {**backbone, **row}
    for name, backbone in _BACKBONES.items()
    for suffix, row in _ROWS.items()
}
"""Name -> options of ``SAN``."""
