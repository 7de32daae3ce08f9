"""The reference implementation of MagnifierNet, from a clone, as it trains and tests itself.

Its own functions do the work: ``MTModel``, ``make_mt_loss``, ``make_optimizer``, and the
``_update`` and ``_inference`` of ``create_mt_supervised_trainer`` and ``…_evaluator``, all with its
configuration of the whole network on Market-1501 without attributes (first stage). Its
``tools/train-mt.py`` itself reads data sets and parses a command line; the calls that it makes
between the two are made here. What today's Python and PyTorch refuse is patched in memory:

- ``async=True`` in ``layers/attr_loss.py``, a syntax error since Python 3.7, is ``non_blocking``.
- ``ignite`` and the evaluation's ``utils.reid_metric`` are stand-ins: the first's ``Engine`` would
  only call ``_update`` in a loop, and nothing is scored here.
- On the CPU ``.cuda()`` gives its object back.

So patched is the whole process: it measures nothing else.
"""

import contextlib
import io
import sys
import types
from pathlib import Path
from typing import Any

import torch
from torch import nn

CONFIG = "configs/abla-sample/branch-abla/all_noattr.yaml"
NEEDED = ("engine/mt_trainer.py", "modeling/MT_Model.py", "layers/attr_loss.py", CONFIG)
SOURCE = "https://github.com/NIRVANALAN/magnifiernet_reid"


def missing(clone: Path) -> list[str]:
    """Files that a clone of the reference implementation has and this folder does not."""
    return [name for name in NEEDED if not (clone / name).is_file()]


class Reference:
    """The reference network with the two functions that its trainer and evaluator call.

    Args:
        clone: folder of the clone.
        num_classes: identities to train on.
        device: ``cpu`` or ``cuda``.

    Attributes:
        model: the network.
        update: one training step of a batch ``(images, pids, labels, None, None, None)``, its
            labels ``(N, H / 8, W / 8)``.
        embed: embeddings of images on any device.
    """

    def __init__(self, clone: Path, num_classes: int, device: str) -> None:
        _patch(clone, device)
        with contextlib.redirect_stdout(io.StringIO()):
            from config import cfg
            from engine.mt_trainer import (
                create_mt_supervised_evaluator,
                create_mt_supervised_trainer,
            )
            from layers import make_mt_loss
            from modeling import build_mt_model
            from solver import make_optimizer

            cfg.merge_from_file(str(clone / CONFIG))
            mt = cfg.mt
            self.model: nn.Module = build_mt_model(
                num_features=mt.num_features,
                dropout=mt.dropout,
                last_stride=mt.last_conv_stride,
                num_classes=num_classes,
                num_classes_seg=mt.num_classes_seg,
                global_branch=mt.global_branch,
                mask_branch=mt.mask_branch,
                part_branch=mt.part_branch,
                mask_dim=mt.mask_dim,
                part_dim=mt.part_dim,
                part_info=mt.part_info,
                attr_mask_weight=mt.attr_mask_weight,
                wavp=mt.attr_wavp,
                use_attr=mt.use_attr,
                part_layer=mt.part_layer,
                part_abla=mt.part_abla,
            )
            losses = make_mt_loss(
                cfg,
                mt.normalize_size,
                mt.num_classes_seg,
                mt.weight[2],
                mt.triplet_margin,
                num_classes,
            )
        optimizer = make_optimizer(cfg, self.model)
        update = create_mt_supervised_trainer(
            self.model, optimizer, losses, mt.weight, device=device
        )
        infer = create_mt_supervised_evaluator(self.model, {}, device=device)
        self.update = lambda batch: update(None, batch)
        self.embed = lambda images: infer(None, (images, None, None))[0]


def _patch(clone: Path, device: str) -> None:
    sys.path.insert(0, str(clone))
    for name, attributes in {
        "ignite": (),
        "ignite.engine": ("Events",),
        "ignite.handlers": ("ModelCheckpoint", "Timer"),
        "ignite.metrics": ("RunningAverage",),
        "utils.reid_metric": ("R1_mAP",),
    }.items():
        _stand_in(name, dict.fromkeys(attributes))
    sys.modules["ignite.engine"].Engine = lambda update: update  # type: ignore[attr-defined]
    source = (clone / "layers" / "attr_loss.py").read_text(encoding="utf-8")
    module = _stand_in("layers.attr_loss", {})
    exec(source.replace("async=True", "non_blocking=True"), module.__dict__)
    if device == "cpu":
        torch.Tensor.cuda = nn.Module.cuda = lambda self, *args, **kwargs: self


def _stand_in(name: str, attributes: dict[str, Any]) -> types.ModuleType:
    sys.modules[name] = module = types.ModuleType(name)
    vars(module).update(attributes)
    return module
