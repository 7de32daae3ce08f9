"""SAN, assembled, and its variants by name.

Jin et al., "Semantics-Aligned Representation Learning for Person Re-identification", AAAI 2020.

Data flow: image -> encoder (trunk, fully connected layer) -> embedding -> classifier; in training
also encoder stages -> decoder -> texture. The texture that is to be decoded rides with the image
as six further channels, and the decoder's losses join the engine's at the graph (``LossCarrier``).
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...losses.attach import scale_gradient
from ...losses.decoder_triplet import DecoderTripletLoss
from ...losses.forward_pass import ForwardPass
from ..backbones.resnet import ResNetTrunk
from ..base import LossCarrier
from ..embedding import Inspection
from ..entry_point import entry_points
from ..layers import global_average_pool, widened
from .decoder import Decoded, TextureDecoder

LOSSES = ("softmax", "triplet")
EMBEDDING_SIZE = 512
STRIDE = 16  # of the trunk: the image's height and width must be multiples of it
RGB_CHANNELS, TEXTURE_CHANNELS = 3, 6


class SAN(LossCarrier):
    """Encoder for re-identification, and a decoder that regresses the person's texture image.

    Training takes ``(N, 9, H, W)``: RGB, then the texture ``(3, H, 2W)`` in [-1, 1] as its left
    and its right half; it returns the logits (``loss='softmax'``) or the logits and the feature
    that the triplet loss takes. ``L_reconstruction + L_constraints`` are attached to them, or left
    to the optimizer ``san_adam`` (``separate_reconstruction``). Evaluation takes ``(N, 3, H, W)``,
    returns the embedding ``(N, 512)`` and never runs the decoder.

    Args:
        num_classes: number of training identities.
        loss: ``softmax`` or ``triplet`` (the paper's).
        trunk: name of a torchvision ResNet.
        pretrained: ImageNet weights for the trunk.
        decoder_widths: see ``TextureDecoder``; None leaves the decoder out: the encoder alone,
            which is torchreid's ``resnet50_fc512`` with a last stride of 1.
        constraints: the triplet constraints on the decoder's maps.
        identity: the engine's own losses. False, for SAN-PG (``san_pg``), takes their gradients
            away: the texture alone is learnt.
        reconstruction_lr: learning rate of ``optim.SANAdam`` for the attached losses; the default
            is the released code's, for some 37,000 steps.
        reconstruction_weight, constraint_weight: of the two attached losses. The released code's
            are 1, for optimizers of their own (see ``optim.SANAdam``).
        precision: see ``LossCarrier``.

    Attributes:
        embedding_size: 512.
        loss_log, injected_loss_scale: see ``LossCarrier``; the terms are ``loss_l1`` and
            ``loss_constraints``.
        reconstruction_gradients: of the last training batch, for each of
            ``reconstruction_parameters``; only after ``separate_reconstruction``.

    Raises:
        ValueError: for an unknown loss, and in ``forward`` for input of the wrong shape or with
            values outside the range of textures.
        RuntimeError: if the ImageNet weights cannot be had.
    """

    def __init__(
        self,
        num_classes: int,
        loss: str = "softmax",
        *,
        trunk: str = "resnet50",
        pretrained: bool = True,
        decoder_widths: tuple[int, ...] | None = (512, 256, 64, 32, 16),
        constraints: bool = True,
        identity: bool = True,
        reconstruction_lr: float = 1e-5,
        reconstruction_weight: float = 1.0,
        constraint_weight: float = 1.0,
        precision: str = "float32",
    ) -> None:
        super().__init__(precision)
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}.")
        if loss not in LOSSES:
            raise ValueError(f"Unknown loss {loss!r}: SAN knows {', '.join(LOSSES)}.")
        self.loss = loss
        self.identity = identity
        self.reconstruction_lr = reconstruction_lr
        self.reconstruction_weight = reconstruction_weight
        self.constraint_weight = constraint_weight
        self.reconstruction_gradients: list[Tensor] | None = None
        self._separate = False
        self.trunk = ResNetTrunk(trunk, pretrained)
        linear = nn.Linear(self.trunk.channels[3], EMBEDDING_SIZE)
        self.fc = nn.Sequential(linear, nn.BatchNorm1d(EMBEDDING_SIZE), nn.ReLU())
        self.classifier = nn.Linear(EMBEDDING_SIZE, num_classes)
        for layer in (linear, self.classifier):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)
        self.decoder = (
            TextureDecoder(self.trunk.channels, decoder_widths) if decoder_widths else None
        )
        self.constraints = DecoderTripletLoss() if constraints and decoder_widths else None
        self.embedding_size = EMBEDDING_SIZE
        self.to(memory_format=torch.channels_last)

    # ------------------------------------------------------------------ inference

    def forward(self, images: Tensor, return_featuremaps: bool = False) -> Any:
        """See the class; ``return_featuremaps`` gives stage 4 of the trunk, ``(N, C, h, w)``."""
        rgb, texture = self._split_input(images)
        if return_featuremaps:
            return self.trunk(rgb)[-1]
        if self.training:
            return self._train_forward(rgb, texture)
        return self._embed(self._encode(rgb)[-1])

    def inspect(self, images: Tensor) -> Inspection:
        """The embedding of ``(N, 3, H, W)`` and the feature map that is pooled for it.

        Raises:
            ValueError: in training mode, or for input of a wrong shape.
        """
        stage4 = self._stages(images)[-1]
        return Inspection({"global": self._embed(stage4)}, {"global": stage4}, None, None, None)

    def decode(self, images: Tensor) -> Decoded:
        """The texture that is seen in ``(N, 3, H, W)``.

        Raises:
            ValueError: in training mode, without a decoder, or for input of a wrong shape.
        """
        stages = self._stages(images)
        if self.decoder is None:
            raise ValueError("This variant has no decoder and sees no textures.")
        return self._decode(self.decoder, stages)

    def _stages(self, images: Tensor) -> tuple[Tensor, ...]:
        if self.training:
            raise ValueError("inspect and decode are for evaluation: call model.eval() first.")
        return self._encode(self._split_input(images)[0])

    def _encode(self, rgb: Tensor) -> tuple[Tensor, ...]:
        with self.mixed_precision(rgb.device.type):
            return self.compiled(_call)(self.trunk, rgb)

    def _decode(self, decoder: TextureDecoder, stages: tuple[Tensor, ...]) -> Decoded:
        with self.mixed_precision(stages[0].device.type):
            texture, maps = self.compiled(_call)(decoder, stages)
        first, second, third, fourth = map(widened, maps)
        return Decoded(widened(texture), (first, second, third, fourth))

    def _embed(self, stage4: Tensor) -> Tensor:
        return self.fc(global_average_pool(stage4))

    # ------------------------------------------------------------------ training

    def reconstruction_parameters(self) -> list[nn.Parameter]:
        """The parameters that the reconstruction reaches: those of the trunk and the decoder."""
        decoder = [] if self.decoder is None else list(self.decoder.parameters())
        return [*self.trunk.parameters(), *decoder]

    def separate_reconstruction(self) -> None:
        """Keeps the reconstruction's gradients apart, in ``reconstruction_gradients``.

        They are taken in each training forward pass, and the losses are no longer attached.
        """
        self._separate = True

    def _train_forward(self, rgb: Tensor, texture: Tensor | None) -> Any:
        forward_pass = self.enter_forward_pass(len(rgb))
        stages = self._encode(rgb)
        feature = self._embed(stages[3])
        outputs = [self.classifier(feature)]
        if self.loss == "triplet":
            outputs.append(feature)
        if not self.identity:
            outputs = [scale_gradient(output, 0.0) for output in outputs]
        if self.decoder is not None and texture is not None:
            outputs = self._attach_reconstruction(
                outputs, self._decode(self.decoder, stages), texture, forward_pass
            )
        return outputs[0] if self.loss == "softmax" else tuple(outputs)

    def _attach_reconstruction(
        self, outputs: list[Tensor], decoded: Decoded, texture: Tensor, forward_pass: ForwardPass
    ) -> list[Tensor]:
        num_images = len(texture)
        terms = {"loss_l1": F.l1_loss(decoded.texture, texture)}
        # A mean over the images is shared among replicas; the constraints are a sum.
        shares: dict[str, Callable[[], float]] = {"loss_l1": lambda: forward_pass.share(num_images)}
        weighted = {"loss_l1": self.reconstruction_weight * terms["loss_l1"]}
        if self.constraints is not None:
            terms["loss_constraints"] = self.constraints(decoded.maps)
            weighted["loss_constraints"] = self.constraint_weight * terms["loss_constraints"]
            shares["loss_constraints"] = lambda: 1.0
        forward_pass.record(num_images, terms)
        if self._separate:
            self._keep_gradients(torch.stack(list(weighted.values())).sum())
            return outputs
        for name, loss in weighted.items():
            outputs = self.attach(loss, outputs, shares[name])
        return outputs

    def _keep_gradients(self, loss: Tensor) -> None:
        if self.is_replica:
            raise ValueError(
                "The optimizer 'san_adam' takes gradients of one copy of the model, and "
                "nn.DataParallel made several: train on one GPU (gpu_devices '0'), or take the "
                "optimizer 'amsgrad'."
            )
        if not torch.is_grad_enabled():
            return
        parameters = self.reconstruction_parameters()
        if not all(parameter.requires_grad for parameter in parameters):
            raise ValueError(
                "The optimizer 'san_adam' steps the whole trunk and decoder, and some of their "
                "parameters are frozen: set train.fixbase_epoch 0, or take another optimizer."
            )
        self.reconstruction_gradients = list(
            torch.autograd.grad(loss, parameters, retain_graph=True)
        )

    def _split_input(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """RGB ``(N, 3, H, W)`` and, where training needs it, texture ``(N, 3, H, 2W)``."""
        both = RGB_CHANNELS + TEXTURE_CHANNELS
        needs_texture = self.training and self.decoder is not None
        allowed = (both,) if needs_texture else (RGB_CHANNELS, both)[: 1 + self.training]
        if images.dim() != 4 or images.shape[1] not in allowed:
            expected = " or ".join(f"(N, {channels}, H, W)" for channels in allowed)
            hint = (
                ", RGB and texture: take a dataset whose name ends in '_textures' as the source "
                "(data.sources ['market1501_textures'])"
                if needs_texture
                else ""
            )
            mode = "Training" if self.training else "Evaluation"
            raise ValueError(
                f"{mode} of this SAN needs a batch {expected}{hint}, got {tuple(images.shape)}."
            )
        height, width = images.shape[2:]
        if height % STRIDE or width % STRIDE or not height or not width:
            raise ValueError(
                f"SAN needs a height and width divisible by {STRIDE}, got {height}x{width}: set "
                "data.height and data.width (the released code takes 256 and 128)."
            )
        rgb = images[:, :RGB_CHANNELS]
        if not needs_texture:
            return rgb, None
        left, right = images[:, RGB_CHANNELS:].split(TEXTURE_CHANNELS // 2, 1)
        texture = torch.cat([left, right], 3)
        # On a device the check waits for it: the first batches stand for all.
        checked = images.device.type == "cpu" or self.loss_log.is_beginning
        if checked and texture.abs().max() > 1:
            raise ValueError(
                "The last six channels of a training batch must hold a texture in [-1, 1], found "
                f"{texture.abs().max():g}: feed images through a '*_textures' dataset."
            )
        return rgb, texture


def _call(module: nn.Module, given: Any) -> Any:
    return module(given)


# For small machines: half the decoder's widths, and a rate for some hundred steps.
_R18 = {"decoder_widths": (256, 128, 32, 16, 8), "reconstruction_lr": 2e-4}
_TRUNKS: dict[str, dict[str, Any]] = {
    "san": {"trunk": "resnet50"},
    "san_r18": {"trunk": "resnet18", **_R18},
}
NETWORKS = tuple(_TRUNKS)  # names of the whole network
_VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    # the rows of the paper's ablation
    "_encoder": {"decoder_widths": None},
    "_reconstruction": {"constraints": False},
    # the generator of textures: the reconstruction alone
    "_pg": {"constraints": False, "identity": False},
}


SAN_MODELS = entry_points(
    SAN,
    {
        name + suffix: {**trunk, **options}
        for name, trunk in _TRUNKS.items()
        for suffix, options in _VARIANTS.items()
    },
)
"""Model name -> function with the signature of torchreid's model zoo."""
