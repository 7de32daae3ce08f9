"""MagnifierNet, assembled of its branches.

Lan, Liu et al., "MagnifierNet: Towards Semantic Adversary and Fusion for Person
Re-identification", BMVC 2020 (first version: "Semantic Regularization and Fusion").

Data flow: image -> backbone -> mask module -> region maps -> branches -> heads. In training the
label map rides with the image as a fourth channel.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...losses.forward_pass import ShareWeight
from ...losses.metrics import mean_iou
from ...losses.part_segmentation import part_cross_entropy
from ...losses.precision import widened
from ...losses.semantic_diversity import SemanticDiversityLoss
from ...parts import PARTS
from ..backbones import build_backbone
from ..base import Embedding, ReIDModel, TrainOutput
from ..layers import classifier, projected
from ..regions import SCALINGS, region_maps, region_shares, selection, shrink_labels
from .global_branch import GlobalBranch
from .mask_module import MaskModule
from .semantic_adversarial import RegionSampler, SemanticAdversarialBranch
from .semantic_fusion import SemanticFusionBranch


class MagnifierNet(ReIDModel):
    """Global branch, mask module, Semantic Adversarial and Semantic Fusion Branch on one backbone.

    Training takes part labels 0..7 beside the image. The gradients of the heads are weighted so
    that torchreid's *mean* over them becomes the sum of Eq. 4, and
    ``mask_weight * L_mask + sd_weight * L_SD`` is attached to them. In evaluation all branches are
    concatenated, and the regions are those that the mask module predicts.

    Args:
        num_classes: number of training identities.
        loss: ``softmax``, ``triplet`` (the paper's first stage) or ``triplet_sd`` (its second).
        backbone: a name of ``build_backbone``; its last two stages are the paper's 3 and 4.
        pretrained: the backbone's ImageNet weights.
        backbone_options: of ``build_backbone``.
        projection: widths that a 1x1 convolution, batch norm and ReLU give stages 3 and 4; None
            takes the stages as they are.
        mask: mask module. The branches below need it.
        adversarial: Semantic Adversarial Branch.
        fusion: how the Semantic Fusion Branch fuses regions: ``lstm`` (the reference
            implementation), ``gru`` (the paper), ``concat`` (its ablation branch) or ``mean``;
            ``None`` leaves the branch out.
        sampling: regions that SAB keeps: ``torso`` or ``baseline`` (paper section 3.2).
        num_kept_regions: how many of the seven regions it keeps, the paper's K-hat.
        mask_weight: lambda of Eq. 4.
        sd_weight: gamma of Eq. 4.
        region_weight: weight of each region's cross-entropy in SFB, times the sigmoid of the
            region's share of the pixels. The paper gives none; the value is the reference
            implementation's.
        region_decay: weight decay on the regions' classifiers and BNNecks, as in the reference
            implementation. It outweighs their losses, so that they fade to zero.
        region_scaling: how binary maps of regions shrink to stage 3: ``nearest`` (the reference
            implementation) or ``bilinear`` (Eq. 1).
        adversarial_triplet: triplet loss on SAB, beside its cross-entropy, as Eq. 4 has it. It
            harms every branch (docs/guides/reproduction.md), so that it is left out by default.
        adversarial_share_weight: weigh SAB's cross-entropy by the sigmoid of the share of the
            pixels that were kept.
        sd_positive_only: see ``SemanticDiversityLoss``.
        biases: biases of the classifiers, and shifts of the BNNecks that are not trained.
        mask_init_std: see ``MaskModule``.
        normalize_branches: give each branch's part of the embedding length 1, so that they weigh
            the same in a distance.
        options: of ``ReIDModel``.

    Attributes:
        loss_log: see ``ReIDModel``; the terms are ``loss_mask``, ``mask_miou`` and, in stage 2,
            ``loss_sd``.

    Raises:
        ValueError: for arguments that do not go together.
        RuntimeError: if the ImageNet weights cannot be had.
    """

    losses = ("softmax", "triplet", "triplet_sd")

    def __init__(
        self,
        num_classes: int,
        loss: str = "softmax",
        *,
        backbone: str = "resnet50",
        pretrained: bool = True,
        backbone_options: Mapping[str, Any] | None = None,
        projection: tuple[int, int] | None = None,
        mask: bool = True,
        adversarial: bool = True,
        fusion: str | None = "lstm",
        sampling: str = "torso",
        num_kept_regions: int = 4,
        mask_weight: float = 2.0,
        sd_weight: float = 2e-3,
        region_weight: float = 0.0125,
        region_decay: bool = False,
        region_scaling: str = "nearest",
        adversarial_triplet: bool = False,
        adversarial_share_weight: bool = False,
        sd_positive_only: bool = False,
        biases: bool = False,
        mask_init_std: float | None = None,
        normalize_branches: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(num_classes, loss, **options)
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
        self.mask_weight = mask_weight
        self.sd_weight = sd_weight
        self.region_weight = region_weight
        self.region_scaling = region_scaling
        self.adversarial_triplet = adversarial_triplet
        self.adversarial_share_weight = adversarial_share_weight
        self.normalize_branches = normalize_branches
        self.sampler = RegionSampler(sampling, num_kept_regions)
        self.sd_loss = SemanticDiversityLoss(positive_only=sd_positive_only)

        stages: Any = build_backbone(backbone, pretrained=pretrained, **backbone_options or {})
        self.backbone = stages
        widths = stages.channels[-2:]
        self.projections = None
        if projection:
            self.projections = nn.ModuleList(map(projected, widths, projection))
        width3, width4 = projection or widths
        self.global_branch = GlobalBranch(width4, biases)
        self.mask_module = MaskModule(width4, mask_init_std) if mask else None
        self.adversarial_branch = SemanticAdversarialBranch(width3, biases) if adversarial else None
        self.fusion_branch = SemanticFusionBranch(width3, fusion, biases) if fusion else None
        head_widths = {"global": width4}
        if adversarial:
            head_widths["adversarial"] = width3
        if fusion:
            head_widths["fusion"] = width3
        self.branches = tuple(head_widths)
        self.embedding_size = sum(head_widths.values())
        self.stride = max(stages.strides)
        self.needs = "masks" if mask else None
        self.has_parts, self.has_regions = mask, fusion is not None
        if fusion:
            head_widths |= {f"region_{part}": width3 for part in PARTS}
            if not region_decay:
                self.undecayed = ("classifier.region_", "fusion_branch.region_necks.")
        # One child named `classifier`, so that torchreid's `train.open_layers` finds it.
        self.classifier = nn.ModuleDict(
            {head: classifier(width, num_classes, biases) for head, width in head_widths.items()}
        )
        # Convolutions run faster with the channels innermost, on the CPU and on GPUs; the first
        # one passes the layout on.
        self.to(memory_format=torch.channels_last)

    def embed(self, images: Tensor) -> Embedding:
        """Compute the embedding and all that leads to it; see ``ReIDModel.embed``.

        The branches are ``global`` (G), ``adversarial`` (SAB) and ``fusion`` (SFB); their maps are
        stage 4 for G and the branch's own bottleneck on stage 3 for the others. Part labels come
        at twice the resolution of stage 4.
        """
        seen = self._convolve(images)
        with self.full_precision(images.device.type):
            vectors = {"global": self.global_branch(seen.stage4)[1]}
            activations = {"global": seen.stage4}
            labels = maps = regions = None
            if seen.part_logits is not None:
                labels = seen.part_logits.argmax(1)
            if self.adversarial_branch is not None and seen.adversarial is not None:
                vectors["adversarial"] = self.adversarial_branch(seen.adversarial)[1]
                activations["adversarial"] = seen.adversarial
            if self.fusion_branch is not None and seen.fusion is not None:
                assert labels is not None  # the branch comes with a mask module
                maps = self._region_maps(labels, seen.fusion)
                _, vectors["fusion"], regions = self.fusion_branch(seen.fusion, maps)
                activations["fusion"] = seen.fusion
        vectors = {name: self._weighed(vector) for name, vector in vectors.items()}
        branches, end = {}, 0
        for name, vector in vectors.items():
            branches[name] = slice(end, end := end + vector.shape[1])
        return Embedding(
            torch.cat(list(vectors.values()), 1),
            branches,
            activations,
            labels,
            seen.part_logits,
            regions=regions,
            region_maps=maps,
        )

    def prepare(self, images: Tensor, extra: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Draw the regions that SAB keeps, once a batch; see ``ReIDModel.prepare``."""
        if self.adversarial_branch is None:
            return extra, None
        kept = self.draw_once(lambda: self.sampler.sample(self.generator))
        return extra, selection(kept, images)

    def forward_train(
        self, images: Tensor, extra: tuple[Tensor | None, Tensor | None]
    ) -> TrainOutput:
        """Compute a training step: the heads of Eq. 4, the mask loss and the SD loss.

        Args:
            images: ``(N, 3, H, W)``.
            extra: part labels ``(N, H, W)`` and SAB's ``selection``; see ``prepare``.
        """
        labels, kept = extra
        seen = self._convolve(images)
        with self.full_precision(images.device.type):
            return self._heads(seen, labels, kept)

    def _heads(self, seen: "_FeatureMaps", labels: Tensor | None, kept: Any) -> TrainOutput:
        found = TrainOutput({}, {}, {}, {}, {}, {})
        embeddings = {}
        found.features["global"], embeddings["global"] = self.global_branch(seen.stage4)
        if seen.part_logits is not None and labels is not None:
            height, width = seen.part_logits.shape[2:]
            target = shrink_labels(labels, (height, width))
            found.losses["loss_mask"] = (
                self.mask_weight,
                part_cross_entropy(seen.part_logits, target),
            )
            found.metrics["mask_miou"] = mean_iou(seen.part_logits.detach().argmax(1), target)
            maps = self._region_maps(target, seen.stage3)
            shares = region_shares(maps)
        if self.adversarial_branch is not None and kept is not None:
            erased, embeddings["adversarial"] = self.adversarial_branch(
                seen.adversarial, maps, kept
            )
            if self.adversarial_triplet:
                found.features["adversarial"] = erased
            if self.adversarial_share_weight:
                found.weights["adversarial"] = ShareWeight(1.0, (shares * kept).sum())
        if self.fusion_branch is not None:
            fused = self.fusion_branch(seen.fusion, maps)
            found.features["fusion"], embeddings["fusion"], regions = fused
            for part, share, embedding in zip(
                PARTS, shares.unbind(), self.fusion_branch.region_embeddings(regions)
            ):
                embeddings[f"region_{part}"] = embedding
                found.weights[f"region_{part}"] = ShareWeight(self.region_weight, share)
            if self.loss == "triplet_sd":
                found.losses["loss_sd"] = (self.sd_weight, self.sd_loss(regions))
        for head, embedding in embeddings.items():
            found.logits[head] = self.classifier[head](embedding)
            if head in self.branches:
                found.embeddings[head] = self._weighed(embedding)
        return found

    def _weighed(self, vector: Tensor) -> Tensor:
        return nn.functional.normalize(vector) if self.normalize_branches else vector

    def _convolve(self, rgb: Tensor) -> "_FeatureMaps":
        """Compute what takes the time: all that convolves."""
        *_, stage3, stage4 = self.backbone(rgb)
        if self.projections is not None:
            stage3, stage4 = (
                project(stage) for project, stage in zip(self.projections, (stage3, stage4))
            )
        adversarial = fusion = logits = None
        if self.adversarial_branch is not None:
            adversarial = self.adversarial_branch.bottleneck(stage3)
        if self.fusion_branch is not None:
            fusion = self.fusion_branch.bottleneck(stage3)
        if self.mask_module is not None:
            logits = widened(self.mask_module(stage4))
        return _FeatureMaps(stage3, stage4, adversarial, fusion, logits)

    def _region_maps(self, labels: Tensor, features: Tensor) -> Tensor:
        height, width = features.shape[2:]
        dtype = torch.promote_types(features.dtype, torch.float32)
        return region_maps(labels, (height, width), dtype, self.region_scaling)


class _FeatureMaps(NamedTuple):
    """The maps that the branches pool, and the mask module's logits; None without the branch.

    Attributes:
        stage3, stage4: of the backbone, projected.
        adversarial, fusion: of the bottlenecks of SAB and SFB.
        part_logits: at least float32.
    """

    stage3: Tensor
    stage4: Tensor
    adversarial: Tensor | None
    fusion: Tensor | None
    part_logits: Tensor | None
