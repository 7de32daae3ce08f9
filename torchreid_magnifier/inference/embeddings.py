"""Embeddings, the pictures they are of, and the network that made them; in memory and in files."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .. import __version__
from ..evaluation import PartFeatures
from ..hub import Card, WeightsError, entries
from .errors import RetrievalError
from .open import Network
from .sources import NO_TRACK, Place

FORMAT = 2  # of the files; a reader refuses those that it does not know


def card_of(network: Network) -> Card:
    """Return the card for embeddings that a network makes: a path in it is absolute."""
    name = network.card.name
    if Path(name).expanduser().exists() and name not in entries():
        name = str(Path(name).expanduser().absolute())
    return replace(network.card, name=name, version=__version__, file=None, links=())


def card_to_json(card: Card) -> str:
    """Return a card as it stands in a file of embeddings."""
    return json.dumps({"format": FORMAT, **card.to_dict()})


def card_from_json(text: str) -> Card:
    """Read what :func:`card_to_json` wrote.

    Raises:
        RetrievalError: the text is no card of this format.
    """
    try:
        values = json.loads(text)
        if values["format"] != FORMAT:
            raise RetrievalError(
                f"format {values['format']} of torchreid-magnifier {values.get('version')}, "
                f"but this is {__version__}, which reads format {FORMAT}: extract the "
                "embeddings anew, or install that version"
            )
        return Card.from_dict(values)
    except (ValueError, KeyError, TypeError, WeightsError) as error:
        raise RetrievalError("its card is not that of embeddings") from error


def require_comparable(
    ours: Card, theirs: Card, one: str = "the gallery", another: str = "the queries"
) -> None:
    """Check that embeddings of two networks mean the same.

    Args:
        ours, theirs: their cards.
        one, another: what they are, for messages.

    Raises:
        RetrievalError: they are of other weights, or of other preprocessing.
    """
    for what in ("sha256", "height", "width", "mean", "std", "quantised"):
        our, their = getattr(ours, what), getattr(theirs, what)
        if our != their:
            raise RetrievalError(
                f"embeddings of two networks cannot be compared: those of {one} are of "
                f"{ours.model}, weights {ours.name}, {what} {our}; those of {another} of "
                f"{theirs.model}, weights {theirs.name}, {what} {their}"
            )


def require_finite(embeddings: "Embeddings", what: str = "embeddings") -> None:
    """Check that embeddings are numbers.

    Args:
        embeddings: N of them.
        what: they are, for the message.

    Raises:
        RetrievalError: some have NaN or infinity.
    """
    if (wrong := ~np.isfinite(embeddings.vectors).all(1)).any():
        row = int(np.flatnonzero(wrong)[0])
        raise RetrievalError(
            f"{int(wrong.sum())} of {len(embeddings)} {what} have values that are not finite, such "
            f"as {embeddings.place(row)}: leave them out, or extract them anew"
        )


# Columns that a file may have or not: kind and dimensions, and what stands for none in a row.
OPTIONAL: dict[str, tuple[str, int, float | str]] = {
    "visibility": ("f", 2, np.nan),
    "boxes": ("f", 2, np.nan),
    "tracks": ("i", 1, NO_TRACK),
    "scores": ("f", 1, np.nan),
    "crops": ("i", 1, 1),
    "regions": ("f", 2, np.nan),
    "people": ("U", 1, ""),
    "cameras": ("U", 1, ""),
    "times": ("f", 1, np.nan),
}


@dataclass(frozen=True)
class Embeddings:
    """N embeddings in the order of their pictures.

    Attributes:
        paths: of the images and videos, str (N,).
        frames: number of the frame in its video or folder of frames, from 0; -1 of an image, int32
            (N,).
        vectors: the embeddings, float32 or float16 (N, D), not L2-normalised; perhaps mapped from
            a file, so that only the rows that are used are read.
        visibility: share of the picture's area, 0..1, that the mask module gives to each part,
            background included: float32 (N, 8), each row's sum 1; None of a network without one.
        card: of the network that made them.
        boxes: corners x1, y1, x2, y2 in the frame, in pixels, float32 (N, 4); None of pictures
            that were taken whole.
        tracks: number of the track, -1 of none, int32 (N,); None as above.
        scores: the detector's, float32 (N,), 1 where it gave none; None as above.
        crops: how many crops each embedding is of, int32 (N,); None if it is one each.
        regions: features of the body parts, ``Embedding.regions`` of one picture after the other,
            float16 (N, K * C), perhaps mapped from a file; None unless they were asked for.
        people, cameras: who is in each, and which camera took it, str (N,), "" where nobody knows;
            None of embeddings that were not enrolled in a gallery so.
        times: when each was taken, in seconds since 1970, float64 (N,), NaN where nobody knows.
    """

    paths: np.ndarray
    frames: np.ndarray
    vectors: np.ndarray
    visibility: np.ndarray | None
    card: Card
    boxes: np.ndarray | None = None
    tracks: np.ndarray | None = None
    scores: np.ndarray | None = None
    crops: np.ndarray | None = None
    regions: np.ndarray | None = None
    people: np.ndarray | None = None
    cameras: np.ndarray | None = None
    times: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.vectors)

    def place(self, row: int) -> Place:
        """Return which picture a row is of; of a track, the one that stands for it."""
        path, frame = str(self.paths[row]), int(self.frames[row])
        if self.boxes is None or np.isnan(self.boxes[row]).any():
            return Place(path, frame)
        left, top, right, bottom = self.boxes[row].tolist()
        track = NO_TRACK if self.tracks is None else int(self.tracks[row])
        return Place(path, frame, (left, top, right, bottom), track)

    def parts(self, whose: str) -> PartFeatures:
        """Return what distances over the parts that two pictures show are made of.

        Args:
            whose: embeddings these are, for the message.

        Raises:
            RetrievalError: they have no features of body parts.
        """
        if self.regions is None or self.visibility is None:
            raise RetrievalError(
                f"{whose}: expected features of body parts, found none: extract the embeddings "
                "with --parts, by a network that has them"
            )
        return PartFeatures(self.vectors, self.regions, self.visibility)

    def columns(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the arrays that there are, by their names in files."""
        yield "embeddings", self.vectors
        yield "paths", self.paths
        yield "frames", self.frames
        for name in OPTIONAL:
            if (column := getattr(self, name)) is not None:
                yield name, column

    @classmethod
    def from_columns(cls, columns: dict[str, np.ndarray], card: Card) -> "Embeddings":
        """Make embeddings of what :meth:`columns` yields.

        Raises:
            RetrievalError: a column is missing, or of another kind or length than it must be.
        """
        rules = {"embeddings": ("f", 2), "paths": ("U", 1), "frames": ("i", 1)}
        rules |= {name: rule[:2] for name, rule in OPTIONAL.items() if name in columns}
        for name, (kind, dimensions) in rules.items():
            column = columns.get(name)
            if column is None:
                raise RetrievalError(f"it has no {name}")
            if column.dtype.kind != kind or column.ndim != dimensions:
                raise RetrievalError(f"its {name} are {column.dtype} of shape {column.shape}")
            if len(column) != len(columns["embeddings"]):
                raise RetrievalError(
                    f"it has {len(columns['embeddings'])} embeddings, but {len(column)} {name}"
                )
        return cls(
            columns["paths"],
            columns["frames"],
            columns["embeddings"],
            card=card,
            **{name: columns.get(name) for name in OPTIONAL},  # type: ignore[arg-type]
        )


def concatenated(blocks: list[Embeddings]) -> Embeddings:
    """Join blocks of one network's embeddings, at least one; some may be of boxes, some not."""
    columns = [dict(block.columns()) for block in blocks]
    shapes = {name: column.shape[1:] for one in columns for name, column in one.items()}
    for one in columns:
        for name, shape in shapes.items():
            if name not in one:
                kind, _, nothing = OPTIONAL[name]
                dtype = {"f": np.float32, "i": np.int32, "U": np.str_}[kind]
                one[name] = np.full((len(one["frames"]), *shape), nothing, dtype)
    joined = {name: np.concatenate([one[name] for one in columns]) for name in shapes}
    return Embeddings.from_columns(joined, blocks[0].card)
