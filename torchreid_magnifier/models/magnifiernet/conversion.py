"""Checkpoints of MagnifierNet's reference implementation, renamed for ``magnifiernet_official``.

Source of the names: https://github.com/NIRVANALAN/magnifiernet_reid, modeling/MT_Net.py and
MT_Model.py with their modules.
"""

import warnings
from collections.abc import Mapping

from torch import Tensor

from ...checkpoint import state_dict_of
from ...parts import PARTS
from ..conversion import Conversion

ATTRIBUTE_HEAD = "base.class_attr."
"""Prefix of the attribute head in checkpoints of the reference's Market-1501 configuration."""

OFFICIAL = Conversion(
    model="magnifiernet_official",
    classifier="classifier.global.weight",
    prefixes={
        "base.model": "backbone",
        "base.seg_module": "mask_module",
        "base.feat_bn": "global_branch.neck",
        "base.mask.bottle": "adversarial_branch.bottleneck",
        "base.mask.dim_reducer": "adversarial_branch.reduce",
        "base.mask.mask_bn": "adversarial_branch.neck",
        "base.part.bottle": "fusion_branch.bottleneck",
        "base.part.part_bns": "fusion_branch.region_necks",
        "base.part.lstm": "fusion_branch.fusion.lstm",
        "base.part.combine_bn": "fusion_branch.neck",
        **{f"classifier_part.{i}": f"classifier.region_{part}" for i, part in enumerate(PARTS)},
        "classifier_mask": "classifier.adversarial",
        "classifier_anchor": "classifier.fusion",
        "classifier": "classifier.global",
    },
    source="MagnifierNet's reference implementation with all its branches (ResNet-50, masks, LSTM)",
    file="the file that it saved of its model, such as resnet50_model_500.pth",
    widths="ResNet-50, 2048 and 1024 features, 8 parts",
    height=384,
    width=192,
    dist_metric="cosine",
)
_REDUCE = "base.mask.dim_reducer.weight"


def convert_official_state_dict(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state dict of the reference's model for ``magnifiernet_official``.

    Attribute-head entries (``base.class_attr.*``, its Market-1501 configuration) are left
    out, with a warning: this model has no attributes. Such a model was trained with regions to
    which its attribute masks were added, so its Semantic Fusion Branch does not give the same
    feature without them.

    Args:
        state_dict: tensors by the reference's names, with ``nn.DataParallel``'s ``module.`` or not.

    Returns:
        The same tensors, for ``load_state_dict(strict=True)`` of
        ``build_model("magnifiernet_official", num_classes=K)``, K being the number of rows of
        ``classifier.global.weight``.

    Raises:
        CheckpointError: if an entry is missing, not known, or of another shape, with its name.
    """
    reference = state_dict_of(state_dict)
    attributes = {name for name in reference if name.startswith(ATTRIBUTE_HEAD)}
    reference = {name: tensor for name, tensor in reference.items() if name not in attributes}
    reduce = reference.get(_REDUCE)
    if reduce is not None and reduce.dim() == 4:  # a 1x1 convolution on a pooled map is linear
        reference[_REDUCE] = reduce.flatten(1)
    converted = OFFICIAL.rename(reference)
    if attributes:
        warnings.warn(
            f"Left out the attribute head ({len(attributes)} tensors, {ATTRIBUTE_HEAD}*), which "
            f"{OFFICIAL.model} does not have. It also shaped the regions of the Semantic Fusion "
            "Branch, so that this branch's feature differs from the reference's.",
            stacklevel=2,
        )
    return converted
