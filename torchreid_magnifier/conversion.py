"""Checkpoints of the released MagnifierNet code, renamed for ``magnifiernet_official``.

Source of the names: https://github.com/NIRVANALAN/magnifiernet_reid, modeling/MT_Net.py and
MT_Model.py with their modules.
"""

import warnings
from collections.abc import Mapping

import torch
from torch import Tensor

from .checkpoints import CheckpointError, list_names, state_dict_of
from .models.magnifiernet import MODELS
from .parts import PARTS

MODEL = "magnifiernet_official"
"""The model that converted checkpoints are of."""

ATTRIBUTE_HEAD = "base.class_attr."
"""Prefix of the attribute head in checkpoints of the released Market-1501 configuration."""

# Prefixes of the released names, each followed by a dot, and ours.
_PREFIXES = {
    "base.model": "trunk",
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
}
_REDUCE = "adversarial_branch.reduce.weight"


def convert_official_state_dict(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames a state dict of the released code's model for ``magnifiernet_official``.

    Attribute-head entries (``base.class_attr.*``, the released Market-1501 configuration) are left
    out, with a warning: this model has no attributes. Such a model was trained with regions to
    which its attribute masks were added, so its Semantic Fusion Branch does not give the same
    feature without them.

    Args:
        state_dict: tensors by the released names, with ``module.`` of ``nn.DataParallel`` or not.

    Returns:
        The same tensors, for ``load_state_dict(strict=True)`` of
        ``build_model("magnifiernet_official", num_classes=K)``, K being the number of rows of
        ``classifier.global.weight``.

    Raises:
        CheckpointError: if an entry is missing, not known, or of another shape, with its name.
    """
    released = state_dict_of(state_dict)
    names = _names()
    attributes = {name for name in released if name.startswith(ATTRIBUTE_HEAD)}
    faults = [
        list_names(names.keys() - released.keys(), "missing"),
        list_names(released.keys() - names.keys() - attributes, "not known"),
    ]
    if any(faults):
        raise CheckpointError(
            "This is not a checkpoint of the released MagnifierNet code with all its branches "
            f"(ResNet-50, masks, LSTM), by its entries: {'; '.join(filter(None, faults))}. Give "
            "the file that it saved of its model, such as resnet50_model_500.pth."
        )
    converted = {ours: released[name] for name, ours in names.items()}
    if converted[_REDUCE].dim() == 4:  # a 1x1 convolution on a pooled map is a linear layer
        converted[_REDUCE] = converted[_REDUCE].flatten(1)
    classifier = converted["classifier.global.weight"]
    expected = _official(num_classes=len(classifier) if classifier.numel() > 1 else 1)
    misshapen = {
        f"{name} {tuple(released[name].shape)} instead of {tuple(expected[ours].shape)}"
        for name, ours in names.items()
        if converted[ours].shape != expected[ours].shape
    }
    if misshapen:
        raise CheckpointError(
            "This checkpoint has the names of the released MagnifierNet code, but "
            f"{list_names(misshapen, 'of another shape')}: only its published widths can be "
            "converted (ResNet-50, 2048 and 1024 features, 8 parts)."
        )
    if attributes:
        warnings.warn(
            f"Left out the attribute head ({len(attributes)} tensors, {ATTRIBUTE_HEAD}*), which "
            f"{MODEL} does not have. It also shaped the regions of the Semantic Fusion Branch, so "
            "that this branch's feature differs from the released one.",
            stacklevel=2,
        )
    return converted


def _names() -> dict[str, str]:
    """Every released entry and what it is called here."""
    released = {ours: prefix for prefix, ours in _PREFIXES.items()}
    names = {}
    for name in _official(num_classes=1):
        prefix = next(ours for ours in released if name.startswith(f"{ours}."))
        names[released[prefix] + name.removeprefix(prefix)] = name
    return names


def _official(num_classes: int) -> dict[str, Tensor]:
    with torch.device("meta"):  # shapes only: no memory, no weights
        model = MODELS[MODEL](num_classes, loss="triplet", pretrained=False)
    return model.state_dict()
