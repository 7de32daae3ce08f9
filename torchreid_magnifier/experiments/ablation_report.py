"""Results of an ablation as files: ``results.csv``, ``results.md`` and the plots."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from matplotlib.figure import Figure

from .. import figures
from ..figures import Repeated
from ..files import write_atomically
from .ablation_grids import Cell, Grid
from .tables import csv_text, markdown

if TYPE_CHECKING:
    from .ablation import Ablation

COLUMNS = (
    "grid",
    "cell",
    "model",
    "sd",
    "seed",
    "dataset",
    "epochs",
    "rank1",
    "mAP",
    "minutes",
)


class Scores(NamedTuple):
    """Scores of a cell with each of its finished seeds, in percent."""

    rank1: Repeated
    mean_ap: Repeated


def write(ablation: Ablation, command: str) -> None:
    """Write all files into ``ablation.out``, each of them whole or not at all."""
    write_atomically(ablation.out / "results.csv", csv_text(COLUMNS, rows(ablation)).encode())
    write_atomically(ablation.out / "results.md", _markdown(ablation, command).encode())
    for name, grid in ablation.grids.items():
        if _finished(ablation, grid):
            figures.save(_figure(ablation, name, grid), ablation.out / f"{name}.png")


def rows(ablation: Ablation) -> Iterator[dict[str, Any]]:
    """Yield a row for each grid, cell, seed and target that is finished, as in ``results.csv``."""
    epochs = sum(cfg.train.max_epoch for cfg in ablation.stages)
    for name, grid in ablation.grids.items():
        for cell in grid.cells:
            for seed in ablation.seeds:
                run = ablation.run_of(cell, seed)
                for target, result in ablation.results.get(run, {}).items():
                    yield {
                        "grid": name,
                        "cell": cell.name,
                        "model": run.variant,
                        "sd": cell.sd,
                        "seed": seed,
                        "dataset": target,
                        "epochs": epochs,
                        "rank1": result.rank1,
                        "mAP": result.mAP,
                        "minutes": ablation.minutes(run),
                    }


def scores(ablation: Ablation, cell: Cell) -> Scores | None:
    """Return the scores of a cell on the first target; None if no seed is finished."""
    target = ablation.stages[-1].data.targets[0]
    runs = [ablation.run_of(cell, seed) for seed in ablation.seeds]
    found = [ablation.results[run][target] for run in runs if run in ablation.results]
    if not found:
        return None
    return Scores(Repeated([100 * r.rank1 for r in found]), Repeated([100 * r.mAP for r in found]))


def _finished(ablation: Ablation, grid: Grid) -> int:
    runs = [ablation.run_of(cell, seed) for cell in grid.cells for seed in ablation.seeds]
    return sum(run in ablation.results for run in runs)


def _state(ablation: Ablation, grid: Grid) -> str:
    runs = len(grid.cells) * len(ablation.seeds)
    return f"{_finished(ablation, grid)} of {runs} runs are in."


def _markdown(ablation: Ablation, command: str) -> str:
    parts = ["# Ablations", _settings(ablation, command)]
    for name, grid in ablation.grids.items():
        parts += [f"## {grid.title}", _state(ablation, grid), _table(ablation, grid)]
        if _finished(ablation, grid):
            parts.append(f"![{grid.title}]({name}.png)")
    return "\n\n".join(parts) + "\n"


def _settings(ablation: Ablation, command: str) -> str:
    first = ablation.stages[0]
    epochs = " + ".join(str(cfg.train.max_epoch) for cfg in ablation.stages)
    rates = " and ".join(f"{cfg.train.lr:g}" for cfg in ablation.stages)
    weights = "ImageNet's" if first.model.pretrained else "random"
    seeds = ", ".join(map(str, ablation.seeds))
    normalised = " of normalised embeddings" if first.test.normalize_feature else ""
    return f"""```bash
{command}
```

`{first.model.name}` from {weights} weights, {epochs} epochs in every cell, seeds {seeds};
trained on {", ".join(first.data.sources)} and tested on {first.data.targets[0]}; images of
{first.data.height}x{first.data.width} pixels, transforms {", ".join(first.data.transforms)},
batches of {first.train.batch_size}, {first.train.optim} at a rate of {rates};
{first.test.dist_metric} distance{normalised}; torch {torch.__version__}.

Percent: mean over the seeds ± sample standard deviation; in brackets the gain of the mean."""


def _table(ablation: Ablation, grid: Grid) -> str:
    reference = next((cell for cell in grid.cells if cell.name == grid.reference), None)
    base = scores(ablation, reference) if reference else None
    lines = []
    for cell in grid.cells:
        found = scores(ablation, cell)
        shown = ["–", "–", "0"]
        if found:
            over = base if base and cell is not reference else (None, None)
            shown = [_shown(score, other) for score, other in zip(found, over, strict=True)]
            shown.append(str(len(found.rank1.values)))
        lines.append([*cell.columns, *shown])
    return markdown([*grid.heads, "R1", "mAP", "seeds"], lines, words=len(grid.heads))


def _shown(score: Repeated, base: Repeated | None) -> str:
    spread = f" ± {score.spread:.1f}" if score.spread is not None else ""
    gain = f" ({score.mean - base.mean:+.1f})" if base else ""
    return f"{score.mean:.1f}{spread}{gain}"


def _figure(ablation: Ablation, name: str, grid: Grid) -> Figure:
    title = (
        f"{grid.title}\nDots: means; bars: sample standard deviations; rings: the seeds. "
        f"{_state(ablation, grid)}"
    )
    found = {cell: scores(ablation, cell) for cell in grid.cells}
    if name == "fig5":
        curves: dict[str, dict[int, Repeated]] = {}
        for cell, score in found.items():
            if score:
                sampling, kept = cell.columns
                curves.setdefault(sampling, {})[int(kept)] = score.mean_ap
        return figures.sweep_figure(curves, title, "regions kept, K̂", "mAP, %")
    panels = {
        "rank-1, %": {cell.name: s.rank1 if s else None for cell, s in found.items()},
        "mAP, %": {cell.name: s.mean_ap if s else None for cell, s in found.items()},
    }
    return figures.variants_figure(panels, title)
