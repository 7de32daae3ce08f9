"""From a checkpoint of training to the files that users load."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from ..checkpoint import (
    CLASSIFIER_PREFIX,
    CheckpointError,
    list_names,
    read_checkpoint,
    state_dict_of,
    write_weights,
)
from ..files import ListError, load_yaml, read_text, sha256
from .card import CARD_KEY, Card, WeightsError, card_of_run


def pack(
    checkpoint: Path,
    target: Path,
    half: bool = False,
    known: Mapping[str, Any] | None = None,
) -> Card | None:
    """Write what embeddings need: no classifiers, no optimizer, no record of the training.

    The same weights give the same bytes with the same releases of torch and safetensors.

    Args:
        checkpoint: of torchreid's engine, or a state dict.
        target: new file: ``*.safetensors``, which carries its card, or another name for
            ``torch.load``.
        half: numbers of half precision, which take half the space. Networks compute in single
            precision with them all the same.
        known: of the card, by the keys of a manifest's entry, besides what the ``config.yaml`` of a
            training run says.

    Returns:
        The card, with the new file's hash and size; None if nothing says of which model the
        checkpoint is.

    Raises:
        CheckpointError: the checkpoint cannot be read, or has numbers that are not finite (in half
            precision: above 65504); ``target`` exists, or its folder does not.
        WeightsError: the ``config.yaml`` beside the checkpoint, or ``known``, cannot be used.
        OSError: ``target`` cannot be written.
    """
    tensors = packed(state_dict_of(read_checkpoint(checkpoint)), checkpoint, half)
    run = card_of_run(checkpoint)
    facts = {**({} if run is None else run.to_dict()), "name": target.stem, **(known or {})}
    card = Card.from_dict(facts) if facts.keys() >= {"model", "height", "width"} else None
    write_weights(target, tensors, None if card is None else {CARD_KEY: card.to_json()})
    if card is None:
        return None
    return replace(card, file=target, sha256=sha256(target), size=target.stat().st_size)


def read_facts(path: Path) -> dict[str, Any]:
    """Read what is known of a network, by the keys of a manifest's entry, from a file of YAML.

    Raises:
        WeightsError: it cannot be read, or is no mapping.
    """
    try:
        facts = load_yaml(read_text(path))
    except (OSError, ListError, yaml.YAMLError) as error:
        raise WeightsError(f"--card: {path} cannot be read ({error})") from error
    if not isinstance(facts, dict):
        raise WeightsError(f"--card: {path}: expected a mapping by the keys of a manifest's entry")
    return facts


def packed(tensors: Mapping[str, Tensor], source: object, half: bool = False) -> dict[str, Tensor]:
    """Return copies of the tensors that embeddings need.

    Args:
        tensors: by name.
        source: of them, for messages.
        half: numbers of half precision.

    Raises:
        CheckpointError: there are none, or they have numbers that are not finite.
    """
    dtype = torch.float16 if half else None
    kept = {
        name: _in_rows(tensor, dtype)
        for name, tensor in tensors.items()
        if not name.startswith(CLASSIFIER_PREFIX)
    }
    if not kept:
        raise CheckpointError(f'"{source}" has nothing but classifiers.')
    broken = [name for name, tensor in kept.items() if not tensor.isfinite().all()]
    if broken:
        advice = ": pack it in single precision" if half else ""
        raise CheckpointError(
            f'"{source}" has {list_names(broken, "entries with infinite numbers")}{advice}.'
        )
    return kept


def _in_rows(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """A copy without its neighbours in memory, whatever layout it was trained in."""
    if dtype is None or not tensor.is_floating_point():
        dtype = tensor.dtype
    return tensor.detach().cpu().to(dtype).clone(memory_format=torch.contiguous_format)
