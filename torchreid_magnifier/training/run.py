"""Runs of torchreid's training and testing, one or several in stages, which go on after a kill.

Sampler and data manager are torchreid's own, unchanged; its engine computes the same losses and
scores in less time (``engines``). Image data only.
A run whose ``data.save_dir`` already holds checkpoints goes on from the newest one: nothing is
overwritten, and a finished run is not run again. What its last test found is written to
``results.json`` there (``resume.Result``).
"""

import io
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import nn
from torchreid import optim as torchreid_optim
from torchreid import utils as torchreid_utils
from yacs.config import CfgNode

from ..checkpoint import NETWORK, read_checkpoint
from ..distributed.processes import ALONE, Processes
from ..files import locked
from ..models import ReIDModel
from ..registry import build_model
from . import resume as saved
from .checks import check, check_together
from .config import OPTIMIZER_OPTIONS, RUN, SCHEDULE, ConfigError, arguments, plain
from .engine import Engine
from .loaders import identities, read_data
from .optim import use_fused
from .teacher import Targets, open_teacher

_environment = cache(torchreid_utils.collect_env_info)  # it starts pip and waits for it
_SEED_STEP = 100_000  # between the seeds of two processes; more than a run has epochs


def link_stages(stages: Sequence[CfgNode], options: Sequence[str]) -> None:
    """Make successive stages of configurations: each gets a folder of its own.

    Args:
        stages: their ``data.save_dir`` becomes ``<it>/stage<number>`` if it is among ``options``.
        options: keys that were set for all stages alike.

    Raises:
        ConfigError: for what successive stages cannot have.
    """
    for number, cfg in enumerate(stages, 1):
        if "data.save_dir" in options:
            cfg.data.save_dir = os.path.join(cfg.data.save_dir, f"stage{number}")
        if cfg.model.resume:
            raise ConfigError(
                "model.resume does not go with --stages, which goes on from what it finds in the "
                "stages' folders"
            )
        if "loss.name" in options:
            raise ConfigError(
                "an option applies to every stage, and the stages differ in loss.name: set it in "
                "their files"
            )
        if cfg.test.evaluate:
            raise ConfigError(
                "test.evaluate does not go with --stages: test a stage's weights with "
                "--config-file and model.load_weights"
            )
    folders = [os.path.abspath(cfg.data.save_dir) for cfg in stages]
    if len(set(folders)) < len(folders):
        raise ConfigError(
            "two stages have the same data.save_dir and would overwrite each other: "
            "give 'data.save_dir D', and stage i writes into D/stage<i>"
        )


class Stage(NamedTuple):
    """One run to do.

    Attributes:
        cfg: its configuration.
        title: its name in messages.
        start: the checkpoint that it goes on from.
        last_epoch: of the checkpoints in its folder when it was planned.
    """

    cfg: CfgNode
    title: str
    start: saved.Saved | None
    last_epoch: int

    @property
    def finished(self) -> bool:
        if self.start is None or self.cfg.test.evaluate:
            return False
        return bool(self.start.epoch >= self.cfg.train.max_epoch)

    @property
    def results(self) -> dict[str, saved.Result] | None:
        """Return what the last test found on each target, once the stage is finished and tested."""
        if self.start is None or not self.finished:
            return None
        found = saved.results(self.cfg.data.save_dir)
        tested = {name: r for name, r in found.items() if r.epoch == self.start.epoch}
        targets = self.cfg.data.targets
        return {t: tested[t] for t in targets} if set(targets) <= set(tested) else None

    def is_tested(self) -> bool:
        """Return whether there is nothing left to do."""
        return self.results is not None

    @property
    def final_weights(self) -> str:
        """Return the file that this stage ends with, now or later."""
        if self.start is not None and self.finished:
            return self.start.path
        name = f"model.pth.tar-{self.cfg.train.max_epoch}"
        return os.path.join(self.cfg.data.save_dir, "model", name)


def plan(
    cfgs: Sequence[CfgNode], fixed: Sequence[str] = (), processes: Processes = ALONE
) -> list[Stage]:
    """Check the configurations, chain their weights and see how far earlier runs came.

    Args:
        cfgs: of the stages; their ``model.load_weights`` are set.
        fixed: keys that may not differ from an earlier run's, although a run could go on.
        processes: that will share the work; the main one alone plans.

    Raises:
        ConfigError: if anything is wrong; no data has been read by then.
    """
    for cfg in cfgs:
        check(cfg)
    stages: list[Stage] = []
    for number, cfg in enumerate(cfgs, 1):
        previous = stages[-1] if stages else None
        if previous:
            cfg.model.load_weights = previous.final_weights
            if not previous.finished and saved.last_epoch(cfg.data.save_dir):
                raise ConfigError(
                    f"{cfg.data.save_dir} holds checkpoints, but {previous.title.lower()} is not "
                    "finished: they started from other weights. Move that folder away"
                )
        title = f"Stage {number} of {len(cfgs)}" if len(cfgs) > 1 else "The run"
        last = saved.last_epoch(cfg.data.save_dir)
        stages.append(Stage(cfg, title, _start(cfg, fixed), last))
    if processes.count > 1:
        check_together(cfgs, processes.count)
    return stages


def _start(cfg: CfgNode, fixed: Sequence[str]) -> saved.Saved | None:
    """Return the checkpoint to go on from: ``model.resume``, or the newest of the folder."""
    save_dir = cfg.data.save_dir
    if cfg.model.resume:
        epoch = read_checkpoint(cfg.model.resume).get("epoch")
        if not isinstance(epoch, int):
            raise ConfigError(
                f"model.resume: {cfg.model.resume} holds weights only, no state of training: "
                "load it by model.load_weights"
            )
        start = saved.Saved(cfg.model.resume, epoch)
        if not cfg.test.evaluate and saved.last_epoch(save_dir) > start.epoch:
            raise ConfigError(
                f"model.resume is at epoch {start.epoch}, but {save_dir} holds checkpoints up to "
                f"epoch {saved.last_epoch(save_dir)}, which would be overwritten: give another "
                "data.save_dir"
            )
        return start
    if cfg.test.evaluate:
        return None
    saved.check_same_run(cfg, fixed)
    return saved.newest(save_dir)


def run(
    stages: Sequence[Stage],
    on_epoch: Callable[[], None] = lambda: None,
    processes: Processes = ALONE,
    compiled: bool = False,
    gradient_checkpointing: bool = False,
) -> None:
    """Train the stages that are not finished, one after the other; test with ``test.evaluate``.

    Args:
        stages: of ``plan``.
        on_epoch: called after each epoch of training.
        processes: that share the work.
        compiled: have torch.compile translate the models first.
        gradient_checkpointing: compute early stages of backbones twice instead of keeping them.

    Raises:
        ConfigError: for data, weights or a model that do not do.
        EvaluationError: if the test fails.
    """

    def prepare(cfg: CfgNode, model: nn.Module) -> None:
        if gradient_checkpointing:
            _checkpoint_gradients(cfg, model)
        if compiled:
            _compile(cfg, model)

    for stage in stages:
        cfg, title, start = stage[:3]
        if start and processes.from_main(stage.is_tested):
            print(f"{title} is finished ({start.epoch} epochs, {start.path}): not run again.")
            continue
        with _alone(stage) if processes.is_main else nullcontext():
            if start and stage.finished:
                print(f"{title} is trained ({start.epoch} epochs, {start.path}), not yet tested")
            elif start:
                print(f"{title} goes on after epoch {start.epoch}, from {start.path}")
            elif len(stages) > 1:
                print(f"{title} starts")
            _run_stage(stage, on_epoch, prepare, processes)


def _run_stage(
    stage: Stage,
    on_epoch: Callable[[], None],
    prepare: Callable[[CfgNode, nn.Module], None],
    processes: Processes,
) -> None:
    cfg, start = stage.cfg, stage.start
    torchreid_utils.set_random_seed(cfg.train.seed)
    print(f"Show configuration\n{cfg}\n")
    print(_summary(cfg))
    print(f"Collecting env info ...\n** System info **\n{_environment()}\n")
    if cfg.use_gpu:
        torch.backends.cudnn.benchmark = True
    datamanager = processes.together(lambda: read_data(cfg), in_turn=True)
    num_classes = datamanager.num_train_pids
    teacher = processes.together(lambda: _teacher(cfg, datamanager), in_turn=True)
    model = processes.together(
        lambda: _build_model(cfg, num_classes, prepare, processes), in_turn=True
    )
    optimizer = torchreid_optim.build_optimizer(model, **arguments(cfg, OPTIMIZER_OPTIONS))
    scheduler = torchreid_optim.build_lr_scheduler(optimizer, **arguments(cfg, SCHEDULE))
    random_state = None
    if start:
        path = start.path
        cfg.train.start_epoch, random_state = processes.together(
            lambda: saved.go_on_from(path, model, optimizer, scheduler, datamanager)
        )
    use_fused(optimizer)
    if random_state is not None and processes.count == 1:
        saved.set_random_state(random_state)
    elif start or not processes.is_main:
        # Else the epochs to come would draw the very batches of the first ones, and the other
        # processes change their images just as the main one does.
        torchreid_utils.set_random_seed(
            cfg.train.seed + cfg.train.start_epoch + _SEED_STEP * processes.rank
        )
    print(f"Building {cfg.loss.name}-engine for image-reid")
    engine = Engine(
        datamanager,
        model,
        optimizer,
        scheduler,
        use_gpu=cfg.use_gpu,
        label_smooth=cfg.loss.softmax.label_smooth,
        margin=None if cfg.loss.name == "softmax" else cfg.loss.triplet.margin,
        weight_t=cfg.loss.triplet.weight_t,
        weight_x=cfg.loss.triplet.weight_x,
        on_epoch=on_epoch,
        processes=processes,
        seed=cfg.train.seed + cfg.train.start_epoch,
        record=_record(cfg, datamanager),
        teacher=teacher,
    )
    if cfg.test.evaluate:
        engine.run(**arguments(cfg, RUN))
        return
    begun = time.monotonic()
    if stage.finished:  # killed before its results were written; no re-ranking after training
        engine.run(**arguments(cfg, RUN) | {"test_only": True, "rerank": False})
    else:
        if processes.is_main:
            saved.record(cfg)
        engine.run(**arguments(cfg, RUN))
    if not processes.is_main:
        return
    minutes = None if start else (time.monotonic() - begun) / 60
    epoch = max(cfg.train.start_epoch, cfg.train.max_epoch)
    saved.record_results(
        cfg.data.save_dir,
        {name: saved.Result(*score, epoch, minutes) for name, score in engine.scores.items()},
    )


def _teacher(cfg: CfgNode, datamanager: Any) -> Targets | None:
    if cfg.test.evaluate or not cfg.teacher.weights:
        return None
    images = datamanager.train_loader.dataset.images
    return Targets(open_teacher(cfg), [path for path, *_ in images.train])


def _checkpoint_gradients(cfg: CfgNode, model: nn.Module) -> None:
    if not isinstance(model, ReIDModel):
        raise ConfigError(
            "--gradient-checkpointing is for models of this package, such as magnifiernet, found "
            f"{cfg.model.name}"
        )
    model.set_grad_checkpointing()


def _compile(cfg: CfgNode, model: nn.Module) -> None:
    try:  # what a model needs, before the data of the first step are read
        torch.compile(torch.sin)(torch.ones(1, device="cuda" if cfg.use_gpu else "cpu"))
    except Exception as error:  # of many kinds
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"--compile: torch.compile does not work here ({reason}): it takes a C++ compiler "
            "on the CPU and Triton on a GPU. Leave --compile out"
        ) from error
    model.compile()


def _build_model(
    cfg: CfgNode,
    num_classes: int,
    prepare: Callable[[CfgNode, nn.Module], None],
    processes: Processes,
) -> nn.Module:
    print(f"Building model: {cfg.model.name}")
    try:
        model = build_model(
            cfg.model.name,
            num_classes,
            cfg.loss.name,
            cfg.model.pretrained,
            cfg.use_gpu,
            plain(cfg.model.options),
        )
    except (OSError, RuntimeError) as error:  # ImageNet weights that cannot be had
        raise ConfigError(f"cannot build {cfg.model.name}: {error}") from error
    num_params, flops = torchreid_utils.compute_model_complexity(
        model, (1, 3, cfg.data.height, cfg.data.width)
    )
    print(f"Model complexity: params={num_params:,} flops={flops:,}")
    if isinstance(model, ReIDModel) and cfg.teacher.weights and not cfg.test.evaluate:
        size = open_teacher(cfg).size
        model.learn_from(size, cfg.teacher.cosine, cfg.teacher.similarity)
    if cfg.model.load_weights:
        torchreid_utils.load_pretrained_weights(model, cfg.model.load_weights)
    if isinstance(model, ReIDModel) and not cfg.test.evaluate:
        model.trained_size = (cfg.data.height, cfg.data.width)
    prepare(cfg, model)
    if not cfg.use_gpu:
        return model
    devices = None if processes.count == 1 else [torch.cuda.current_device()]
    return nn.DataParallel(model, devices).cuda()


def _summary(cfg: CfgNode) -> str:
    """Return what decides a run, in a few lines."""
    data, test = cfg.data, cfg.test
    options = "".join(f", {key} {value}" for key, value in cfg.model.options.items())
    lines = {
        "model": f"{cfg.model.name}{options}, for images of {data.height}x{data.width}",
        "targets": f"{' '.join(data.targets)}, {test.dist_metric} distance",
    }
    if not test.evaluate:
        triplet = cfg.loss.triplet
        weights = f" (triplet x {triplet.weight_t:g}, margin {triplet.margin:g}; cross-entropy x "
        weights = "" if cfg.loss.name == "softmax" else f"{weights}{triplet.weight_x:g})"
        sampler = f"{cfg.sampler.train_sampler}, {cfg.train.batch_size} images a batch"
        steps = f"{cfg.train.lr_scheduler} {cfg.train.stepsize} x {cfg.train.gamma:g}"
        lines |= {
            "loss": cfg.loss.name + weights,
            "sources": f"{' '.join(data.sources)}, {sampler}",
            "transforms": " ".join(data.transforms) or "none",
            "schedule": f"{cfg.train.optim}, learning rate {cfg.train.lr:g}, {steps}, "
            f"{cfg.train.max_epoch} epochs",
        }
        if cfg.teacher.weights:
            weights = f"cosine x {cfg.teacher.cosine:g}, similarity x {cfg.teacher.similarity:g}"
            lines["teacher"] = f"{cfg.teacher.weights} ({cfg.teacher.input} input; {weights})"
    begins = cfg.model.resume or cfg.model.load_weights
    if begins or cfg.model.pretrained:
        lines["begins with"] = begins or "ImageNet weights of the backbone"
    return "\n".join(["This run", *(f"  {key}: {value}" for key, value in lines.items()), ""])


def _record(cfg: CfgNode, datamanager: Any) -> dict[str, Any]:
    """Return what a checkpoint says of its network, so that it can be built and fed again."""
    data = cfg.data
    network = {
        "model": cfg.model.name,
        "options": plain(cfg.model.options),
        "loss": cfg.loss.name,
        "num_classes": datamanager.num_train_pids,
        "sources": list(data.sources),
        "height": data.height,
        "width": data.width,
        "mean": list(data.norm_mean),
        "std": list(data.norm_std),
    }
    if cfg.teacher.weights:
        network["start"] = f"teacher {os.path.basename(cfg.teacher.weights)}"
    return {NETWORK: network, saved.IDENTITIES: identities(datamanager)}


@contextmanager
def _alone(stage: Stage) -> Iterator[None]:
    """Log a stage whose folder no other run writes into."""
    folder = stage.cfg.data.save_dir
    with locked(os.path.join(folder, ".lock")):
        if (found := saved.last_epoch(folder)) != stage.last_epoch:
            raise ConfigError(
                f"another run has written into {folder} meanwhile (epoch {found}): give the "
                "command again"
            )
        saved.remove_leftovers(folder)
        with _logging(stage.cfg):
            yield


@contextmanager
def _logging(cfg: CfgNode) -> Iterator[None]:
    """Write printed lines also into a log file in ``data.save_dir``, by torchreid's Logger."""
    name = "test.log" if cfg.test.evaluate else "train.log"
    path = os.path.join(cfg.data.save_dir, name + time.strftime("-%Y-%m-%d-%H-%M-%S"))
    while os.path.exists(path):  # a run killed within this second: its log stays
        path += "+"
    console = sys.stdout
    logger = torchreid_utils.Logger(path)
    # A killed run leaves its log complete.
    logger.file.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    sys.stdout = logger
    try:
        yield
    except Exception:
        traceback.print_exc(file=logger.file)
        raise
    finally:
        sys.stdout = console
        logger.console = io.StringIO()  # the Logger closes its console with itself
        logger.close()
