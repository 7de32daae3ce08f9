"""The configuration of ``torchreid-magnifier train``: torchreid's own keys, defaults and meaning.

Keys and defaults are those of torchreid 1.4.0's ``scripts/default_config.py``, so one YAML file
serves stock ``main.py`` and this command alike. Two things are added, which stock ``main.py``
refuses: ``model.options``, a free mapping of the named model's options, such as ``{fusion: gru}``,
and the section ``teacher``.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from yacs.config import CfgNode

from ..errors import MagnifierError, closest
from ..files import ListError, load_yaml, read_text

DEFAULTS: dict[str, Any] = {
    "model": {
        "name": "resnet50",
        "options": {},
        "pretrained": True,
        "load_weights": "",
        "resume": "",
    },
    "data": {
        "type": "image",
        "root": "reid-data",
        "sources": ["market1501"],
        "targets": ["market1501"],
        "workers": 4,
        "split_id": 0,
        "height": 256,
        "width": 128,
        "combineall": False,
        "transforms": ["random_flip"],
        "k_tfm": 1,
        "norm_mean": [0.485, 0.456, 0.406],
        "norm_std": [0.229, 0.224, 0.225],
        "save_dir": "log",
        "load_train_targets": False,
    },
    "market1501": {"use_500k_distractors": False},
    "cuhk03": {"labeled_images": False, "classic_split": False, "use_metric_cuhk03": False},
    "sampler": {
        "train_sampler": "RandomSampler",
        "train_sampler_t": "RandomSampler",
        "num_instances": 4,
        "num_cams": 1,
        "num_datasets": 1,
    },
    "video": {"seq_len": 15, "sample_method": "evenly", "pooling_method": "avg"},
    "train": {
        "optim": "adam",
        "lr": 0.0003,
        "weight_decay": 5e-4,
        "max_epoch": 60,
        "start_epoch": 0,
        "batch_size": 32,
        "fixbase_epoch": 0,
        "open_layers": ["classifier"],
        "staged_lr": False,
        "new_layers": ["classifier"],
        "base_lr_mult": 0.1,
        "lr_scheduler": "single_step",
        "stepsize": [20],
        "gamma": 0.1,
        "print_freq": 20,
        "seed": 1,
    },
    "sgd": {"momentum": 0.9, "dampening": 0.0, "nesterov": False},
    "rmsprop": {"alpha": 0.99},
    "adam": {"beta1": 0.9, "beta2": 0.999},
    "loss": {
        "name": "softmax",
        "softmax": {"label_smooth": True},
        "triplet": {"margin": 0.3, "weight_t": 1.0, "weight_x": 0.0},
    },
    "teacher": {"weights": "", "input": "normalised", "cosine": 5.0, "similarity": 50.0},
    "test": {
        "batch_size": 100,
        "dist_metric": "euclidean",
        "normalize_feature": False,
        "ranks": [1, 5, 10, 20],
        "evaluate": False,
        "eval_freq": -1,
        "start_eval": 0,
        "rerank": False,
        "visrank": False,
        "visrank_topk": 10,
    },
}

OPTIONS = "model.options"  # the one key whose value is a mapping


def _named(section: str, names: str) -> dict[str, str]:
    return {name: f"{section}.{name}" for name in names.split()}


# Arguments of torchreid's data manager, optimizer, schedule and engine, and the key of each.
DATA_MANAGER = {
    **_named("data", "root sources targets height width transforms k_tfm norm_mean norm_std"),
    **_named("data", "split_id combineall load_train_targets workers"),
    **_named("sampler", "num_instances num_cams num_datasets train_sampler train_sampler_t"),
    "use_gpu": "use_gpu",
    "batch_size_train": "train.batch_size",
    "batch_size_test": "test.batch_size",
    "cuhk03_labeled": "cuhk03.labeled_images",
    "cuhk03_classic_split": "cuhk03.classic_split",
    "market1501_500k": "market1501.use_500k_distractors",
}
OPTIMIZER_OPTIONS = {
    **_named("train", "optim lr weight_decay staged_lr new_layers base_lr_mult"),
    "momentum": "sgd.momentum",
    "sgd_dampening": "sgd.dampening",
    "sgd_nesterov": "sgd.nesterov",
    "rmsprop_alpha": "rmsprop.alpha",
    "adam_beta1": "adam.beta1",
    "adam_beta2": "adam.beta2",
}
SCHEDULE = _named("train", "lr_scheduler stepsize gamma max_epoch")
RUN = {
    **_named("train", "max_epoch start_epoch fixbase_epoch open_layers print_freq"),
    **_named("test", "start_eval eval_freq dist_metric normalize_feature visrank visrank_topk"),
    **_named("test", "ranks rerank"),
    "save_dir": "data.save_dir",
    "test_only": "test.evaluate",
    "use_metric_cuhk03": "cuhk03.use_metric_cuhk03",
}


class ConfigError(MagnifierError):
    """A mistake in what the command was given. Its text says what is wrong and what to do."""


def default_config() -> CfgNode:
    """Return all keys at their defaults; ``use_gpu``: whether there is a CUDA device."""
    cfg = CfgNode(DEFAULTS)
    cfg.use_gpu = torch.cuda.is_available()
    return cfg


def read_config(path: str | Path | None, options: Sequence[str] = (), **data: Any) -> CfgNode:
    """Return torchreid's defaults with what a file and a command line set, the latter last.

    Args:
        path: a YAML file, or None for the defaults.
        options: as ``merge_list`` takes them.
        data: keys of the section ``data``, such as ``sources``; those that are empty are left out.

    Raises:
        ConfigError: as ``merge_file`` and ``merge_list``.
    """
    cfg = default_config()
    if path:
        merge_file(cfg, path)
    for key, value in data.items():
        if value and f"data.{key}" in options[::2]:
            raise ConfigError(
                f"command line: data.{key} is given twice, by its flag and by its key"
            )
        if value:
            cfg.data[key] = value
    merge_list(cfg, options)
    return cfg


def merge_file(cfg: CfgNode, path: str | Path) -> None:
    """Set the keys that the YAML file ``path`` gives.

    Raises:
        ConfigError: if the file cannot be read, is no YAML mapping, or has an unknown key or a
            value of the wrong type.
    """
    try:
        text = read_text(path)
    except (OSError, ListError) as error:
        raise ConfigError(f"cannot read the configuration file {path}: {error}") from error
    try:
        tree = load_yaml(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(tree, dict | None):
        raise ConfigError(
            f"{path}: expected sections such as 'model:' and 'data:' with keys under them, "
            f"found a {type(tree).__name__}"
        )
    for key, value in _leaves(tree or {}):
        _set(cfg, key, value, str(path))


def merge_list(cfg: CfgNode, pairs: Sequence[str]) -> None:
    """Set the keys of a flat list ``[key, value, key, value, ...]``, as typed on a command line.

    Raises:
        ConfigError: if a value is missing, a key unknown or given twice, or a value of the wrong
            type.
    """
    if len(pairs) % 2:
        raise ConfigError(
            f"options come as pairs 'key value', but {pairs[-1]!r} at the end of "
            f"{' '.join(pairs)!r} stands alone"
        )
    keys = pairs[::2]
    for key in keys:
        if keys.count(key) > 1:
            raise ConfigError(f"command line: {key} is given {keys.count(key)} times")
    for key, value in zip(keys, pairs[1::2], strict=True):
        _set(cfg, key, value, "command line")


def flatten(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``{'train.lr': 0.0003, ...}``: every leaf under its dotted key."""
    return dict(_leaves(cfg))


def plain(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration, or a section of it, as dicts and plain values."""
    return {
        key: plain(value) if isinstance(value, Mapping) else value for key, value in tree.items()
    }


def arguments(cfg: CfgNode, keys: Mapping[str, str]) -> dict[str, Any]:
    """Return arguments for torchreid: of ``DATA_MANAGER``, ``OPTIMIZER_OPTIONS``, ``RUN``, …"""
    values = flatten(cfg)
    return {argument: values[key] for argument, key in keys.items()}


def require_known(key: str, names: Iterable[str], known: Sequence[str]) -> None:
    """Check that names are among the known ones.

    Raises:
        ConfigError: with ``key``, where they were given, and the nearest names.
    """
    for name in names:
        if name not in known:
            raise ConfigError(
                f"{key}: unknown name {name!r}{closest(name, known)} "
                f"(all names: {', '.join(sorted(known))})"
            )


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping) and f"{prefix}{name}" != OPTIONS:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _set(cfg: CfgNode, key: str, value: Any, where: str) -> None:
    known = flatten(cfg)
    if key == OPTIONS:
        cfg.model.options = _mapping(value, where)
        return
    if key.startswith(f"{OPTIONS}."):
        try:
            cfg.model.options[key.removeprefix(f"{OPTIONS}.")] = load_yaml(str(value))
        except yaml.YAMLError as error:
            raise ConfigError(f"{where}: {key} takes a value in YAML, found {value!r}") from error
        return
    if key not in known:
        raise ConfigError(f"{where}: there is no option {key!r}{closest(key, list(known))}")
    try:
        cfg.merge_from_list([key, value])
    except ValueError as error:  # the types are torchreid's: stock main.py refuses the same
        expected = known[key]
        raise ConfigError(
            f"{where}: {key} takes a {type(expected).__name__} such as {expected!r}, "
            f"found {value!r}"
        ) from error


def _mapping(value: Any, where: str) -> CfgNode:
    """Return the options of a model, of a YAML mapping or its text."""
    found = value
    if isinstance(value, str):
        try:
            found = load_yaml(value)
        except yaml.YAMLError:
            pass
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise ConfigError(
            f"{where}: {OPTIONS} takes a mapping of option names to values such as "
            f'"{{fusion: gru}}", found {value!r}'
        )
    return CfgNode(found)
