"""A first search by a network that comes with the package: seconds, before anything is trained."""

from pathlib import Path
from typing import Any

import numpy as np

from .. import figures
from ..errors import listed
from ..hub import DEFAULT
from ..images import read_image
from ..inference.errors import RetrievalError
from ..inference.explain.maps import inspect_images
from ..inference.extract import embed
from ..inference.open import open_network
from ..inference.search import search
from ..inference.sources import find_sources

MOST, SHOWN, LENGTH = 300, 5, 8  # images, queries in the picture, and found images of each


def search_folder(folder: Path, out: Path, seed: int) -> str:
    """Search images of people in a folder for some of them, and draw what is found, with its parts.

    Args:
        folder: of images, one person each; of more than 300, some are drawn.
        out: the picture, a PNG file.
        seed: of what is drawn.

    Returns:
        A line about it, and those about images that cannot be used.

    Raises:
        RetrievalError: there are no images, or none that can be used.
        OSError: the picture cannot be written.
    """
    chance = np.random.default_rng(seed)
    paths = find_sources([folder], videos=False)
    paths = [paths[i] for i in sorted(chance.permutation(len(paths))[:MOST])]
    network = open_network()
    embeddings, problems = embed(network, paths)
    if not len(embeddings):
        raise RetrievalError.none_usable(problems)
    queries = sorted(chance.permutation(len(embeddings.vectors))[:SHOWN])
    ranking = search(embeddings, embeddings, top=LENGTH + 1)
    found = {
        query: [
            (row, score)
            for row, score in zip(ranking.rows[query], ranking.scores[query])
            if row != query
        ][:LENGTH]
        for query in queries
    }
    shown = sorted({*queries, *(row for hits in found.values() for row, _ in hits)})
    places = [embeddings.place(row).path for row in shown]
    images = dict(zip(shown, map(read_image, places), strict=True))
    labels: list[Any] = []
    for seen in inspect_images(network, places):
        assert seen.part_labels is not None  # the whole network has a mask module
        labels.extend(seen.part_labels.numpy())
    parts = {
        row: figures.mask_overlay(images[row], label)
        for row, label in zip(shown, labels, strict=True)
    }
    examples = [
        figures.RankingExample(
            images[query],
            {DEFAULT: [figures.Hit(images[r], None, f"{s:.2f}", parts[r]) for r, s in hits]},
            why=parts[query],
        )
        for query, hits in found.items()
    ]
    title = (
        "Whom it finds\nImages drawn at random, the others that the network finds nearest, and the "
        "body parts that it sees."
    )
    figures.save(figures.rankings_figure(examples, title, parts=True), out)
    line = f"{out}: {len(embeddings)} images searched by {DEFAULT}"
    if problems:
        line += "\n" + listed("pictures that could not be used", problems)
    return line
