"""``torchreid-magnifier demo``: the main job on embedded data, in a few minutes on a CPU.

Trains, tests, compares (see ``comparison``), and writes one folder: a table (``results.md``,
``.csv``, ``.json``), pictures (``masks.png``, ``rankings.png``, ``losses.png``), the log of
torchreid's engine (``train.log``) and the generated data.
"""

import contextlib
import csv
import io
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from .. import figures
from ..data.masks import find_mask
from ..evaluation import EvaluationError
from ..experiments.comparison import GLOBAL, WHOLE, Comparison, Sample, Settings, Stage
from ..files import write_atomically
from ..images import open_image, read_labels
from ..losses.metrics import confusion, iou_per_part
from ..models.regions import shrink_labels
from ..parts import NUM_PARTS
from .arguments import Parser

NAMES = {GLOBAL: "Global branch alone", WHOLE: "MagnifierNet"}
SHOWN_MASKS, SHOWN_RANKINGS, RANKING_LENGTH = (4, 4), (3, 5), 10  # (clear, occluded) queries
COLUMNS = {
    "network": "network",
    "stage": "stage",
    "epochs": "epochs",
    "rank1": "rank-1",
    "mAP": "mAP",
    "rank1_occluded": "rank-1, occluded",
    "mAP_occluded": "mAP, occluded",
    "mask_miou": "mask mIoU",
}


def main(argv: Sequence[str]) -> int:
    """Run the subcommand. Returns the exit status."""
    parser = Parser(
        prog="torchreid-magnifier demo",
        description=f"On generated pedestrians: train {WHOLE} in its two stages, and {GLOBAL} "
        "alike; test them on all and on occluded queries; write a table and pictures.",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("magnifier-demo"),
        metavar="DIR",
        help="folder for everything that is written (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="of weights, batches, augmentation (default: 1)"
    )
    args = parser.parse_args(argv)
    print(run(args.out, Settings(seed=args.seed)))
    print(f"\nPictures and numbers are in {args.out}{os.sep}: begin with results.md")
    return 0


def run(out: Path, settings: Settings) -> str:
    """The demo, written into the folder ``out``.

    Returns:
        The table of results as text.

    Raises:
        OSError: if the folder cannot be written.
    """
    start = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    with (
        open(out / "train.log", "w", encoding="utf-8", buffering=1) as log,
        _weights_folder(out) as work,
        contextlib.redirect_stdout(log),
    ):
        comparison = Comparison(out / "reid-data", work, settings)
        with tqdm(total=comparison.num_batches, unit="batch") as bar:
            stages = list(comparison.run(bar))
            bar.set_description("drawing")
            rows = [_row(stage, comparison) for stage in stages]
            _draw(out, stages, comparison)
    minutes = (time.monotonic() - start) / 60
    table = _table(rows)
    write_atomically(out / "results.csv", _csv(rows).encode())
    result = {"settings": asdict(settings), "minutes": round(minutes, 2), "results": rows}
    write_atomically(out / "results.json", (json.dumps(result, indent=2) + "\n").encode())
    write_atomically(out / "results.md", _report(table, settings, minutes).encode())
    return table


@contextlib.contextmanager
def _weights_folder(out: Path) -> Iterator[Path]:
    """Make a folder for the weights, which stays only if a test of them fails."""
    folder = Path(tempfile.mkdtemp(dir=out, prefix="weights-"))
    try:
        yield folder
    except EvaluationError:  # it names them
        raise
    except BaseException:
        shutil.rmtree(folder)
        raise
    shutil.rmtree(folder)


def _row(stage: Stage, comparison: Comparison) -> dict[str, Any]:
    rank1, mean_ap = stage.search.rank1_and_map()
    rank1_occluded, mean_ap_occluded = stage.search.rank1_and_map(comparison.occluded)
    return {
        "network": stage.name,
        "stage": stage.number,
        "epochs": stage.epochs,
        "rank1": rank1,
        "mAP": mean_ap,
        "rank1_occluded": rank1_occluded,
        "mAP_occluded": mean_ap_occluded,
        "mask_miou": _mask_miou(stage, comparison) if stage.name == WHOLE else None,
    }


def _mask_miou(stage: Stage, comparison: Comparison) -> float:
    """Mean over the parts of intersection over union with the exact labels, over all queries."""
    counts = torch.zeros(NUM_PARTS, NUM_PARTS, dtype=torch.int64)
    for query in comparison.query:
        predicted = _predict(stage, comparison, query)
        height, width = predicted.shape[1:]
        labels = torch.tensor(_labels(query)).unsqueeze(0)
        counts += confusion(predicted, shrink_labels(labels, (height, width)))
    return float(torch.nanmean(iou_per_part(counts)))


@torch.no_grad()
def _predict(stage: Stage, comparison: Comparison, sample: Sample) -> torch.Tensor:
    """Predicted part labels of one image, (1, H/8, W/8)."""
    device = next(stage.model.parameters()).device
    image = comparison.preprocess(_image(sample)).unsqueeze(0).to(device)
    labels = stage.model.eval().inspect(image).part_labels
    assert labels is not None  # the whole network has a mask module
    return labels.cpu()


def _draw(out: Path, stages: Sequence[Stage], comparison: Comparison) -> None:
    last = {stage.name: stage for stage in stages}
    whole = last[WHOLE]
    figures.save(
        figures.masks_figure(
            [
                figures.MaskExample(
                    np.asarray(_image(query)),
                    _labels(query),
                    _predict(whole, comparison, query)[0].numpy(),
                    _caption(query, occluded),
                )
                for _, query, occluded in _choose(comparison, SHOWN_MASKS)
            ],
            "The body parts that MagnifierNet sees\n"
            "Queries drawn at random, of people who were not in training. The network predicts "
            "the labels itself, one for each 8 x 8 pixels.",
        ),
        out / "masks.png",
    )
    figures.save(
        figures.rankings_figure(
            [
                figures.RankingExample(
                    np.asarray(_image(query)),
                    {
                        NAMES[name]: [
                            figures.Hit(
                                np.asarray(_image(comparison.gallery[found])),
                                stage.search.is_right(index, found),
                            )
                            for found in stage.search.ranking(index)[:RANKING_LENGTH]
                        ]
                        for name, stage in last.items()
                    },
                    _caption(query, occluded),
                )
                for index, query, occluded in _choose(comparison, SHOWN_RANKINGS)
            ],
            "Whom the networks find\n"
            "Queries drawn at random, their nearest gallery images from left to right. Images of "
            "the same person by the query's own camera are left out, as in the evaluation.",
        ),
        out / "rankings.png",
    )
    figures.save(_losses_figure(stages, comparison.settings), out / "losses.png")


def _losses_figure(stages: Sequence[Stage], settings: Settings) -> Any:
    def panel(title: str, term: str) -> figures.Panel:
        having = [stage for stage in stages if term in stage.curves]
        curves = [
            figures.Curve(
                NAMES[name],
                [v for stage in having if stage.name == name for v in stage.curves[term]],
            )
            for name in dict.fromkeys(stage.name for stage in having)
        ]
        return figures.Panel(title, curves, having[0].epochs - len(having[0].curves[term]))

    return figures.losses_figure(
        [
            panel("Cross-entropy, mean over the heads", "loss_x"),
            panel("Triplet loss, mean over the heads", "loss_t"),
            panel("Accuracy on the training batches, global head, %", "acc"),
            panel("Mask loss", "loss_mask"),
            panel("Mask mIoU on the training batches", "mask_miou"),
            panel("Semantic diversity loss", "loss_sd"),
        ],
        "How the networks learnt\nMeans over each epoch. Stage 2 adds the semantic diversity loss "
        "to MagnifierNet; the global branch goes on as before.",
        boundary=settings.epochs[0],
        columns=3,
    )


def _choose(comparison: Comparison, counts: tuple[int, int]) -> list[tuple[int, Sample, np.bool_]]:
    """Random queries, as many clear and as many occluded ones as ``counts`` says, each a person."""
    chance = np.random.default_rng(comparison.settings.seed)
    chosen: list[tuple[int, Sample, np.bool_]] = []
    for index in chance.permutation(len(comparison.query)):
        query, occluded = comparison.query[index], comparison.occluded[index]
        alike = sum(other == occluded for _, _, other in chosen)
        if alike < counts[int(occluded)] and all(query.pid != q.pid for _, q, _ in chosen):
            chosen.append((int(index), query, occluded))
    return sorted(chosen, key=lambda choice: bool(choice[2]))


def _caption(query: Sample, occluded: np.bool_) -> str:
    return f"{'occluded, ' if occluded else ''}camera {query.camid + 1}"


def _image(sample: Sample) -> Image.Image:
    return open_image(sample.path)


def _labels(sample: Sample) -> np.ndarray:
    path = find_mask(sample.path)
    assert path is not None, f"the generated data has labels for {sample.path}"
    return read_labels(path)


def _table(rows: Sequence[dict[str, Any]]) -> str:
    """A Markdown table, aligned so that it reads well as plain text too."""
    cells = [list(COLUMNS.values())]
    for row in rows:
        shown = [row["network"], str(row["stage"]), str(row["epochs"])]
        shown += [f"{100 * row[key]:.1f}" for key in list(COLUMNS)[3:-1]]
        shown.append("-" if row["mask_miou"] is None else f"{100 * row['mask_miou']:.1f}")
        cells.append(shown)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    lines = []
    for first, *others in cells:
        numbers = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append(f"| {' | '.join([first.ljust(widths[0]), *numbers])} |")
    return "\n".join(lines)


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _report(table: str, settings: Settings, minutes: float) -> str:
    first, second = settings.epochs
    return f"""# MagnifierNet on generated pedestrians

{table}

Percent. `{WHOLE}` is MagnifierNet on ResNet-18, `{GLOBAL}` its global branch alone; both were
trained from random weights by the same schedule ({first} + {second} epochs, images of
{settings.height}x{settings.width} pixels, seed {settings.seed}), tested by torchreid's evaluation
on the cosine distance. Mask mIoU is taken over all queries. Everything took {minutes:.1f} minutes.
A demonstration on small drawn data: numbers on photographs differ.

![predicted parts](masks.png)

![ranking lists](rankings.png)

![losses](losses.png)
"""
