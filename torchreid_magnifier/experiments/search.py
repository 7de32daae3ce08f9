"""A first search by a network that comes with the package: seconds, before anything is trained."""

from pathlib import Path

import numpy as np

from .. import figures
from ..hub import DEFAULT
from ..images import read_image
from ..inference.extract import embed
from ..inference.open import open_network
from ..inference.search import search
from ..inference.sources import find_sources

MOST, SHOWN, LENGTH = 400, 6, 10  # images, queries in the picture, and found images of each


def search_folder(folder: Path, out: Path, seed: int) -> str:
    """Search images of people in a folder for some of them, and draw what is found.

    Args:
        folder: of images, one person each; of more than 400, some are drawn.
        out: the picture, a PNG file.
        seed: of what is drawn.

    Returns:
        A line about it.

    Raises:
        RetrievalError: there are no images.
        OSError: the picture cannot be written.
    """
    chance = np.random.default_rng(seed)
    paths = find_sources([folder], videos=False)
    paths = [paths[i] for i in sorted(chance.permutation(len(paths))[:MOST])]
    embeddings, _ = embed(open_network(), paths, bar=True)
    queries = sorted(chance.permutation(len(embeddings.vectors))[:SHOWN])
    ranking = search(embeddings, embeddings, top=LENGTH + 1)
    shown = [read_image(embeddings.place(row).path) for row in range(len(embeddings.vectors))]

    def found(query: int) -> list[figures.Hit]:
        others = zip(ranking.rows[query], ranking.scores[query])
        return [figures.Hit(shown[row], None, f"{s:.2f}") for row, s in others if row != query]

    examples = [
        figures.RankingExample(shown[query], {DEFAULT: found(query)[:LENGTH]}, "")
        for query in queries
    ]
    title = f"Whom {DEFAULT} finds\nImages drawn at random, and the others that it finds nearest."
    figures.save(figures.rankings_figure(examples, title), out)
    return f"{out}: {len(shown)} images searched by {DEFAULT}"
