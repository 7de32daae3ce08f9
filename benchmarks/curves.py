"""Draws the logs of ``examples/train_market1501.py``: one training, in one or more rounds.

    python benchmarks/curves.py benchmarks/results/magnifiernet_osnet_x0_25_market1501_round*.csv \\
        --out docs/images/training_curves.png
"""

import argparse
import csv
import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from torchreid_magnifier import figures

HEADS = {
    "global": "global branch",
    "adversarial": "SAB",
    "fusion": "SFB",
    "regions": "regions, mean",
}
BRANCHES = [head for head in HEADS if head != "regions"]
# Title of a panel -> name of a curve -> the columns that it may stand in.
PANELS = {
    "Cross-entropy": {HEADS[head]: [f"ce_{head}"] for head in HEADS},
    "1 - cosine with the teacher": {
        HEADS[head]: [f"teacher_{head}", f"t_cos_{head}"] for head in BRANCHES
    },
    "Triplet loss": {
        "mean of the branches": ["triplet"],
        **{HEADS[head]: [f"tri_{head}"] for head in BRANCHES},
    },
    "Accuracy on the training batches": {HEADS["global"]: ["accuracy", "acc"]},
    "Mask loss": {"mask module": ["loss_mask"]},
    "Mask mIoU on the training batches": {"mask module": ["mask_miou"]},
}


def main(argv: Sequence[str] | None = None) -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("logs", nargs="+", type=Path, metavar="CSV", help="rounds, in order")
    parser.add_argument("--out", type=Path, required=True, metavar="PNG")
    args = parser.parse_args(argv)
    rows = [row for log in args.logs for row in csv.DictReader(log.open(newline=""))]
    panels = []
    for title, curves in PANELS.items():
        found = [
            figures.Curve(name, [float(row[column] or "nan") for row in rows])
            for name, columns in curves.items()
            for column in columns
            if all(column in row for row in rows)
        ]
        panels += [figures.Panel(title, found)] if found else []
    sizes = [(size, len([*group])) for size, group in groupby(row["size"] for row in rows)]
    shown = ", then ".join(f"{count} of {size}" for size, count in sizes)
    rates = [float(row["lr"]) for row in rows]
    name = re.sub("_round1$", "", args.logs[0].stem)
    title = (
        f"The training of {name}\nMeans over each epoch; epochs by the size of the "
        f"images: {shown}.\nLearning rate at the end of an epoch: up to {max(rates):.2g}, at last "
        f"{rates[-1]:.2g}."
    )
    figures.save(figures.losses_figure(panels, title, columns=3), args.out)


if __name__ == "__main__":
    main()
