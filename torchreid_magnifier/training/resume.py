"""The files of a run: its configuration, checkpoints and results, and going on from them.

torchreid's engine writes ``<save_dir>/model/model.pth.tar-<epoch>`` whenever it evaluates
(``test.eval_freq``) and at the end; stock ``main.py`` does not write the file atomically: a kill
may leave half of the newest one.
"""

import json
import os
import random
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from torch import nn
from torch.optim import Optimizer
from yacs.config import CfgNode

from ..checkpoint import CheckpointError, read_checkpoint, require_resumable, restore
from ..files import write_atomically
from .config import DEFAULTS, ConfigError, flatten
from .loaders import changed_identities

# Entries of a checkpoint besides torchreid's: the identities of its training, and random states.
IDENTITIES, RANDOM = "identities", "random"

# Keys that may change between two runs that continue each other: they move files, or only test.
_FREE = re.compile(
    r"data\.(root|workers|targets|save_dir)|model\.resume|test\..*|cuhk03\.use_metric_cuhk03"
    r"|train\.(max_epoch|start_epoch|print_freq)"
)


class Result(NamedTuple):
    """Numbers of the last test of a run on one dataset, as they stand in ``results.json``.

    Attributes:
        rank1, mAP: shares, 0..1.
        epoch: epochs of training behind it.
        minutes: of training and testing; None if the run was interrupted on the way.
    """

    rank1: float
    mAP: float
    epoch: int
    minutes: float | None


class Saved(NamedTuple):
    """A readable checkpoint and the epochs that it has behind it."""

    path: str
    epoch: int


def newest(save_dir: str | Path) -> Saved | None:
    """Return the newest checkpoint in ``save_dir`` that can be read, or None.

    Prints a line for each newer file that cannot.
    """
    for epoch, path in sorted(_checkpoints(save_dir), reverse=True):
        try:
            read_checkpoint(path)
        except CheckpointError as error:
            print(f"Passing over an unreadable checkpoint {path} (a kill while saving?): {error}")
        else:
            return Saved(str(path), epoch)
    return None


def last_epoch(save_dir: str | Path) -> int:
    """Return the highest epoch of the checkpoints in ``save_dir``, readable or not, or 0."""
    return max((epoch for epoch, _ in _checkpoints(save_dir)), default=0)


def check_same_run(cfg: CfgNode, fixed: Sequence[str] = ()) -> None:
    """Check that the checkpoints in ``data.save_dir``, if any, are of this configuration.

    Folders that stock ``main.py`` filled hold no record and are taken as they are. A record without
    checkpoints is of a run that came to nothing.

    Args:
        cfg: what is to be run.
        fixed: keys that may not differ, besides those without which a run cannot go on.

    Raises:
        ConfigError: if they come from another one.
    """
    record = _record(cfg.data.save_dir)
    if not record.is_file() or not last_epoch(cfg.data.save_dir):
        return
    try:
        then = flatten(DEFAULTS) | _flat(yaml.safe_load(record.read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read {record}: {error}") from error
    changed = [
        f"{key} was {then.get(key)!r} and is {value!r}"
        for key, value in _flat(cfg).items()
        if (key in fixed or not _FREE.fullmatch(key)) and then.get(key) != value
    ]
    if changed:
        raise ConfigError(
            f"{cfg.data.save_dir} holds checkpoints of another run ({'; '.join(changed)}): give "
            "another folder, or move that one away"
        )


def record(cfg: CfgNode) -> None:
    """Write ``cfg`` into its ``data.save_dir`` as ``config.yaml``."""
    write_atomically(_record(cfg.data.save_dir), cfg.dump().encode())


def results(save_dir: str | Path) -> dict[str, Result]:
    """Return what the last test of the run in ``save_dir`` found on each dataset, if any."""
    try:
        tree = json.loads(_results(save_dir).read_text(encoding="utf-8"))
        return {name: Result(**values) for name, values in tree.items()}
    except (FileNotFoundError, ValueError, TypeError, AttributeError):  # none, or not of this form
        return {}


def record_results(save_dir: str | Path, found: Mapping[str, Result]) -> None:
    """Write ``found`` into ``save_dir`` as ``results.json``."""
    tree = {name: result._asdict() for name, result in found.items()}
    write_atomically(_results(save_dir), (json.dumps(tree, indent=2) + "\n").encode())


def _flat(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return every option; the weights it started from by their place beside its own folder.

    So a folder of stages may be moved as a whole.
    """
    options = flatten(cfg)
    if weights := options.get("model.load_weights"):
        options["model.load_weights"] = os.path.relpath(weights, options["data.save_dir"])
    return options


def _record(save_dir: str | Path) -> Path:
    return Path(save_dir, "config.yaml")


def _results(save_dir: str | Path) -> Path:
    return Path(save_dir, "results.json")


def checkpoint_path(save_dir: str | Path, epoch: int) -> Path:
    """Return where torchreid's engine saves a run after an epoch, counted from 1."""
    return Path(save_dir, "model", f"model.pth.tar-{epoch}")


def remove_leftovers(save_dir: str | Path) -> None:
    """Remove the checkpoints that a killed run has begun to write; no other may be writing now."""
    for path in Path(save_dir, "model").glob(".model.pth.tar-*.partial"):
        path.unlink(missing_ok=True)


def random_state() -> dict[str, Any]:
    """Return the states of all generators of random numbers, as tensors and plain values."""
    numpy: Any = np.random.get_state()
    name, keys, *rest = numpy
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), *map(float, rest)),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: Mapping[str, Any]) -> None:
    """Set all generators to what ``random_state`` gave."""
    name, keys, place, has_gauss, gauss = state["numpy"]
    random.setstate(state["python"])
    np.random.set_state((name, keys.numpy().astype(np.uint32), int(place), int(has_gauss), gauss))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def go_on_from(
    path: str, model: nn.Module, optimizer: Optimizer, scheduler: Any, datamanager: Any
) -> tuple[int, dict[str, Any] | None]:
    """Take up the state of training that a checkpoint holds.

    The learning rates are those of an undisturbed run by the configuration of now, which may have
    more epochs than that of the checkpoint.

    Args:
        path: of the checkpoint.
        model: of the checkpoint's kind, maybe wrapped.
        optimizer, scheduler: new ones.
        datamanager: whose training identities are to be those of the checkpoint.

    Returns:
        The epochs that it has behind it, and the random state at their end if it holds one.

    Raises:
        ConfigError: if it is of another model, optimizer or other identities.
    """
    print(f'Loading checkpoint from "{path}"')
    checkpoint = read_checkpoint(path)
    epoch: int = checkpoint["epoch"]
    changed = changed_identities(datamanager, checkpoint.get(IDENTITIES, ()))
    if checkpoint.get(IDENTITIES) and changed:
        raise ConfigError(
            f"cannot go on from {path}: {changed}. Go on with the data of its training, or begin "
            "anew from its weights (model.load_weights) in another data.save_dir"
        )
    with warnings.catch_warnings():  # of a schedule that steps before its optimizer
        warnings.simplefilter("ignore")
        for _ in range(epoch):
            scheduler.step()
    rates: list[dict[str, Any]] = [
        {key: group[key] for key in ("lr", "initial_lr") if key in group}
        for group in optimizer.param_groups
    ]
    try:
        require_resumable(model, path)
        restore(model, path)
        optimizer.load_state_dict(checkpoint["optimizer"])
    except (RuntimeError, ValueError, KeyError) as error:  # of another model or optimizer
        raise ConfigError(f"cannot go on from {path}: {error}") from error
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group.update(rate)
    print(f"Loaded model weights and optimizer\nLast epoch = {epoch}")
    return epoch, checkpoint.get(RANDOM)


def _checkpoints(save_dir: str | Path) -> list[tuple[int, Path]]:
    found = []
    for path in Path(save_dir, "model").glob("model.pth.tar-*"):
        if match := re.fullmatch(r"model\.pth\.tar-(\d+)", path.name):
            found.append((int(match[1]), path))
    return found
