"""Ranking, open set, multi-query, groups and thresholds on the whole of Market-1501.

    torchreid-magnifier extract M/query M/bounding_box_test --out test.npz --workers 1
    torchreid-magnifier extract M/bounding_box_train --out train.npz --workers 1
    python benchmarks/decide.py test.npz --train train.npz [--drawn drawn.npz]

with M the folder ``Market-1501-v15.09.15``; ``drawn.npz`` is of ``query`` and
``bounding_box_test`` of ``synthetic_pedestrians``, which has the same names. It takes about a
minute of one core; times are processor time.
"""

import argparse
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from torchreid_magnifier.evaluation import PairwiseDistances, multi_query, open_set
from torchreid_magnifier.inference.decide import calibrate, score_pairs
from torchreid_magnifier.inference.embedding_files import read_embeddings
from torchreid_magnifier.inference.embeddings import Embeddings
from torchreid_magnifier.inference.evaluate import measure
from torchreid_magnifier.inference.group import METHODS, agreement, group

GROUPED = 100  # people
JUNK, DISTRACTOR = -1, 0


class People(NamedTuple):
    """Embeddings of pictures with their person, their camera, and which are queries."""

    embeddings: Embeddings
    pids: np.ndarray
    camids: np.ndarray
    asked: np.ndarray

    def of(self, rows: np.ndarray) -> "People":
        """Return some of the rows."""
        columns = {name: column[rows] for name, column in self.embeddings.columns()}
        cut = Embeddings.from_columns(columns, self.embeddings.card)
        return People(cut, self.pids[rows], self.camids[rows], self.asked[rows])

    def known(self) -> "People":
        """Return the pictures of people whose names are known."""
        return self.of(np.flatnonzero(self.pids > DISTRACTOR))


def read(path: Path) -> People:
    """Read an embedding file of Market-1501's layout."""
    embeddings = read_embeddings(path)
    names = [Path(str(name)) for name in embeddings.paths]
    numbers = [re.match(r"(-?\d+)_c(\d)", name.name).groups() for name in names]
    pids, camids = np.array(numbers, int).T
    found = People(embeddings, pids, camids, np.array([n.parent.name == "query" for n in names]))
    return found.of(np.flatnonzero(pids != JUNK))


def ranking(test: People) -> None:
    """Print the measures, and how long they take after extraction."""
    vectors = torch.from_numpy(np.array(test.embeddings.vectors, np.float32))
    query, gallery = (torch.from_numpy(np.flatnonzero(rows)) for rows in (test.asked, ~test.asked))
    labels = [values[rows] for values in (test.pids, test.camids) for rows in (query, gallery)]
    begun = time.process_time()
    distances = PairwiseDistances(vectors[query], vectors[gallery], "cosine")
    found = measure(distances, *labels)
    seconds = time.process_time() - begun
    show("embedding", found)
    print(f"ranked in {seconds:.2f} s ({torch.get_num_threads()} threads)")
    for camera, one in found.cameras.items():
        show(f"  camera {camera}, {one.queries} queries", one)
    for pooling in ("mean", "max"):
        pooled = multi_query(vectors[query], vectors[gallery], *labels, pooling)
        several = PairwiseDistances(pooled, vectors[gallery], "cosine")
        show(f"multi-query, {pooling}", measure(several, *labels))
    begun = time.process_time()
    opened = open_set(distances, *labels)
    for rate, values in zip(opened.rates, opened.found.T):
        print(
            f"open set: DIR {100 * values.mean():.1f} +- {100 * values.std(ddof=1):.1f} % at "
            f"{100 * rate:g} % false alarms ({len(values)} draws, {opened.known.mean():.0f} known "
            f"queries, {opened.strangers.mean():.0f} strangers')"
        )
    print(f"open set in {time.process_time() - begun:.2f} s")


def show(name: str, found) -> None:
    """Print a line of measures."""
    cmc = " / ".join(f"{value:.1f}" for value in found.cmc.values())
    print(f"{name}: rank-1 / 5 / 10 {cmc}, mAP {found.mAP:.1f}, mINP {found.mINP:.1f}", flush=True)


def grouping(test: People) -> None:
    """Group the pictures of some people at thresholds of the others."""
    known = test.known()
    people = np.random.default_rng(0).permutation(np.unique(known.pids))
    chosen = np.isin(known.pids, people[:GROUPED])
    others, some = (known.of(np.flatnonzero(rows)) for rows in (~chosen, chosen))
    pairs = score_pairs(others.embeddings, others.pids, others.camids)
    calibration = calibrate(pairs, known.embeddings.card, "the other people", replicates=20)
    print(f"groups: {len(some.pids)} pictures of {GROUPED} people")
    for rate in (0.01, 0.001):
        for method in METHODS:
            found = group(some.embeddings, calibration.threshold(rate), method)
            print(f"  {method} at {rate:.1%}: {agreement(found, some.pids)}", flush=True)


def travelling(train: People, targets: dict[str, People]) -> None:
    """Print what the thresholds of the training people do elsewhere."""
    card = train.embeddings.card
    pairs = score_pairs(train.embeddings, train.pids, train.camids)
    calibration = calibrate(pairs, card, "Market-1501, training people")
    print(calibration)
    for name, people in targets.items():
        known = people.known()
        known = known._replace(embeddings=replace(known.embeddings, card=card))
        pairs = score_pairs(known.embeddings, known.pids, known.camids)
        print(f"{name}: {pairs}\n{calibration.compared(pairs)}", flush=True)
        print(calibrate(pairs, card, name))


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("test", type=Path)
    parser.add_argument("--train", type=Path)
    parser.add_argument("--drawn", type=Path)
    args = parser.parse_args()
    test = read(args.test)
    ranking(test)
    grouping(test)
    if args.train:
        targets = {"Market-1501, test people": test}
        if args.drawn:
            targets["drawn people"] = read(args.drawn)
        travelling(read(args.train), targets)


if __name__ == "__main__":
    main()
