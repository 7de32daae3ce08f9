"""Grids of variants x seeds, each run as ``torchreid-magnifier train`` runs it.

Every variant runs through all stages. One without the semantic diversity loss takes the loss
``triplet`` in each, so that all are trained for the same number of epochs. What is equal is trained
once: a stage's folder is ``runs/<variant>/seed<seed>/stage<number>_<loss>``, whichever cells need
it.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm
from yacs.config import CfgNode

from ..errors import MagnifierError
from ..files import LockedError, locked, nowhere
from ..training import resume as saved
from ..training.config import ConfigError
from ..training.loaders import read_data
from ..training.run import Stage, plan
from ..training.run import run as train
from . import ablation_report
from .ablation_grids import Cell, Grid

# What must not change between the runs of one table, though a single run may go on with it changed.
FIXED = (
    "train.max_epoch",
    "test.dist_metric",
    "test.normalize_feature",
    "cuhk03.use_metric_cuhk03",
)

# Options that are not for the command line or for the files, and why.
_SET_HERE = {
    "model.name": "the grid sets it",
    "loss.name": "the grid and the stages' files set it",
    "train.seed": "--seeds sets it",
    "data.save_dir": "--out sets it",
}
_NOT_FOR_GRIDS = {
    "model.load_weights": "the variants have no weights in common",
    "model.resume": "interrupted runs go on by themselves",
    "test.evaluate": "every run is trained and tested",
}


class FailedRun(MagnifierError):
    """A run that ended in an error. Its text names the cell, the log and the reason."""

    exit_status = 1


class Run(NamedTuple):
    """A variant trained with one seed; cells of several grids may be the same run.

    Attributes:
        model: its name.
        options: of the model, beside those of the stages' files.
        losses: of the stages.
        seed: ``train.seed``.
    """

    model: str
    options: tuple[tuple[str, Any], ...]
    losses: tuple[str, ...]
    seed: int

    @property
    def variant(self) -> str:
        """Name and options, as in the names of folders: ``magnifiernet_r18,fusion=lstm``."""
        return ",".join([self.model, *(f"{key}={value}" for key, value in self.options)])


class Ablation:
    """A grid of variants x seeds in the folder ``out``.

    Args:
        grids: by name.
        stages: configurations of the stages.
        seeds: each cell is trained with each.
        out: folder for everything.

    Attributes:
        results: by run, what was found on each target, of the runs that are finished.

    Raises:
        ConfigError: if anything is wrong that can be seen before the data is read, for any cell.
    """

    def __init__(
        self,
        grids: Mapping[str, Grid],
        stages: Sequence[CfgNode],
        seeds: Sequence[int],
        out: Path,
    ) -> None:
        _check(stages, grids)
        self.grids = grids
        self.stages = stages
        self.seeds = seeds
        self.out = out
        self.results: dict[Run, dict[str, saved.Result]] = {}
        self._epochs: dict[str, tuple[int, int]] = {}  # of each stage's folder: behind it, in all
        for run in self.runs:
            plan = self._plan(run)
            for stage in plan:
                last = stage.cfg.train.max_epoch
                behind = min(stage.start.epoch, last) if stage.start else 0
                self._epochs[stage.cfg.data.save_dir] = (behind, last)
            if (results := plan[-1].results) is not None:
                self.results[run] = results

    @property
    def runs(self) -> dict[Run, list[str]]:
        """All that is to be trained, seed by seed, and the names of its cells."""
        runs: dict[Run, list[str]] = {}
        for seed in self.seeds:
            for name, grid in self.grids.items():
                for cell in grid.cells:
                    runs.setdefault(self.run_of(cell, seed), []).append(f"{name} {cell.name}")
        return runs

    def run_of(self, cell: Cell, seed: int) -> Run:
        """Return the run that a cell is with a seed."""
        losses = tuple(cfg.loss.name if cell.sd else "triplet" for cfg in self.stages)
        return Run(self.stages[0].model.name + cell.suffix, cell.options, losses, seed)

    def minutes(self, run: Run) -> float | None:
        """Return the minutes of all stages of a run; None if one of them was interrupted."""
        stages = [saved.results(cfg.data.save_dir) for cfg in self._configs(run)]
        minutes = [result.minutes for stage in stages for result in list(stage.values())[:1]]
        known = [value for value in minutes if value is not None]
        return sum(known) if len(known) == len(stages) else None

    def read_data(self) -> None:
        """Read what the runs will read, so that missing files and faulty masks show at once.

        Raises:
            ConfigError: if there are any.
        """
        with _quiet():
            for cfg in self.stages:
                read_data(cfg)

    def run(self, on_finished: Callable[[], None]) -> None:
        """Train and test what is not finished yet, with a progress bar in epochs.

        Args:
            on_finished: called whenever another run is in ``results``.

        Raises:
            FailedRun: at the first run that fails; those before it stay.
        """
        behind, total = (sum(column) for column in zip(*self._epochs.values(), strict=True))
        with tqdm(total=total, initial=behind, unit="epoch", dynamic_ncols=True) as bar:
            for run, cells in self.runs.items():
                if run in self.results:
                    continue
                name = f"{' = '.join(cells)}, seed {run.seed}"
                bar.set_description(name)
                self.results[run] = self._train(run, name, bar)
                on_finished()
                bar.write(f"{name}: {self._describe(self.results[run])}")

    def _train(self, run: Run, name: str, bar: tqdm) -> dict[str, saved.Result]:
        try:
            with _quiet():
                train(self._plan(run), on_epoch=bar.update)
        except Exception as error:
            log = self._newest_log(run)
            reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise FailedRun(
                f"{name} failed{f' (its log: {log})' if log else ''}: {reason}\n"
                "What was finished before it stays: run the same command again to go on"
            ) from error
        return saved.results(self._configs(run)[-1].data.save_dir)

    def _plan(self, run: Run) -> list[Stage]:
        return plan(self._configs(run), FIXED)

    def _configs(self, run: Run) -> list[CfgNode]:
        cfgs = []
        for number, (stage, loss) in enumerate(zip(self.stages, run.losses, strict=True), 1):
            cfg = stage.clone()
            cfg.model.name, cfg.loss.name, cfg.train.seed = run.model, loss, run.seed
            cfg.model.options.update(run.options)
            folder = self.out / "runs" / run.variant / f"seed{run.seed}" / f"stage{number}_{loss}"
            cfg.data.save_dir = str(folder)
            cfgs.append(cfg)
        return cfgs

    def _newest_log(self, run: Run) -> Path | None:
        folders = [Path(cfg.data.save_dir) for cfg in self._configs(run)]
        logs = [log for folder in folders for log in folder.glob("train.log-*")]
        return max(logs, key=lambda log: log.stat().st_mtime, default=None)

    def _describe(self, results: Mapping[str, saved.Result]) -> str:
        found = [(target, results[target]) for target in self.stages[-1].data.targets]
        return "; ".join(
            f"{target}: rank-1 {100 * r.rank1:.1f}, mAP {100 * r.mAP:.1f}" for target, r in found
        )


def ablate(
    grids: Mapping[str, Grid],
    stages: Sequence[CfgNode],
    seeds: Sequence[int],
    out: Path,
    command: str,
) -> None:
    """Run an :class:`Ablation`, or what is left of it; tables and plots grow with every run.

    Args:
        grids, stages, seeds, out: of the ablation.
        command: that the report shows.

    Raises:
        ConfigError: as ``Ablation`` and its ``read_data``; if another one writes into ``out``.
        FailedRun: at the first run that fails; those before it stay.
        OSError: if ``out`` cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    try:
        with locked(out / ".lock"):
            ablation = Ablation(grids, stages, seeds, out)
            if len(ablation.results) < len(ablation.runs):
                ablation.read_data()
            ablation_report.write(ablation, command)
            ablation.run(on_finished=lambda: ablation_report.write(ablation, command))
    except LockedError as error:
        raise ConfigError(
            f"another ablation is writing into {out}: wait until it has ended, or give another "
            "--out"
        ) from error


def check_options(keys: Sequence[str]) -> None:
    """See that the command line leaves to the grid what is the grid's.

    Raises:
        ConfigError: if it does not.
    """
    for key in keys:
        if reason := (_SET_HERE | _NOT_FOR_GRIDS).get(key):
            raise ConfigError(f"the option {key} does not go with ablate: {reason}")


def _check(stages: Sequence[CfgNode], grids: Mapping[str, Grid]) -> None:
    models = list(dict.fromkeys(cfg.model.name for cfg in stages))
    for name, grid in grids.items():
        if len(models) > 1 or models[0] not in grid.networks:
            raise ConfigError(
                f"for {name} the stages' files must all have the whole network as model.name "
                f"({' or '.join(grid.networks)}), found {' and '.join(models)}: the grid adds the "
                "variants"
            )
    for number, cfg in enumerate(stages, 1):
        for key, reason in _NOT_FOR_GRIDS.items():
            section, name = key.split(".")
            chained = key == "model.load_weights" and number > 1  # from the stage before it
            if cfg[section][name] and not chained:
                raise ConfigError(
                    f"stage {number}'s file sets {key}, which does not go with ablate: {reason}"
                )
    losses = [cfg.loss.name for cfg in stages]
    # Sorted: a stage's number and loss tell all losses before it, as the folders' names need.
    if losses != sorted(losses) or not set(losses) <= {"triplet", "triplet_sd"}:
        raise ConfigError(
            "the stages' files must have the loss.name triplet and, after it, triplet_sd; found "
            + ", ".join(losses)
        )
    with_sd = [f"{name} {cell.name}" for name, g in grids.items() for cell in g.cells if cell.sd]
    if with_sd and "triplet_sd" not in losses:
        raise ConfigError(
            f"{' and '.join(with_sd)} need a stage with the loss.name triplet_sd, found "
            f"{', '.join(losses)}: give such a file as the last of --stages, or leave them out by "
            "--cells"
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Send what is printed into the runs' logs only."""
    with nowhere() as silent, contextlib.redirect_stdout(silent):
        yield
