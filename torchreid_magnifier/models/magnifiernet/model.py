"""MagnifierNet, assembled, and its variants by name.

Lan, Liu et al., "MagnifierNet: Towards Semantic Adversary and Fusion for Person
Re-identification", BMVC 2020 (first version: "Semantic Regularization and Fusion").

Data flow: image -> trunk -> mask module -> region maps -> branches -> heads. In training the label
map rides with the image as a fourth channel, and the mask and SD losses join the engine's losses
at the graph (``losses.attach``).
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...losses.attach import scale_gradient
from ...losses.metrics import mean_iou
from ...losses.part_segmentation import PartSegmentationLoss
from ...losses.semantic_diversity import SemanticDiversityLoss
from ...parts import NUM_PARTS, PARTS
from ..backbones.resnet import ResNetTrunk
from ..base import LossCarrier
from ..embedding import Inspection
from ..entry_point import entry_points
from ..layers import classifier, widened
from ..regions import SCALINGS, region_maps, region_shares, selection, shrink_labels
from .global_branch import GlobalBranch
from .mask_module import MaskModule
from .semantic_adversarial import RegionSampler, SemanticAdversarialBranch
from .semantic_fusion import SemanticFusionBranch

LOSSES = ("softmax", "triplet", "triplet_sd")
STRIDE = 16  # of the trunk: the image's height and width must be multiples of it


class MagnifierNet(LossCarrier):
    """Global branch, mask module, Semantic Adversarial and Semantic Fusion Branch on one trunk.

    Training takes ``(N, 4, H, W)``: RGB and, as floats, the part labels 0..7 of each pixel; it
    returns the list of logits (``loss='softmax'``) or the lists of logits and of features before
    the BNNecks. Their gradients are scaled so that torchreid's *mean* over a list becomes the sum
    of Eq. 4, and ``mask_weight * L_mask + sd_weight * L_SD`` is attached to them.
    Evaluation takes ``(N, 3, H, W)`` and returns the embedding ``(N, D)``, all branches
    concatenated; the regions are those that the mask module predicts.

    Args:
        num_classes: number of training identities.
        loss: ``softmax``, ``triplet`` (the paper's first stage) or ``triplet_sd`` (its second).
        trunk: name of a torchvision ResNet.
        pretrained: ImageNet weights for the trunk.
        mask: mask module. The branches below need it.
        adversarial: Semantic Adversarial Branch.
        fusion: how the Semantic Fusion Branch fuses regions: ``gru`` (the paper), ``concat`` (its
            ablation branch), ``lstm`` (the released code) or ``mean``; ``None`` leaves the branch
            out.
        sampling: regions that SAB keeps: ``torso`` or ``baseline`` (paper section 3.2).
        num_kept_regions: how many of the seven regions it keeps, the paper's K-hat.
        mask_weight: lambda of Eq. 4.
        sd_weight: gamma of Eq. 4.
        region_weight: weight of each region's cross-entropy in SFB, times the sigmoid of the
            region's share of the pixels. The paper gives none; the value is the released code's.
        region_scaling: how binary maps of regions shrink to the trunk's stage 3: ``bilinear``
            (Eq. 1) or ``nearest``.
        adversarial_triplet: triplet loss on SAB, beside its cross-entropy.
        adversarial_share_weight: weigh SAB's cross-entropy by the sigmoid of the share of the
            pixels that were kept.
        sd_positive_only: see ``SemanticDiversityLoss``.
        stem_relu: the ReLU of the trunk's stem.
        biases: biases of the classifiers, and shifts of the BNNecks that are not trained.
        mask_init_std: see ``MaskModule``.
        precision: see ``LossCarrier``.

    Those from ``region_scaling`` to ``mask_init_std`` have the paper's values, or where it is
    silent common ones, as defaults; ``magnifiernet_official`` has those of the released code.

    Attributes:
        embedding_size: D.
        loss_log, injected_loss_scale: see ``LossCarrier``; the terms are ``loss_mask``,
            ``mask_miou`` and, in stage 2, ``loss_sd``.

    Raises:
        ValueError: for arguments that do not go together, and in ``forward`` for input of the
            wrong shape or with wrong labels.
        RuntimeError: if the ImageNet weights cannot be had.
    """

    def __init__(
        self,
        num_classes: int,
        loss: str = "softmax",
        *,
        trunk: str = "resnet50",
        pretrained: bool = True,
        mask: bool = True,
        adversarial: bool = True,
        fusion: str | None = "gru",
        sampling: str = "torso",
        num_kept_regions: int = 4,
        mask_weight: float = 2.0,
        sd_weight: float = 2e-3,
        region_weight: float = 0.0125,
        region_scaling: str = "bilinear",
        adversarial_triplet: bool = True,
        adversarial_share_weight: bool = False,
        sd_positive_only: bool = False,
        stem_relu: bool = True,
        biases: bool = False,
        mask_init_std: float | None = None,
        precision: str = "float32",
    ) -> None:
        super().__init__(precision)
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}.")
        if loss not in LOSSES:
            raise ValueError(f"Unknown loss {loss!r}: MagnifierNet knows {', '.join(LOSSES)}.")
        if loss == "triplet_sd" and fusion is None:
            raise ValueError(
                "loss 'triplet_sd' needs the region features of the Semantic Fusion Branch, which "
                "this variant does not have: take loss 'triplet', or a variant with the branch."
            )
        if (adversarial or fusion) and not mask:
            raise ValueError("SAB and SFB need the mask module: pass mask=True.")
        if region_scaling not in SCALINGS:
            raise ValueError(
                f"Unknown region_scaling {region_scaling!r}: expected one of {list(SCALINGS)}."
            )
        self.loss = loss
        self.mask_weight = mask_weight
        self.sd_weight = sd_weight
        self.region_weight = region_weight
        self.region_scaling = region_scaling
        self.adversarial_triplet = adversarial_triplet
        self.adversarial_share_weight = adversarial_share_weight
        self.sampler = RegionSampler(sampling, num_kept_regions)
        self.mask_loss = PartSegmentationLoss()
        self.sd_loss = SemanticDiversityLoss(positive_only=sd_positive_only)

        self.trunk = ResNetTrunk(trunk, pretrained, stem_relu)
        *_, width3, width4 = self.trunk.channels
        self.global_branch = GlobalBranch(width4, biases)
        self.mask_module = MaskModule(width4, mask_init_std) if mask else None
        self.adversarial_branch = SemanticAdversarialBranch(width3, biases) if adversarial else None
        self.fusion_branch = SemanticFusionBranch(width3, fusion, biases) if fusion else None
        head_widths = {"global": width4}
        if adversarial:
            head_widths["adversarial"] = width3
        if fusion:
            head_widths["fusion"] = width3
        self.embedding_size = sum(head_widths.values())
        if fusion:
            head_widths |= {f"region_{part}": width3 for part in PARTS}
        # One child named `classifier`, so that torchreid's `train.open_layers` finds it.
        self.classifier = nn.ModuleDict(
            {head: classifier(width, num_classes, biases) for head, width in head_widths.items()}
        )
        # Convolutions run faster with the channels innermost, on the CPU and on GPUs; the trunk's
        # first one passes the layout on.
        self.to(memory_format=torch.channels_last)

    # ------------------------------------------------------------------ inference

    def forward(self, images: Tensor, return_featuremaps: bool = False) -> Any:
        """See the class; ``return_featuremaps`` gives stage 4 of the trunk, ``(N, C, h, w)``."""
        rgb, labels = self._split_input(images)
        if return_featuremaps:
            return self.trunk(rgb)[-1]
        if self.training:
            return self._train_forward(rgb, labels)
        return self.compiled(MagnifierNet._inspect)(self, rgb, with_labels=False).embedding

    def inspect(self, images: Tensor) -> Inspection:
        """Everything that ``(N, 3, H, W)`` gives rise to on the way to the embedding.

        Raises:
            ValueError: in training mode, or for input of a wrong shape.
        """
        if self.training:
            raise ValueError("inspect is for evaluation: call model.eval() first.")
        return self._inspect(self._split_input(images)[0], with_labels=True)

    def _inspect(self, rgb: Tensor, with_labels: bool) -> Inspection:
        """``with_labels``: predict them even if no branch needs them."""
        seen = self._convolve(rgb, with_logits=with_labels or self.fusion_branch is not None)
        embeddings = {"global": self.global_branch(seen.stage4)[1]}
        activations = {"global": seen.stage4}
        labels = maps = regions = None
        if seen.part_logits is not None:
            labels = seen.part_logits.argmax(1)
        if self.adversarial_branch is not None and seen.adversarial is not None:
            embeddings["adversarial"] = self.adversarial_branch(seen.adversarial)[1]
            activations["adversarial"] = seen.adversarial
        if self.fusion_branch is not None and seen.fusion is not None:
            assert labels is not None  # the branch comes with a mask module
            maps = self._region_maps(labels, seen.fusion)
            _, embeddings["fusion"], regions = self.fusion_branch(seen.fusion, maps)
            activations["fusion"] = seen.fusion
        return Inspection(embeddings, activations, labels, maps, regions)

    def _convolve(self, rgb: Tensor, with_logits: bool) -> "_FeatureMaps":
        """What takes the time: all that convolves, in the precision that was asked for."""
        adversarial = fusion = logits = None
        with self.mixed_precision(rgb.device.type):
            *_, stage3, stage4 = self.trunk(rgb)
            if self.adversarial_branch is not None:
                adversarial = self.adversarial_branch.bottleneck(stage3)
            if self.fusion_branch is not None:
                fusion = self.fusion_branch.bottleneck(stage3)
            if self.mask_module is not None and with_logits:
                logits = self.mask_module(stage4)
        return _FeatureMaps(
            stage4, adversarial, fusion, None if logits is None else widened(logits)
        )

    def _region_maps(self, labels: Tensor, features: Tensor) -> Tensor:
        height, width = features.shape[2:]
        dtype = torch.promote_types(features.dtype, torch.float32)
        return region_maps(labels, (height, width), dtype, self.region_scaling)

    # ------------------------------------------------------------------ training

    def _train_forward(self, rgb: Tensor, labels: Tensor | None) -> Any:
        forward_pass = self.enter_forward_pass(len(rgb))
        kept = None
        if self.adversarial_branch is not None:
            kept = selection(forward_pass.kept_regions(self.sampler.sample), rgb)
        found = self.compiled(MagnifierNet._learn)(self, rgb, labels, kept)
        outputs = [
            scale_gradient(logits, found.weights.get(head, 1.0) * len(found.logits))
            for head, logits in found.logits.items()
        ]
        heads = [
            scale_gradient(feature, len(found.features)) for feature in found.features.values()
        ]
        if found.attached:
            num_images = len(rgb)
            carriers = self.attach(
                torch.stack(found.attached).sum(),
                outputs if self.loss == "softmax" else outputs + heads,
                share=lambda: forward_pass.share(num_images),
            )
            outputs, heads = carriers[: len(outputs)], carriers[len(outputs) :]
            forward_pass.record(num_images, found.terms)
        return outputs if self.loss == "softmax" else (outputs, heads)

    def _learn(self, rgb: Tensor, labels: Tensor | None, kept: Tensor | None) -> "_Learned":
        """What a training step computes of the images and labels, and of SAB's ``selection``."""
        seen = self._convolve(rgb, with_logits=labels is not None)
        features, embeddings = {}, {}
        weights: dict[str, Tensor] = {}
        terms: dict[str, Tensor] = {}
        attached: list[Tensor] = []

        features["global"], embeddings["global"] = self.global_branch(seen.stage4)
        if seen.part_logits is not None and labels is not None:
            height, width = seen.part_logits.shape[2:]
            target = shrink_labels(labels, (height, width))
            terms["loss_mask"] = self.mask_loss(seen.part_logits, target)
            terms["mask_miou"] = mean_iou(seen.part_logits.detach().argmax(1), target)
            attached.append(self.mask_weight * terms["loss_mask"])
            maps = self._region_maps(target, seen.stage4)
            shares = region_shares(maps)
        if self.adversarial_branch is not None and kept is not None:
            erased, embeddings["adversarial"] = self.adversarial_branch(
                seen.adversarial, maps, kept
            )
            if self.adversarial_triplet:
                features["adversarial"] = erased
            if self.adversarial_share_weight:
                weights["adversarial"] = torch.sigmoid((shares * kept).sum())
        if self.fusion_branch is not None:
            fused = self.fusion_branch(seen.fusion, maps)
            features["fusion"], embeddings["fusion"], regions = fused
            for part, share, embedding in zip(
                PARTS, torch.sigmoid(shares), self.fusion_branch.region_embeddings(regions)
            ):
                embeddings[f"region_{part}"] = embedding
                weights[f"region_{part}"] = self.region_weight * share
            if self.loss == "triplet_sd":
                terms["loss_sd"] = self.sd_loss(regions)
                attached.append(self.sd_weight * terms["loss_sd"])
        logits = {head: self.classifier[head](value) for head, value in embeddings.items()}
        return _Learned(logits, features, weights, terms, attached)

    def _split_input(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """RGB ``(N, 3, H, W)`` and, where training needs them, labels ``(N, H, W)``, checked."""
        needs_labels = self.training and self.mask_module is not None
        allowed = (4,) if needs_labels else (3, 4) if self.training else (3,)
        if images.dim() != 4 or images.shape[1] not in allowed:
            raise ValueError(_shape_error(tuple(images.shape), needs_labels, self.training))
        height, width = images.shape[2:]
        if height % STRIDE or width % STRIDE or not height or not width:
            raise ValueError(
                f"MagnifierNet needs a height and width divisible by {STRIDE}, got "
                f"{height}x{width}: set data.height and data.width (the paper takes 384 and 192)."
            )
        if not needs_labels:
            return images[:, :3], None
        labels = images[:, 3]
        # On a device the check waits for it: the first batches stand for all (the datasets check
        # every mask file before training anyway).
        if labels.device.type == "cpu" or self.loss_log.is_beginning:
            valid = (labels >= 0) & (labels < NUM_PARTS) & (labels == labels.round())
            if not valid.all():
                raise ValueError(
                    "The fourth channel of a training batch must hold the part labels "
                    f"0..{NUM_PARTS - 1} as whole numbers, found {labels[~valid][0].item():g}: "
                    "feed images through a '*_masks' dataset, which moves labels by nearest "
                    "neighbours and never normalises them."
                )
        return images[:, :3], labels.long()


class _FeatureMaps(NamedTuple):
    """What the branches pool, and what the mask module says; None without the branch.

    Attributes:
        stage4: of the trunk, for the global branch.
        adversarial, fusion: of the bottlenecks of SAB and SFB.
        part_logits: at least float32.
    """

    stage4: Tensor
    adversarial: Tensor | None
    fusion: Tensor | None
    part_logits: Tensor | None


class _Learned(NamedTuple):
    """A training step's results.

    Attributes:
        logits, features: of each head, in order; features before the BNNecks.
        weights: of the heads' cross-entropies, where they are not 1.
        terms: for the log.
        attached: the model's own losses, weighted.
    """

    logits: dict[str, Tensor]
    features: dict[str, Tensor]
    weights: dict[str, Tensor]
    terms: dict[str, Tensor]
    attached: list[Tensor]


def _shape_error(shape: tuple[int, ...], needs_labels: bool, training: bool) -> str:
    if needs_labels:
        return (
            "Training this MagnifierNet needs a batch (N, 4, H, W), RGB and part labels, got "
            f"{shape}: take a dataset whose name ends in '_masks' as the source "
            "(data.sources ['market1501_masks'])."
        )
    if training:
        return (
            "Training this MagnifierNet needs a batch (N, 3, H, W), or (N, 4, H, W) with part "
            f"labels, got {shape}."
        )
    hint = ": labels are for training only" if len(shape) == 4 and shape[1] == 4 else ""
    return f"MagnifierNet takes a batch (N, 3, H, W) in evaluation, got {shape}{hint}."


_TRUNKS = {"magnifiernet": "resnet50", "magnifiernet_r18": "resnet18"}
NETWORKS = tuple(_TRUNKS)  # names of the whole network
_VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    # the other rows of the paper's Table 2
    "_g": {"mask": False, "adversarial": False, "fusion": None},
    "_g_m": {"adversarial": False, "fusion": None},
    "_g_m_sab": {"fusion": None},
    "_g_m_sfb": {"adversarial": False},
    # the ablation branch of Fig. 4, and other ways to fuse regions
    "_ab": {"fusion": "concat"},
    "_lstm": {"fusion": "lstm"},
    "_mean": {"fusion": "mean"},
    # the points of Fig. 5; Random-torso with 4 regions is the whole network
    **{f"_torso{kept}": {"num_kept_regions": kept} for kept in (2, 6)},
    **{
        f"_baseline{kept}": {"sampling": "baseline", "num_kept_regions": kept}
        for kept in range(1, 8)
    },
    # as the released code has it
    "_official": {
        "fusion": "lstm",
        "sd_weight": 0.01,
        "region_scaling": "nearest",
        "adversarial_triplet": False,
        "adversarial_share_weight": True,
        "sd_positive_only": True,
        "stem_relu": False,
        "biases": True,
        "mask_init_std": 0.001,
    },
}


MODELS = entry_points(
    MagnifierNet,
    {
        name + suffix: {"trunk": trunk, **options}
        for name, trunk in _TRUNKS.items()
        for suffix, options in _VARIANTS.items()
    },
)
"""Model name -> function with the signature of torchreid's model zoo."""
