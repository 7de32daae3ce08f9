"""Pictures and frames -> what a network sees in them and whom it finds: what the page shows."""

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..figures import heat_overlay, mask_overlay
from ..images import open_image
from ..inference.boxes import BoxError
from ..inference.decide import (
    Calibration,
    CalibrationWarning,
    Decision,
    decide,
    departure_notice,
)
from ..inference.embedding_files import is_embedding_file, read_embeddings
from ..inference.embeddings import Embeddings, card_of, require_comparable
from ..inference.errors import RetrievalError
from ..inference.explain.maps import branch_maps, inspect_images
from ..inference.extract import embed
from ..inference.open import Network
from ..inference.search import hits, search
from ..inference.sources import Place, find_sources, read_places

TALL = 256  # pixels of a picture that is kept or shown
_FEWEST = 30  # pictures of a gallery whose scores are compared with a calibration's


@dataclass(frozen=True)
class Album:
    """A gallery, and its pictures where their files do not stay.

    Attributes:
        name: for people.
        embeddings: of the gallery.
        pictures: RGB, uint8 (H, W, 3), by their places; others are read from their files.
    """

    name: str
    embeddings: Embeddings
    pictures: Mapping[Place, np.ndarray] = field(default_factory=dict)

    def read(self, places: Sequence[Place]) -> dict[Place, np.ndarray | None]:
        """Return the pictures at some places, at most ``TALL``; None where none can be read."""
        found = read_places(place for place in places if place not in self.pictures)
        read = {at: None if image is None else _small(image) for at, image in found.items()}
        return {place: read[place] if place in read else self.pictures[place] for place in places}


class Seen(NamedTuple):
    """One picture, as a network sees it.

    Attributes:
        picture: RGB, uint8 (H, W, 3).
        vector: its embedding, float32 (D,).
        parts: the picture under its predicted body parts; None of a network without.
        shares: of the picture that each part takes, 0..1, by the part's name.
        activations: the picture under each branch's map, by the branch, and of all together.
    """

    picture: np.ndarray
    vector: np.ndarray
    parts: np.ndarray | None
    shares: dict[str, float]
    activations: dict[str, np.ndarray]


class Near(NamedTuple):
    """A picture of a gallery.

    Attributes:
        place: where it is.
        who: the person's name, "" where nobody knows.
        score: cosine similarity.
        picture: RGB, uint8 (H, W, 3); None where it cannot be read.
    """

    place: Place
    who: str
    score: float
    picture: np.ndarray | None


class Answer(NamedTuple):
    """Whom a vector is of.

    Attributes:
        near: the nearest of the gallery, nearest first.
        decision: by the calibration; None without one, or of an empty box.
    """

    near: list[Near]
    decision: Decision | None


def look(network: Network, path: str | os.PathLike[str]) -> Seen:
    """Show a picture of a person to a network.

    Raises:
        ImageError: it cannot be read.
    """
    picture = _small(open_image(path))
    (seen,) = inspect_images(network, [os.fspath(path)])
    parts = shares = None
    if seen.part_labels is not None and seen.visibility is not None:
        parts = mask_overlay(picture, seen.part_labels[0].numpy())
        shares = dict(zip(network.card.parts, seen.visibility[0].tolist()))
    maps = branch_maps(seen)
    if len(maps) == 2:
        maps.pop("joint")  # there is one branch only
    heats = {name: heat_overlay(picture, found[0].numpy()) for name, found in maps.items()}
    return Seen(picture, seen.vector[0].numpy(), parts, shares or {}, heats)


def answer(
    network: Network,
    vectors: np.ndarray,
    album: Album,
    calibration: Calibration | None = None,
    rate: float = 0.01,
    top: int = 10,
) -> list[Answer]:
    """Find the nearest of a gallery, and whether they are the same person.

    Args:
        network: that made the vectors.
        vectors: float32 (N, D); NaN are nobody.
        album: the gallery.
        calibration: of this network; without one there is no decision.
        rate: of false matches, one of the calibration's.
        top: pictures of the gallery for each vector.

    Returns:
        An answer to each vector.

    Raises:
        RetrievalError: gallery or calibration are of another network; no threshold for the rate.
    """
    known = np.flatnonzero(np.isfinite(vectors).all(1))
    answers = [Answer([], None)] * len(vectors)
    if not len(known):
        return answers
    names, frames = np.array([f"box {row}" for row in known]), np.full(len(known), -1)
    queries = Embeddings(names, frames, vectors[known], None, card_of(network))
    found = search(queries, album.embeddings, top)
    decisions: Sequence[Decision | None] = [None] * len(known)
    if calibration is not None:
        with warnings.catch_warnings():  # `notice` says it once for the gallery
            warnings.simplefilter("ignore", CalibrationWarning)
            decisions = decide(queries, album.embeddings, calibration, rate)
    near = [list(hits(album.embeddings, found, number)) for number in range(len(known))]
    pictures = album.read([hit.place for ranking in near for hit in ranking])
    people = album.embeddings.people
    for number, (row, ranking, decision) in enumerate(zip(known, near, decisions)):
        who = [""] * top if people is None else people[found.rows[number]].tolist()
        shown = [
            Near(hit.place, name, hit.score, pictures[hit.place]) for hit, name in zip(ranking, who)
        ]
        answers[row] = Answer(shown, decision)
    return answers


def notice(album: Album, calibration: Calibration, rate: float) -> str | None:
    """Return a warning if the gallery's scores are distributed otherwise than a calibration's."""
    if len(album.embeddings) < _FEWEST:
        return None
    return departure_notice(album.embeddings, album.embeddings, calibration, rate)


def open_album(network: Network, source: Path) -> tuple[Album, list[str]]:
    """Open a file of embeddings, or make a gallery of a folder's pictures.

    Returns:
        The gallery, and a line for each picture that cannot be used.

    Raises:
        RetrievalError: there is nothing to open, or it is of another network.
    """
    problems: list[str] = []
    if is_embedding_file(source):
        embeddings = read_embeddings(source)
        require_comparable(embeddings.card, card_of(network), "the gallery", "the network")
    else:
        embeddings, problems = embed(network, find_sources([source], videos=False), bar=True)
    return Album(source.name, _not_empty(embeddings, problems)), problems


def make_album(network: Network, paths: Sequence[str], name: str) -> tuple[Album, list[str]]:
    """Make a gallery of pictures that will be deleted: small copies of them are kept in memory.

    Args:
        network: that embeds them.
        paths: of the pictures; only their names are kept.
        name: of the gallery.

    Returns:
        The gallery, and a line for each picture that cannot be used.

    Raises:
        RetrievalError: none can be used.
    """
    embeddings, problems = embed(network, sorted(paths, key=os.path.basename))
    for path in paths:
        problems = [line.replace(path, os.path.basename(path)) for line in problems]
    embeddings = _not_empty(embeddings, problems)
    copies = [_small(open_image(path)) for path in embeddings.paths]
    names = np.array([os.path.basename(path) for path in embeddings.paths], dtype=np.str_)
    if len(set(names)) < len(names):  # of several folders
        names = np.array([f"{number} {name}" for number, name in enumerate(names, 1)], np.str_)
    columns = {**dict(embeddings.columns()), "paths": names}
    embeddings = Embeddings.from_columns(columns, embeddings.card)
    places = [embeddings.place(row) for row in range(len(names))]
    return Album(name, embeddings, dict(zip(places, copies))), problems


def read_boxes(text: str) -> np.ndarray:
    """Read boxes, a line each: x1, y1, x2, y2 in pixels, with commas or spaces between.

    Returns:
        float64 (N, 4).

    Raises:
        BoxError: there are none, or a line is not four numbers.
    """
    boxes = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            x1, y1, x2, y2 = map(float, line.replace(",", " ").split())
        except ValueError as error:
            raise BoxError(
                f"boxes, line {number}: expected x1, y1, x2, y2, found {line.strip()[:60]!r}"
            ) from error
        boxes.append((x1, y1, x2, y2))
    if not boxes:
        raise BoxError("boxes: expected a line x1, y1, x2, y2 for each person, found none")
    return np.array(boxes)


def _not_empty(embeddings: Embeddings, problems: Sequence[str]) -> Embeddings:
    if not len(embeddings):
        raise RetrievalError("\n".join(["none of the pictures can be used", *problems]))
    return embeddings


def _small(image: Image.Image) -> np.ndarray:
    image = image.copy()
    image.thumbnail((2 * TALL, TALL))
    return np.array(image)
