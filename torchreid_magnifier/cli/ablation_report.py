"""What an ablation found, as files: ``results.csv``, ``results.md`` and the plots."""

import csv
import io
import statistics
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch

from ..files import write_atomically
from . import saved
from .ablation import Ablation
from .ablation_grids import Cell, Grid

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


class Score(NamedTuple):
    """A measure over the seeds: shares 0..1, one a seed."""

    values: Sequence[float]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def spread(self) -> float | None:
        """Sample standard deviation; None of a single value."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


def write(ablation: Ablation, command: str) -> None:
    """Write all files into ``ablation.out``, each of them whole or not at all."""
    write_atomically(ablation.out / "results.csv", _csv(list(rows(ablation))).encode())
    write_atomically(ablation.out / "results.md", _markdown(ablation, command).encode())


def rows(ablation: Ablation) -> Iterator[dict[str, Any]]:
    """A row for each grid, cell, seed and target that is finished, as in ``results.csv``."""
    epochs = sum(cfg.train.max_epoch for cfg in ablation.stages)
    for name, grid in ablation.grids.items():
        for cell in grid.cells:
            for seed in ablation.seeds:
                run = ablation.run_of(cell, seed)
                for target, result in ablation.results.get(run, {}).items():
                    yield {
                        "grid": name,
                        "cell": cell.name,
                        "model": run.model,
                        "sd": cell.sd,
                        "seed": seed,
                        "dataset": target,
                        "epochs": epochs,
                        "rank1": result.rank1,
                        "mAP": result.mAP,
                        "minutes": ablation.minutes(run),
                    }


def scores(ablation: Ablation, cell: Cell) -> tuple[Score, Score] | None:
    """Rank-1 and mAP of a cell on the first target, of the seeds that are finished, if any."""
    found = _found(ablation, cell)
    if not found:
        return None
    return Score([r.rank1 for r in found]), Score([r.mAP for r in found])


def _found(ablation: Ablation, cell: Cell) -> list[saved.Result]:
    target = ablation.stages[-1].data.targets[0]
    runs = [ablation.run_of(cell, seed) for seed in ablation.seeds]
    return [ablation.results[run][target] for run in runs if run in ablation.results]


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _markdown(ablation: Ablation, command: str) -> str:
    parts = ["# Ablations of MagnifierNet", _settings(ablation, command)]
    for grid in ablation.grids.values():
        runs = len(grid.cells) * len(ablation.seeds)
        done = sum(len(_found(ablation, cell)) for cell in grid.cells)
        parts += [f"## {grid.title}", f"{done} of {runs} runs are in.", _table(ablation, grid)]
    return "\n\n".join(parts) + "\n"


def _settings(ablation: Ablation, command: str) -> str:
    first = ablation.stages[0]
    epochs = " + ".join(str(cfg.train.max_epoch) for cfg in ablation.stages)
    rates = " and ".join(f"{cfg.train.lr:g}" for cfg in ablation.stages)
    weights = "ImageNet's" if first.model.pretrained else "random"
    normalised = " of normalised embeddings" if first.test.normalize_feature else ""
    return f"""```bash
{command}
```

`{first.model.name}` from {weights} weights, {epochs} epochs in every cell, trained on
{", ".join(first.data.sources)} and tested on {first.data.targets[0]}; images of
{first.data.height}x{first.data.width} pixels, transforms {", ".join(first.data.transforms)},
batches of {first.train.batch_size}, {first.train.optim} at a rate of {rates};
{first.test.dist_metric} distance{normalised}; torch {torch.__version__}.

Percent: mean over the seeds ± sample standard deviation; in brackets the gain of the mean."""


def _table(ablation: Ablation, grid: Grid) -> str:
    over = next((cell for cell in grid.cells if cell.name == grid.reference), None)
    base = scores(ablation, over) if over else None
    lines = [[*grid.heads, "R1", "mAP", "seeds"]]
    for cell in grid.cells:
        found = scores(ablation, cell)
        shown = ["–", "–", "0"]
        if found:
            bases = base if base and cell.name != grid.reference else (None, None)
            shown = [_shown(score, other) for score, other in zip(found, bases, strict=True)]
            shown.append(str(len(found[0].values)))
        lines.append([*cell.columns, *shown])
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(score: Score, base: Score | None) -> str:
    text = f"{100 * score.mean:.1f}"
    if score.spread is not None:
        text += f" ± {100 * score.spread:.1f}"
    if base:
        text += f" ({100 * (score.mean - base.mean):+.1f})"
    return text
