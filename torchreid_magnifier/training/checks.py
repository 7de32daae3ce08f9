"""Mistakes in a configuration that need no data to be seen."""

import math
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import torch
import yaml
from torch import nn
from torchreid import optim as torchreid_optim
from yacs.config import CfgNode

from ..checkpoint import CheckpointError, read_checkpoint
from ..data.datasets import MASKS_SUFFIX, TEXTURES_SUFFIX, plain_name
from ..evaluation.distances import METRICS
from ..models import ReIDModel
from ..registry import OPTIMIZER, build_model, dataset_names, loss_names, model_names, trains_only
from .config import OPTIMIZER_OPTIONS, SCHEDULE, ConfigError, arguments, plain, require_known
from .teacher import open_teacher

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
        ConfigError: that says what was found, what was expected, and what to do.
    """
    if cfg.data.type != "image":
        raise ConfigError(
            f"this command trains on images, found data.type {cfg.data.type!r}: "
            "for video take torchreid's own scripts/main.py"
        )
    require_known("model.name", [cfg.model.name], model_names())
    require_known("loss.name", [cfg.loss.name], loss_names())
    require_known("data.sources", cfg.data.sources, dataset_names())
    require_known("data.targets", cfg.data.targets, dataset_names())
    require_known("data.transforms", cfg.data.transforms, TRANSFORMS)
    require_known("sampler.train_sampler", [cfg.sampler.train_sampler], SAMPLERS)
    require_known("test.dist_metric", [cfg.test.dist_metric], METRICS)
    _check_numbers(cfg)
    model = _model(cfg)
    _check_model(cfg, model)
    _check_optimizer(cfg, model)
    if cfg.train.max_epoch < 1 and not cfg.test.evaluate:
        raise ConfigError(f"train.max_epoch must be at least 1, found {cfg.train.max_epoch}")
    if cfg.test.visrank and not cfg.test.evaluate:
        raise ConfigError("test.visrank True draws rankings only with test.evaluate True")
    for key in ("load_weights", "resume"):
        check_weights(f"model.{key}", cfg.model[key])
    if cfg.teacher.weights and not cfg.test.evaluate:
        _check_teacher(cfg, model)
    check_writable(cfg.data.save_dir)


def _check_teacher(cfg: CfgNode, model: nn.Module) -> None:
    if not isinstance(model, ReIDModel):
        raise ConfigError(
            f"teacher.weights is for models of this package, such as magnifiernet, found "
            f"{cfg.model.name}"
        )
    if cfg.train.optim == OPTIMIZER:
        raise ConfigError(
            f"teacher.weights does not go with train.optim {OPTIMIZER}, which steps the model's "
            "own losses apart: take another optimizer, such as amsgrad"
        )
    open_teacher(cfg)


def _check_numbers(cfg: CfgNode) -> None:
    """Find values that torchreid takes and then fails of, or does nothing with."""
    for least, keys in _LEAST.items():
        for key in keys:
            section, name = key.split(".")
            if cfg[section][name] < least:
                raise ConfigError(f"{key} must be at least {least}, found {cfg[section][name]}")
    if not 0 <= cfg.train.seed < _SEEDS:
        raise ConfigError(f"train.seed must be from 0 to {_SEEDS - 1}, found {cfg.train.seed}")
    steps = cfg.train.stepsize
    if not steps or not all(isinstance(step, int) and step >= 1 for step in steps):
        raise ConfigError(
            f"train.stepsize must be whole epochs of at least 1, such as [20], found {steps}"
        )
    for key in ("norm_mean", "norm_std"):
        values = cfg.data[key]
        numbers = [v for v in values if isinstance(v, int | float) and math.isfinite(v)]
        if len(values) != 3 or len(numbers) < 3 or (key == "norm_std" and min(numbers) <= 0):
            raise ConfigError(
                f"data.{key} must be three numbers, of red, green and blue"
                f"{', above 0' if key == 'norm_std' else ''}, found {values}"
            )
    ranks = cfg.test.ranks
    if not ranks or not all(isinstance(rank, int) and rank >= 1 for rank in ranks):
        raise ConfigError(
            f"test.ranks must be whole numbers of at least 1, such as [1, 5, 10], found {ranks}"
        )
    for name in cfg.data.targets:
        if trains_only(plain_name(name)):
            raise ConfigError(
                f"data.targets: {name} has images to train on only: take another dataset to test on"
            )
    if cfg.test.evaluate:
        return
    if cfg.data.k_tfm != 1:
        raise ConfigError(
            f"data.k_tfm must be 1, found {cfg.data.k_tfm}: torchreid's engines take one view of "
            "each image"
        )
    weights = [cfg.loss.triplet[key] for key in ("weight_t", "weight_x")]
    if cfg.loss.name != "softmax" and (min(weights) < 0 or not any(weights)):
        raise ConfigError(
            f"loss.triplet.weight_t and weight_x are {weights[0]:g} and {weights[1]:g}: neither "
            "may be negative, and without both there is nothing to train"
        )


def check_used(cfgs: Sequence[CfgNode], keys: Sequence[str]) -> None:
    """See that each key of the command line changes something in one of the stages at least.

    Files may hold what other runs need; who types a key means this run.

    Raises:
        ConfigError: for a key that nothing uses, with what uses it.
    """
    for key in keys:
        for pattern, used, by in _USED:
            if re.fullmatch(pattern, key) and not any(c.test.evaluate or used(c) for c in cfgs):
                raise ConfigError(
                    f"command line: nothing in this run uses {key}: it goes with {by}. Leave it out"
                )


def _reads(name: str) -> Callable[[CfgNode], bool]:
    return lambda cfg: any(name in dataset for dataset in (*cfg.data.sources, *cfg.data.targets))


# Keys, whether a configuration uses them, and what they go with. All others are used always.
_USED: Sequence[tuple[str, Callable[[CfgNode], bool], str]] = (
    (r"video\..*", lambda _: False, "video data, which torchreid's own main.py trains on"),
    (r"data.load_train_targets|sampler.train_sampler_t", lambda _: False, "engines of your own"),
    (r"cuhk03\..*", _reads("cuhk03"), "the dataset cuhk03"),
    (r"market1501\..*", _reads("market1501"), "the dataset market1501"),
    *(
        (
            f"sampler.{key}",
            lambda cfg, name=name: cfg.sampler.train_sampler == name,  # type: ignore[misc]
            f"sampler.train_sampler {name}",
        )
        for key, name in (
            ("num_instances", "RandomIdentitySampler"),
            ("num_cams", "RandomDomainSampler"),
            ("num_datasets", "RandomDatasetSampler"),
        )
    ),
    (r"sgd.momentum", lambda cfg: cfg.train.optim in ("sgd", "rmsprop"), "train.optim sgd"),
    (r"sgd\.(dampening|nesterov)", lambda cfg: cfg.train.optim == "sgd", "train.optim sgd"),
    (r"rmsprop\..*", lambda cfg: cfg.train.optim == "rmsprop", "train.optim rmsprop"),
    (r"adam\..*", lambda cfg: cfg.train.optim not in ("sgd", "rmsprop"), "train.optim adam"),
    (r"train.(new_layers|base_lr_mult)", lambda cfg: cfg.train.staged_lr, "train.staged_lr True"),
    (r"train.open_layers", lambda cfg: cfg.train.fixbase_epoch > 0, "train.fixbase_epoch"),
    (r"train.(stepsize|gamma)", lambda cfg: cfg.train.lr_scheduler != "cosine", "other schedules"),
    (r"loss.triplet\..*", lambda cfg: cfg.loss.name != "softmax", "loss.name triplet"),
    (
        r"loss.softmax\..*",
        lambda cfg: cfg.loss.name == "softmax" or cfg.loss.triplet.weight_x > 0,
        "a cross-entropy (loss.triplet.weight_x)",
    ),
    (r"test.visrank_topk", lambda cfg: cfg.test.visrank, "test.visrank True"),
    (r"test.start_eval", lambda cfg: cfg.test.eval_freq > 0, "test.eval_freq"),
)


_LEAST = {
    1: (
        *("train.batch_size", "test.batch_size", "data.height", "data.width", "train.print_freq"),
        *("sampler.num_instances", "sampler.num_cams", "sampler.num_datasets"),
        "test.visrank_topk",
    ),
    0: ("data.workers", "train.fixbase_epoch", "train.start_epoch", "data.split_id"),
}
_SEEDS = 2**32  # of numpy


def check_together(cfgs: Sequence[CfgNode], num_processes: int) -> None:
    """Find what several processes cannot do together, in configurations that ``check`` passed.

    Raises:
        ConfigError: as ``check``.
    """
    for cfg in cfgs:
        if cfg.use_gpu != cfgs[0].use_gpu:
            raise ConfigError("use_gpu must be the same in all stages of several processes")
        if not cfg.test.evaluate:
            _check_shared_training(cfg, num_processes)


def check_weights(key: str, path: str) -> None:
    """Check a file of weights: torchreid only warns of a missing one and trains from nothing."""
    if not path:
        return
    if not Path(path).is_file():
        raise ConfigError(f"{key}: there is no file {path}")
    try:
        read_checkpoint(path)
    except (CheckpointError, OSError) as error:
        raise ConfigError(f"{key}: {error}") from error


def check_writable(folder: str | Path) -> None:
    """Make ``folder`` and see that files can be written into it."""
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(f"data.save_dir: cannot write into {folder}: {error}") from error


def _check_model(cfg: CfgNode, model: nn.Module) -> None:
    if cfg.loss.name == "triplet" and not cfg.loss.triplet.weight_x and cfg.train.fixbase_epoch:
        raise ConfigError(
            "train.fixbase_epoch trains the classifier alone, which has no loss with "
            "loss.triplet.weight_x 0.0: set weight_x to 1.0, or fixbase_epoch to 0"
        )
    if cfg.loss.name not in getattr(model, "losses", ReIDModel.losses):
        raise ConfigError(
            f"{cfg.model.name} has no loss {cfg.loss.name}: take {' or '.join(ReIDModel.losses)}"
        )
    if not isinstance(model, ReIDModel):
        _check_plain_sources(cfg)
        return
    height, width = cfg.data.height, cfg.data.width
    if height % model.stride or width % model.stride:
        near = [_nearest(size, model.stride) for size in (height, width)]
        raise ConfigError(
            f"{cfg.model.name} needs data.height and data.width divisible by {model.stride}, found "
            f"{height} and {width}: the nearest are {near[0]} and {near[1]}"
        )
    if cfg.test.evaluate:
        return
    if model.needs == "masks":
        _check_sidecars(cfg, "part labels", MASKS_SUFFIX)
    if model.needs == "textures":
        _check_sidecars(cfg, "textures", TEXTURES_SUFFIX)
    if model.num_instances is not None:
        _check_groups(cfg, model.num_instances)


def _check_plain_sources(cfg: CfgNode) -> None:
    """See that a network of torchreid's is not given more than images."""
    for name in () if cfg.test.evaluate else cfg.data.sources:
        if plain_name(name) != name:
            raise ConfigError(
                f"{cfg.model.name} takes images alone, but data.sources has {name!r}: take "
                f"{plain_name(name)!r}"
            )


def _check_shared_training(cfg: CfgNode, num_processes: int) -> None:
    if getattr(_model(cfg), "num_instances", None) is not None:
        raise ConfigError(
            f"{cfg.model.name} compares each person with the next one in the batch, which several "
            "processes cannot share out: train it by a single process, or take a model without "
            "such losses (of a san, model.options '{constraints: false}')"
        )
    if cfg.train.optim == OPTIMIZER:
        raise ConfigError(
            f"train.optim {OPTIMIZER} takes gradients of a single process: train without a "
            "launcher, or take another optimizer, such as amsgrad"
        )
    whole, unit = "images", num_processes
    if cfg.sampler.train_sampler == "RandomIdentitySampler":
        whole, unit = "identities", num_processes * cfg.sampler.num_instances
    size = cfg.train.batch_size
    if size % unit:
        below = size // unit * unit
        nearest = f"{below} or {below + unit}" if below else str(unit)
        raise ConfigError(
            f"train.batch_size is that of all processes together, and {num_processes} of them "
            f"share out whole {whole}: it must be a multiple of {unit}, found {size}; the nearest "
            f"possible: {nearest}"
        )


def _check_sidecars(cfg: CfgNode, what: str, suffix: str) -> None:
    """Check that every source gives what the model learns from, besides images."""
    for name in cfg.data.sources:
        if not name.endswith(suffix):
            raise ConfigError(
                f"{cfg.model.name} trains with {what}, but data.sources has {name!r}: "
                f"take '{plain_name(name)}{suffix}'"
            )


def _check_groups(cfg: CfgNode, instances: int) -> None:
    """Check that every batch holds the groups of images that the model's losses compare."""
    size, smallest = cfg.train.batch_size, 2 * instances
    wrong = []
    if cfg.sampler.train_sampler != "RandomIdentitySampler":
        wrong.append("sampler.train_sampler RandomIdentitySampler")
    if cfg.sampler.num_instances != instances:
        wrong.append(f"sampler.num_instances {instances}")
    if size % instances or size < smallest:
        nearest = max(smallest, round(size / instances) * instances)
        wrong.append(f"train.batch_size {nearest} (a multiple of {instances})")
    if wrong:
        raise ConfigError(
            f"{cfg.model.name} compares {instances} images of each person in a batch: set "
            + " and ".join(wrong)
        )


def _model(cfg: CfgNode) -> nn.Module:
    """Return the model without memory and weights, its shapes only."""
    options = yaml.safe_dump(plain(cfg.model.options))
    try:
        return _structure(cfg.model.name, cfg.loss.name, options)
    except (ValueError, TypeError) as error:  # a loss or an option that it does not have
        raise ConfigError(f"model.name {cfg.model.name}: {error}") from error


@cache  # a grid of runs has the same few models
def _structure(name: str, loss: str, options: str) -> nn.Module:
    with torch.device("meta"):
        return build_model(name, 1, loss, False, False, yaml.safe_load(options))


def _check_optimizer(cfg: CfgNode, model: nn.Module) -> None:
    """Make torchreid's own checks, which it would make when all data has been read."""
    if cfg.train.optim == OPTIMIZER and cfg.train.fixbase_epoch:
        raise ConfigError(
            f"train.optim {OPTIMIZER} steps the whole network from the first epoch: set "
            "train.fixbase_epoch 0"
        )
    try:
        optimizer = torchreid_optim.build_optimizer(model, **arguments(cfg, OPTIMIZER_OPTIONS))
        torchreid_optim.build_lr_scheduler(optimizer, **arguments(cfg, SCHEDULE))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"section 'train': {error}") from error


def _nearest(size: int, stride: int) -> int:
    return max(stride, round(size / stride) * stride)
