"""The demo: a comparison (see ``comparison``) as one folder of tables and pictures."""

import contextlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from .. import figures
from ..data.masks import find_mask
from ..evaluation import EvaluationError
from ..files import write_atomically
from ..images import open_image, read_image, read_labels
from ..inference.explain.rankings import Sample, Search
from ..losses.metrics import confusion, iou_per_part
from ..models.regions import shrink_labels
from ..parts import NUM_PARTS
from ..synthetic.generate import generate
from ..synthetic.plan import IMAGES, plan
from .comparison import DATASET, DRAWING, GLOBAL, WHOLE, Comparison, Settings, Stage, length
from .search import search_folder
from .tables import csv_text, markdown

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

_SEARCH = 10.0  # its cost, as of the comparison's parts
_BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}, about {remaining} left"


def run(out: Path, settings: Settings, people: Path | None = None) -> str:
    """Search, train, test and draw, and write it all into the folder ``out``.

    Args:
        out: the folder.
        settings: of the training.
        people: images of people, one each, to search in first; the drawn ones without.

    Returns:
        The table of results as text.

    Raises:
        OSError: if the folder cannot be written.
        RetrievalError: there are no images to search in.
    """
    start = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    console, root = sys.stdout, out / "reid-data"
    with (
        open(out / "train.log", "w", encoding="utf-8", buffering=1) as log,
        _weights_folder(out) as work,
        contextlib.redirect_stdout(log),
    ):
        total = _SEARCH + length(plan(), settings)
        with tqdm(total=total, smoothing=0, bar_format=_BAR) as bar:

            def search(folder: Path) -> None:
                bar.set_description_str("a first search")
                bar.write(search_folder(folder, out / "search.png", settings.seed), console)
                bar.update(_SEARCH)

            if people:
                search(people)
            bar.set_description_str("drawing people")
            generate(root / DATASET, on_image=lambda: bar.update(DRAWING))
            if not people:
                search(root / DATASET / IMAGES / "query")
            comparison = Comparison(root, work, settings)
            stages = list(comparison.run(bar))
            bar.set_description_str("drawing")
            rows = [_row(stage, comparison) for stage in stages]
            _draw(out, stages, comparison)
    minutes = (time.monotonic() - start) / 60
    table = _table(rows)
    write_atomically(out / "results.csv", csv_text(list(COLUMNS), rows).encode())
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
    """Return the mean over the parts of their IoU with the exact labels, over all queries."""
    counts = torch.zeros(NUM_PARTS, NUM_PARTS, dtype=torch.int64)
    for query in comparison.images.query:
        predicted = _predict(stage, comparison, query)
        height, width = predicted.shape[1:]
        labels = torch.tensor(_labels(query)).unsqueeze(0)
        counts += confusion(predicted, shrink_labels(labels, (height, width)))
    return float(torch.nanmean(iou_per_part(counts)))


@torch.no_grad()
def _predict(stage: Stage, comparison: Comparison, sample: Sample) -> torch.Tensor:
    """Return the predicted part labels of one image, (1, H/8, W/8)."""
    device = next(stage.model.parameters()).device
    image = comparison.preprocess(open_image(sample.path)).unsqueeze(0).to(device)
    labels = stage.model.eval().inspect(image).part_labels
    assert labels is not None  # the whole network has a mask module
    return labels.cpu()


def _draw(out: Path, stages: Sequence[Stage], comparison: Comparison) -> None:
    last = {stage.name: stage for stage in stages}
    whole = last[WHOLE]
    rows = [
        figures.PictureRow(
            [read_image(query.path), _labels(query), _predict(whole, comparison, query)[0].numpy()],
            _caption(query, occluded),
        )
        for _, query, occluded in _choose(comparison, SHOWN_MASKS)
    ]
    title = (
        "The body parts that MagnifierNet sees\n"
        "Queries drawn at random, of people who were not in training. The network predicts the "
        "labels itself, one for each 8 x 8 pixels."
    )
    figure = figures.masks_figure(rows, title, ["image", "true parts", "predicted"])
    figures.save(figure, out / "masks.png")

    def hits(search: Search, query: int) -> list[figures.Hit]:
        near = search.ranking(query)[:RANKING_LENGTH]
        images = [read_image(search.images.gallery[found].path) for found in near]
        return [figures.Hit(i, search.is_right(query, f)) for i, f in zip(images, near)]

    examples = [
        figures.RankingExample(
            read_image(query.path),
            {NAMES[name]: hits(stage.search, index) for name, stage in last.items()},
            _caption(query, occluded),
        )
        for index, query, occluded in _choose(comparison, SHOWN_RANKINGS)
    ]
    title = (
        "Whom the networks find\n"
        "Queries drawn at random, their nearest gallery images from left to right. Images of the "
        "same person by the query's own camera are left out, as in the evaluation."
    )
    figures.save(figures.rankings_figure(examples, title), out / "rankings.png")
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
    """Draw queries, as many clear and occluded ones as ``counts`` says, each of another person."""
    chance = np.random.default_rng(comparison.settings.seed)
    chosen: list[tuple[int, Sample, np.bool_]] = []
    for index in chance.permutation(len(comparison.images.query)):
        query, occluded = comparison.images.query[index], comparison.occluded[index]
        alike = sum(other == occluded for _, _, other in chosen)
        if alike < counts[int(occluded)] and all(query.pid != q.pid for _, q, _ in chosen):
            chosen.append((int(index), query, occluded))
    return sorted(chosen, key=lambda choice: bool(choice[2]))


def _caption(query: Sample, occluded: np.bool_) -> str:
    return f"{'occluded, ' if occluded else ''}camera {query.camid + 1}"


def _labels(sample: Sample) -> np.ndarray:
    path = find_mask(sample.path)
    assert path is not None, f"the generated data has labels for {sample.path}"
    return read_labels(path)


def _table(rows: Sequence[dict[str, Any]]) -> str:
    def shown(row: dict[str, Any]) -> list[str]:
        shares = [row[key] for key in list(COLUMNS)[3:]]
        percent = ["-" if share is None else f"{100 * share:.1f}" for share in shares]
        return [row["network"], str(row["stage"]), str(row["epochs"]), *percent]

    return markdown(list(COLUMNS.values()), map(shown, rows))


def _report(table: str, settings: Settings, minutes: float) -> str:
    first, second = settings.epochs
    return f"""# MagnifierNet on generated pedestrians

{table}

Percent. `{WHOLE}` is MagnifierNet on ResNet-18, `{GLOBAL}` its global branch alone; both were
trained from random weights by the same schedule ({first} + {second} epochs, images of
{settings.height}x{settings.width} pixels, seed {settings.seed}), tested by torchreid's evaluation
on the cosine distance. Mask mIoU is taken over all queries. Everything took {minutes:.1f} minutes.
A demonstration on small drawn data: numbers on photographs differ.

![a first search](search.png)

![predicted parts](masks.png)

![ranking lists](rankings.png)

![losses](losses.png)
"""
