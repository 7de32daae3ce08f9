"""Whose checkpoint a file is."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...models.magnifiernet.conversion import OFFICIAL, convert_official_state_dict
from ...models.san.conversion import DECODER_KEY, SAN, convert_san_state_dict
from .renaming import Conversion


def convert_checkpoint(checkpoint: Mapping[str, Any]) -> tuple[Conversion, dict[str, Tensor]]:
    """Converts what ``read_checkpoint`` gave of a file that either released code saved.

    Returns:
        Which it was, and the state dict for its model.

    Raises:
        CheckpointError: if it is of neither.
    """
    if DECODER_KEY in checkpoint:
        return SAN, convert_san_state_dict(checkpoint)
    return OFFICIAL, convert_official_state_dict(checkpoint)
