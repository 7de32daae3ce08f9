"""Adds this package to torchreid: the one module that knows torchreid's insides.

Torchreid comes in two layouts. In 1.4.0 (GitHub) ``torchreid.models`` is a module of that name; in
0.2.5 (PyPI) it is the module ``torchreid.reid.models``, bound as an attribute, and ``import
torchreid.models`` fails. Everything here goes through attributes, which are the same in both.

Torchreid has registries only for datasets. Its models are in a private dict, its losses and
schedules in none, so they are added as the attributes and wrappers that ``scripts/main.py`` finds.
"""

import importlib
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial, wraps
from inspect import signature
from types import MappingProxyType
from typing import Any

import torchreid
from torch import nn

from . import models
from .checkpoint import (
    allow_numpy_scalars,
    load_weights,
    require_resumable,
    restore,
    unwrap,
)
from .data.datasets import MASKS_SUFFIX, TEXTURES_SUFFIX, with_masks, with_textures
from .data.image_datasets import IMAGE_DATASETS
from .data.image_datasets.image_folder import OWN_FOLDERS, own_folders
from .evaluation.engine import Evaluating
from .hub import fetch, find
from .losses import PartSegmentationLoss, SemanticDiversityLoss
from .models import ReIDModel
from .synthetic import SyntheticPedestrians, SyntheticPedestriansOccluded
from .training.optim import SANAdam, WarmupMultiStepLR, default_warmup_epochs, without_decay

SCHEDULES = {  # name -> method of the warm-up
    "warmup_multi_step": "linear",
    "exponential_warmup_multi_step": "exponential",
}
OPTIMIZER = "san_adam"
OWN_MODULES = "TORCHREID_MAGNIFIER_IMPORT"
EVALUATION_SWITCH = "TORCHREID_MAGNIFIER_EVALUATION"
_WITH_SIDECARS = {MASKS_SUFFIX: with_masks, TEXTURES_SUFFIX: with_textures}


def register() -> None:
    """Registers models, losses, datasets, schedules, the optimizer, and the loading of checkpoints.

    With ``TORCHREID_MAGNIFIER_EVALUATION=1`` in the environment torchreid's own engines evaluate
    with this package too. Modules that ``TORCHREID_MAGNIFIER_IMPORT`` names (``mine`` or
    ``mine,other.module``, on Python's path) are imported: they may register models, backbones and
    datasets of their own, for torchreid's scripts and every command alike.

    Raises:
        ImportError: such a module cannot be imported.

    It may be called any number of times. Call it again after ``register_image_dataset`` for a
    dataset of your own, and its ``<name>_masks`` and ``<name>_textures`` are there too.
    """
    _register_models()
    _register_losses()
    _register_datasets()
    _register_schedules()
    _register_optimizer()
    _register_checkpoints()
    _register_evaluation()
    _import_own_modules()


def model_names() -> list[str]:
    """All names that torchreid's ``build_model`` knows."""
    return list(_models())


def build_model(
    name: str,
    num_classes: int,
    loss: str = "softmax",
    pretrained: bool = True,
    use_gpu: bool = True,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> nn.Module:
    """Return a model of torchreid's zoo, as its ``build_model``, with options of its own.

    Raises:
        ValueError: for a name or an option that is not known.
    """
    if options and name not in models.list_models():
        raise ValueError(
            f"{name} is torchreid's own and takes no options, found {', '.join(options)}"
        )
    if not options:
        return torchreid.models.build_model(name, num_classes, loss, pretrained, use_gpu)
    return _models()[name](num_classes, loss, pretrained, use_gpu, **options)


def loss_names() -> list[str]:
    """Return all names of losses that some model of this package accepts."""
    known = [models.loss_names(name) for name in models.list_models()]
    return list(dict.fromkeys(loss for losses in known for loss in losses))


def dataset_names() -> list[str]:
    """All names of image datasets that torchreid's data manager knows."""
    return list(_image_datasets())


def trains_only(name: str) -> bool:
    """Return whether a dataset has images to train on only, where its class says so."""
    return getattr(_image_datasets().get(name), "only_to_train", False)


def _models() -> dict[str, Callable[..., Any]]:
    # Not an attribute lookup: inside a class that would be name-mangled, and it is private anyway.
    return vars(torchreid.models)["__model_factory"]


def _image_datasets() -> dict[str, type]:
    return torchreid.data.register_image_dataset.__globals__["__image_datasets"]


def register_model(name: str, cls: type[ReIDModel], **options: Any) -> None:
    """Add a model of your own to torchreid's zoo, and to every command of this package.

    Args:
        name: of the model, for ``build_model`` and ``model.name``.
        cls: a subclass of ``ReIDModel``.
        options: of ``cls`` that the name stands for.

    Raises:
        TypeError: if ``cls`` is no such class.
        ValueError: if the name is taken, here or by torchreid.
    """
    if name in _models() and name not in models.list_models():
        raise ValueError(f"torchreid has a model {name!r}: register yours by another name.")
    models.register(name, cls, **options)
    _register_models()


def _register_models() -> None:
    for name in models.list_models():
        _models().setdefault(name, partial(_build, name))


def _build(
    name: str,
    num_classes: int,
    loss: str = "softmax",
    pretrained: bool | str = True,
    use_gpu: bool = True,
    **options: Any,
) -> ReIDModel:
    """Torchreid passes ``use_gpu`` to every model.

    ``pretrained`` may be the name of trained weights of this model: they are fetched, and the
    classifiers stay random.
    """
    if not isinstance(pretrained, str):
        return models.build(name, num_classes, loss, pretrained, **options)
    path = fetch(find(pretrained, model=name))
    model = models.build(name, num_classes, loss, **options)
    restore(model, path)
    return model


def _register_losses() -> None:
    for loss in (SemanticDiversityLoss, PartSegmentationLoss):
        setattr(torchreid.losses, loss.__name__, loss)


def _register_datasets() -> None:
    registered = _image_datasets()
    registered.setdefault("synthetic_pedestrians", SyntheticPedestrians)
    registered.setdefault("synthetic_pedestrians_occluded", SyntheticPedestriansOccluded)
    for name, cls in IMAGE_DATASETS.items():
        registered.setdefault(name, cls)
    for name, folder in own_folders().items():
        if registered.setdefault(name, folder) is not folder:
            raise ValueError(
                f"{OWN_FOLDERS}: there is a dataset {name!r} already; rename the folder"
            )
    for name, dataset in list(registered.items()):
        if name.endswith(tuple(_WITH_SIDECARS)):
            continue
        if not (isinstance(dataset, type) and issubclass(dataset, torchreid.data.ImageDataset)):
            continue  # a user's own kind, which has no place for more than an image
        for suffix, extended in _WITH_SIDECARS.items():
            if name + suffix not in registered:
                registered[name + suffix] = extended(dataset, name)


def _register_schedules() -> None:
    module = torchreid.optim.lr_scheduler
    _add_names(module.AVAI_SCH, SCHEDULES)

    def extend(original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def build_lr_scheduler(
            optimizer: Any,
            lr_scheduler: str = "single_step",
            stepsize: Any = 1,
            gamma: float = 0.1,
            max_epoch: int = 1,
        ) -> Any:
            if lr_scheduler not in SCHEDULES:
                return original(optimizer, lr_scheduler, stepsize, gamma, max_epoch)
            if not isinstance(stepsize, list):
                raise TypeError(
                    f"For {lr_scheduler} lr_scheduler, stepsize must be a list of epochs, "
                    f"but got {type(stepsize)}"
                )
            method = SCHEDULES[lr_scheduler]
            return WarmupMultiStepLR(
                optimizer,
                stepsize,
                gamma,
                warmup_epochs=default_warmup_epochs(stepsize, method),
                warmup_method=method,
            )

        return build_lr_scheduler

    _replace("build_lr_scheduler", extend, torchreid.optim, module)


def _register_optimizer() -> None:
    module = torchreid.optim.optimizer
    _add_names(module.AVAI_OPTIMS, [OPTIMIZER])

    def extend(original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def build_optimizer(*args: Any, **kwargs: Any) -> Any:
            bound = signature(original).bind(*args, **kwargs)
            bound.apply_defaults()
            given = bound.arguments
            if given["optim"] != OPTIMIZER:
                if not isinstance(model := unwrap(given["model"]), ReIDModel):
                    return original(*args, **kwargs)
                model.redirect_losses(None)  # to an earlier one that is still there
                optimizer = original(*args, **kwargs)
                named = model.named_parameters()
                without_decay(optimizer, (p for n, p in named if n.startswith(model.undecayed)))
                return optimizer
            if given["staged_lr"]:
                raise ValueError(
                    f"The optimizer {OPTIMIZER!r} has learning rates of its own: set "
                    "train.staged_lr False."
                )
            betas = (given["adam_beta1"], given["adam_beta2"])
            return SANAdam(given["model"], given["lr"], given["weight_decay"], betas)

        return build_optimizer

    _replace("build_optimizer", extend, torchreid.optim, module)


def _add_names(known: list[str], names: Iterable[str]) -> None:
    """Adds to torchreid's own list, which its error messages show."""
    known.extend(name for name in names if name not in known)


def _register_checkpoints() -> None:
    allow_numpy_scalars()
    utils = torchreid.utils

    def extend_load(original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def load_pretrained_weights(model: Any, weight_path: str) -> None:
            load = load_weights if _is_ours(model) else original
            load(model, weight_path)

        return load_pretrained_weights

    def extend_resume(original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def resume_from_checkpoint(
            fpath: str, model: Any, optimizer: Any = None, scheduler: Any = None
        ) -> int:
            if _is_ours(model):
                require_resumable(model, fpath)
            return original(fpath, model, optimizer, scheduler)

        return resume_from_checkpoint

    _replace(
        "load_pretrained_weights", extend_load, utils, utils.torchtools, utils.feature_extractor
    )
    _replace("resume_from_checkpoint", extend_resume, utils, utils.torchtools)


def _register_evaluation() -> None:
    value = os.environ.get(EVALUATION_SWITCH) or "0"
    if value == "1":
        for name in ("_evaluate", "_extract", "_rank"):
            setattr(torchreid.engine.Engine, name, vars(Evaluating)[name])
    elif value != "0":
        message = (
            f"{EVALUATION_SWITCH}: expected 1 or 0, found {value!r}; torchreid's engines evaluate "
            "with their own code."
        )
        warnings.warn(message, RuntimeWarning, stacklevel=3)


def _import_own_modules() -> None:
    for name in filter(None, os.environ.get(OWN_MODULES, "").split(",")):
        try:
            importlib.import_module(name.strip())
        except ImportError as error:
            raise ImportError(
                f"{OWN_MODULES}: cannot import {name!r} ({error}): give names of modules, "
                "separated by commas, and put their folder on PYTHONPATH"
            ) from error


def _is_ours(model: Any) -> bool:
    return isinstance(unwrap(model), ReIDModel)


def _replace(name: str, extend: Callable[..., Any], *modules: Any) -> None:
    """Puts ``extend(torchreid's own function)`` in its place in every module that imported it.

    A function extended by an earlier call is taken off first, so that wrappers never nest.
    """
    current = getattr(modules[0], name)
    original = getattr(current, "torchreid_original", current)
    extended = extend(original)
    extended.torchreid_original = original
    for module in modules:
        setattr(module, name, extended)
