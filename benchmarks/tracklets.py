"""What a mean of several crops finds against one crop: Market-1501 with many queries of a person.

    torchreid-magnifier extract ROOT/query ROOT/bounding_box_test --out test.npz
    python benchmarks/tracklets.py test.npz [--covered 800] [--by people]

ROOT is ``market1501/Market-1501-v15.09.15``. The crops of a query are itself and the images of its
person by its own camera in ``bounding_box_test``, which do not count for this query in any case.
The official protocol takes those of ``gt_bbox`` instead, a separate download. Gallery, junk and
measures are those of ``evaluate``.

``--covered N``: also of N queries with at least three crops, half of whose crops, drawn at random,
are covered from below, 40 to 70 % as tall as the picture, by a drawn car, crate, bush or wall, or
with ``--by people`` by a distractor of the gallery (identity 0000), which mostly shows somebody.
"""

import argparse
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from torchreid_magnifier import open_network
from torchreid_magnifier.evaluation import PairwiseDistances
from torchreid_magnifier.images import open_image
from torchreid_magnifier.inference.embedding_files import read_embeddings
from torchreid_magnifier.inference.embeddings import Embeddings
from torchreid_magnifier.inference.evaluate import measure
from torchreid_magnifier.inference.open import Network
from torchreid_magnifier.inference.tracklets import tracklets
from torchreid_magnifier.synthetic import objects
from torchreid_magnifier.synthetic.canvas import HEIGHT, SCALE, WIDTH, Canvas

NAME = re.compile(r"(-?\d+)_c(\d)")


class Market:
    """Rows of the embeddings: queries, those that rank, and which query each row belongs to."""

    def __init__(self, found: Embeddings) -> None:
        self.found = found
        names = [NAME.match(Path(path).name) for path in found.paths]
        self.pids, self.camids = (np.array([int(n[g]) for n in names if n]) for g in (1, 2))
        asked = np.array([Path(path).parent.name == "query" for path in found.paths])
        self.query = np.flatnonzero(asked)
        self.gallery = np.flatnonzero(~asked & (self.pids >= 0))
        numbers = {(self.pids[row], self.camids[row]): n for n, row in enumerate(self.query)}
        keys = zip(self.pids, self.camids)
        self.tracks = np.array([numbers.get(key, -1) if key[0] > 0 else -1 for key in keys])

    def line(self, name: str, vectors: np.ndarray, queries: np.ndarray) -> str:
        """Measure embeddings of some queries, by their numbers."""
        query, gallery = torch.from_numpy(vectors).float(), np.asarray(self.found.vectors)
        rows = self.query[queries]
        found = measure(
            PairwiseDistances(query, torch.from_numpy(gallery[self.gallery]).float(), "cosine"),
            *(self.pids[rows], self.pids[self.gallery]),
            *(self.camids[rows], self.camids[self.gallery]),
        )
        return f"| {name} | {found.cmc[1]:.2f} | {found.cmc[5]:.2f} | {found.mAP:.2f} |"

    def compare(self, crops: Embeddings, queries: np.ndarray) -> Iterator[str]:
        """Yield one crop, the plain mean, the weighted mean; ``crops`` has rows like ours."""
        yield self.line("one crop", np.asarray(crops.vectors)[self.query[queries]], queries)
        for name, weights in (("plain mean", "equal"), ("by visible parts", "visible")):
            made = tracklets(crops, self.tracks, weights)  # type: ignore[arg-type]
            order = np.argsort(made.tracks)  # type: ignore[arg-type]
            yield self.line(name, made.vectors[order][queries], queries)


def by_objects(image: Image.Image, chance: np.random.Generator, _: Market) -> Image.Image:
    """Draw an object before a person."""
    wide, tall = WIDTH * SCALE, HEIGHT * SCALE
    canvas = Canvas(np.asarray(image.resize((wide, tall))))
    draw = (objects.car, objects.crate, objects.bush, objects.wall)[chance.integers(4)]
    draw(canvas, chance, wide * chance.uniform(0.3, 0.7), tall, tall * chance.uniform(0.4, 0.7))
    return Image.fromarray(canvas.image).resize((WIDTH, HEIGHT), Image.Resampling.BOX)


def by_people(image: Image.Image, chance: np.random.Generator, market: Market) -> Image.Image:
    """Paste a distractor before a person."""
    over = open_image(market.found.paths[chance.choice(np.flatnonzero(market.pids == 0))])
    tall = int(image.height * chance.uniform(0.4, 0.7))
    image.paste(over.resize((image.width, tall)), (0, image.height - tall))
    return image


WAYS = {"objects": by_objects, "people": by_people}


def covered(network: Network, market: Market, queries: np.ndarray, way: str) -> Embeddings:
    """Return the embeddings anew with half of these queries' crops covered."""
    chance = np.random.default_rng(0)
    vectors, shares = (np.array(c) for c in (market.found.vectors, market.found.visibility))
    of_queries = (np.flatnonzero(market.tracks == query) for query in queries)
    rows = [row for crops in of_queries for row in chance.permutation(crops)[::2]]
    for start in range(0, len(rows), 64):
        part = rows[start : start + 64]
        images = [WAYS[way](open_image(path), chance, market) for path in market.found.paths[part]]
        with torch.no_grad():
            seen = network.model.inspect(torch.stack([network.preprocessing(i) for i in images]))
        assert seen.visibility is not None
        vectors[part], shares[part] = seen.vector, seen.visibility
    return replace(market.found, vectors=vectors, visibility=shares)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("embeddings", help="of extract, of query and bounding_box_test")
    parser.add_argument("--covered", type=int, default=0, metavar="N", help="queries")
    parser.add_argument("--by", choices=WAYS, default="objects", help="what covers them")
    args = parser.parse_args()
    market = Market(read_embeddings(args.embeddings))
    counts = np.bincount(market.tracks[market.tracks >= 0])
    print(
        f"{len(counts)} queries, {counts.mean():.1f} crops each, {(counts == 1).sum()} with one\n"
    )
    print("| | rank-1 | rank-5 | mAP |\n|---|---|---|---|")
    for line in market.compare(market.found, np.arange(len(market.query))):
        print(line, flush=True)
    if args.covered:
        many = np.flatnonzero(counts >= 3)
        some = np.random.default_rng(1).permutation(many)[: args.covered]
        network = open_network(market.found.card.name)
        print(f"\nHalf of the crops covered by {args.by}, {len(some)} queries:\n")
        print("| | rank-1 | rank-5 | mAP |\n|---|---|---|---|")
        for line in market.compare(covered(network, market, some, args.by), some):
            print(line, flush=True)
