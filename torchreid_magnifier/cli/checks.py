"""What can be said about a configuration before any data is read."""

import os
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import nn
from torchreid import models as torchreid_models
from torchreid import optim as torchreid_optim
from yacs.config import CfgNode

from ..checkpoints import CheckpointError, read_checkpoint
from ..models.magnifiernet import LOSSES, STRIDE, MagnifierNet
from ..registry import dataset_folder, dataset_names, model_names
from .config import CommandError, closest, optimizer_arguments, scheduler_arguments

# torchreid's build_transforms passes over a name that it does not know without a word.
TRANSFORMS = ("random_flip", "random_crop", "random_patch", "color_jitter", "random_erase")
SAMPLERS = (
    "RandomSampler",
    "SequentialSampler",
    "RandomIdentitySampler",
    "RandomDomainSampler",
    "RandomDatasetSampler",
)


def check(cfg: CfgNode) -> None:
    """Find every mistake in ``cfg`` that needs no data to be seen.

    Raises:
        CommandError: that says what was found, what was expected, and what to do.
    """
    if cfg.data.type != "image":
        raise CommandError(
            f"this command trains on images, found data.type {cfg.data.type!r}: "
            "for video take torchreid's own scripts/main.py"
        )
    _known("model.name", [cfg.model.name], model_names())
    _known("loss.name", [cfg.loss.name], LOSSES)
    _known("data.sources", cfg.data.sources, dataset_names())
    _known("data.targets", cfg.data.targets, dataset_names())
    _known("data.transforms", cfg.data.transforms, TRANSFORMS)
    _known("sampler.train_sampler", [cfg.sampler.train_sampler], SAMPLERS)
    _check_model(cfg)
    _check_optimizer(cfg)
    if cfg.train.max_epoch < 1 and not cfg.test.evaluate:
        raise CommandError(f"train.max_epoch must be at least 1, found {cfg.train.max_epoch}")
    if cfg.test.visrank and not cfg.test.evaluate:
        raise CommandError("test.visrank True draws rankings only with test.evaluate True")
    for key in ("load_weights", "resume"):
        check_weights(f"model.{key}", cfg.model[key])
    check_writable(cfg.data.save_dir)


def missing_folders(cfg: CfgNode) -> list[str]:
    """Folders of the datasets of ``cfg`` that are not below ``data.root``."""
    folders = [dataset_folder(name) for name in [*cfg.data.sources, *cfg.data.targets]]
    paths = dict.fromkeys(os.path.join(cfg.data.root, folder) for folder in folders if folder)
    return [path for path in paths if not os.path.isdir(path)]


def check_weights(key: str, path: str) -> None:
    """torchreid only warns of a missing file and then trains from nothing; here it is an error."""
    if not path:
        return
    if not Path(path).is_file():
        raise CommandError(f"{key}: there is no file {path}")
    try:
        read_checkpoint(path)
    except (CheckpointError, OSError) as error:
        raise CommandError(f"{key}: {error}") from error


def check_writable(folder: str | Path) -> None:
    """Make ``folder`` and see that files can be written into it."""
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise CommandError(f"data.save_dir: cannot write into {folder}: {error}") from error


def _known(key: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise CommandError(
                f"{key}: unknown name {name!r}{closest(name, known)} "
                f"(all names: {', '.join(sorted(known))})"
            )


def _check_model(cfg: CfgNode) -> None:
    try:
        model = _structure(cfg.model.name, cfg.loss.name)
    except ValueError as error:  # a loss that this variant does not have
        raise CommandError(f"model.name {cfg.model.name}: {error}") from error
    if cfg.loss.name == "triplet" and not cfg.loss.triplet.weight_x and cfg.train.fixbase_epoch:
        raise CommandError(
            "train.fixbase_epoch trains the classifier alone, which has no loss with "
            "loss.triplet.weight_x 0.0: set weight_x to 1.0, or fixbase_epoch to 0"
        )
    if not isinstance(model, MagnifierNet):
        if cfg.loss.name == "triplet_sd":
            raise CommandError(
                f"loss.name triplet_sd is MagnifierNet's second stage; {cfg.model.name} has no "
                "such loss: take softmax or triplet"
            )
        return
    height, width = cfg.data.height, cfg.data.width
    if height % STRIDE or width % STRIDE:
        raise CommandError(
            f"{cfg.model.name} needs data.height and data.width divisible by {STRIDE}, found "
            f"{height} and {width}: the nearest are {_nearest(height)} and {_nearest(width)}"
        )
    unmasked = [name for name in cfg.data.sources if not name.endswith("_masks")]
    if unmasked and model.mask_module is not None and not cfg.test.evaluate:
        raise CommandError(
            f"{cfg.model.name} trains with part labels, but data.sources has {unmasked[0]!r}: "
            f"take '{unmasked[0]}_masks'"
        )


@cache  # a grid of runs has the same few models
def _structure(name: str, loss: str) -> nn.Module:
    """A model without memory and weights, its shapes only."""
    with torch.device("meta"):
        return torchreid_models.build_model(name, num_classes=1, loss=loss, pretrained=False)


def _check_optimizer(cfg: CfgNode) -> None:
    """torchreid's own checks, on a dummy: it would make them only when all data has been read."""
    arguments = optimizer_arguments(cfg) | {"staged_lr": False}  # that looks into the real model
    try:
        optimizer = torchreid_optim.build_optimizer(nn.Linear(1, 1), **arguments)
        torchreid_optim.build_lr_scheduler(optimizer, **scheduler_arguments(cfg))
    except (ValueError, TypeError) as error:
        raise CommandError(f"section 'train': {error}") from error


def _nearest(size: int) -> int:
    return max(STRIDE, round(size / STRIDE) * STRIDE)
