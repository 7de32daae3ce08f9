"""Checkpoints of SAN's reference implementation, renamed for ``san``.

Source of the names: https://github.com/microsoft/Semantics-Aligned-Representation-Learning-for-Person-Re-identification,
main.py and torchreid/models/resnet.py.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from ...checkpoint import state_dict_of
from ..conversion import Conversion

DECODER_KEY = "decoder_state_dict"
"""Beside ``state_dict``: what only checkpoints of SAN's reference implementation have."""

_DECODER = "decoder."  # before the decoder's names in the reference, where both dicts are in one
_ENCODER_CHILDREN = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")
_ENCODER_PREFIXES = {
    **{child: f"backbone.{child}" for child in _ENCODER_CHILDREN},
    "fc": "fc",
    "classifier": "classifier",
}
_DECODER_PREFIXES = {
    "reduce_dim": "reduce",
    **{f"embed_layer{3 - i}": f"skips.{i}" for i in range(3)},
    **{f"up{i + 1}.res.res": f"levels.{i}.residual" for i in range(4)},
    **{f"up{i + 1}.conv": f"levels.{i}.enlarge" for i in range(4)},
    "final_layer": "to_texture",
}

SAN = Conversion(
    model="san",
    classifier="classifier.weight",
    prefixes=_ENCODER_PREFIXES
    | {_DECODER + reference: _DECODER + ours for reference, ours in _DECODER_PREFIXES.items()},
    source="SAN's reference implementation (encoder and decoder)",
    file="the file that it saved, such as checkpoint_ep300.pth.tar",
    widths="ResNet-50, 512 features, decoder of 512, 256, 64, 32 and 16",
    height=256,
    width=128,
    dist_metric="euclidean",
)
SAN_ENCODER = replace(
    SAN,
    model="san_encoder",
    prefixes=_ENCODER_PREFIXES,
    source="the encoder of SAN's reference implementation",
    widths="ResNet-50, 512 features",
)


def convert_san_state_dict(
    state_dict: Mapping[str, Any], decoder_state_dict: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Renames state dicts of SAN's reference implementation for ``san``.

    Args:
        state_dict: tensors of the encoder by the reference's names, with ``module.`` of
            ``nn.DataParallel`` or not; or a whole checkpoint that holds it, and the decoder's as
            ``decoder_state_dict``.
        decoder_state_dict: tensors of the decoder, likewise. Without one in either place the
            encoder alone is converted, for ``san_encoder``.

    Returns:
        The same tensors, for ``load_state_dict(strict=True)`` of
        ``build_model("san", num_classes=K)`` or ``build_model("san_encoder", num_classes=K)``, K
        being the number of rows of ``classifier.weight``.

    Raises:
        CheckpointError: if an entry is missing, not known, or of another shape, with its name; the
            decoder's names are reported with ``decoder.`` before them.
    """
    reference = state_dict_of(state_dict)
    if decoder_state_dict is None:
        decoder_state_dict = state_dict.get(DECODER_KEY)
    if decoder_state_dict is None:
        return SAN_ENCODER.rename(reference)
    decoder = state_dict_of(decoder_state_dict)
    return SAN.rename(reference | {_DECODER + name: tensor for name, tensor in decoder.items()})
