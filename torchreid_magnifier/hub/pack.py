"""From a checkpoint of training to the small file that users load."""

from pathlib import Path

import torch
from torch import Tensor

from ..checkpoint import (
    CLASSIFIER_PREFIX,
    CheckpointError,
    list_names,
    read_checkpoint,
    state_dict_of,
    write_weights,
)


def pack(checkpoint: Path, target: Path, half: bool = False) -> None:
    """Writes what embeddings need: no classifiers, no optimizer, no record of the training.

    The same weights give the same bytes with the same release of torch.

    Args:
        checkpoint: of torchreid's engine, or a state dict.
        target: file to write, which must not exist.
        half: numbers of half precision, which take half the space. Networks compute in single
            precision with them all the same.

    Raises:
        CheckpointError: the checkpoint cannot be read, or has numbers that are not finite (in half
            precision: above 65504).
        OSError: ``target`` exists or cannot be written.
    """
    tensors = {
        name: _packed(tensor, half)
        for name, tensor in state_dict_of(read_checkpoint(checkpoint)).items()
        if not name.startswith(CLASSIFIER_PREFIX)
    }
    if not tensors:
        raise CheckpointError(f'"{checkpoint}" has nothing but classifiers.')
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        advice = ": pack it in single precision" if half else ""
        raise CheckpointError(
            f'"{checkpoint}" has {list_names(broken, "entries with infinite numbers")}{advice}.'
        )
    write_weights(target, tensors)


def _packed(tensor: Tensor, half: bool) -> Tensor:
    """A copy in rows: saved without its neighbours in memory, whatever layout it was trained in."""
    dtype = torch.float16 if half and tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to(dtype).clone(memory_format=torch.contiguous_format)
