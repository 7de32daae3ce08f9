"""Registered networks on a backbone of one convolution a stage, for tests of all but backbones."""

import importlib
import sys
from pathlib import Path
from typing import Any

import torch
import yaml

from torchreid_magnifier import models
from torchreid_magnifier.models.base import ReIDModel

sys.path.insert(0, str(Path(__file__).parent / "contract"))
importlib.import_module("slim")  # registers it

OF_A_BACKBONE = ("backbone", "backbone_options", "projection")
ENTRIES: dict[str, Any] = vars(models)["_ENTRIES"]


def on_slim(name: str) -> dict[str, Any]:
    """Return the options by which ``name`` is built on the backbone ``slim``."""
    return {key: None for key in OF_A_BACKBONE if key in ENTRIES[name][1]} | {"backbone": "slim"}


def small(name: str, loss: str = "triplet", num_classes: int = 5, **options: Any) -> ReIDModel:
    """Build what ``name`` stands for on the backbone ``slim``, or on that of ``options``.

    The weights are those of seed 0.
    """
    torch.manual_seed(0)
    return models.build(name, num_classes, loss, **{**on_slim(name), **options})


def beside_its_backbone(name: str) -> tuple[type[ReIDModel], dict[str, Any]]:
    """Return what a name stands for, without its backbone."""
    cls, options = ENTRIES[name]
    return cls, {key: value for key, value in options.items() if key not in OF_A_BACKBONE}


def save_run(folder: Path, name: str, seed: int = 0, epoch: int = 1, std: float = 0.25) -> str:
    """Leave what ``name`` stands for, on ``slim``, as a training does; return the checkpoint.

    For images of 64x32, of the mean 0.5.
    """
    torch.manual_seed(seed)
    model = models.build(name, 3, "triplet", **on_slim(name))
    path = folder / "model" / f"model.pth.tar-{epoch}"
    path.parent.mkdir(parents=True)
    torch.save({"state_dict": model.state_dict()}, path)
    data = {"height": 64, "width": 32, "norm_mean": [0.5] * 3, "norm_std": [std] * 3}
    record = {"model": {"name": name, "options": {"backbone": "slim"}}, "data": data}
    (folder / "config.yaml").write_text(yaml.safe_dump(record))
    return str(path)
