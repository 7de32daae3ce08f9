"""Embeddings, the pictures they are of, and the network that made them; in memory and in files."""

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import __version__
from ..hub import entries
from ..parts import PARTS
from .errors import RetrievalError
from .network import Network, Preprocessing
from .sources import Place

FORMAT = 1  # of the files; a reader refuses those that it does not know


@dataclass(frozen=True)
class Metadata:
    """Say what embeddings were made with, and what their columns mean.

    Attributes:
        model: name of the model.
        weights: name in a manifest, or absolute path of a checkpoint.
        sha256: of the weights' file.
        height, width: of the network's input, in pixels.
        mean, std: of the three channels, as it was normalised.
        parts: names of the columns of the visibilities.
        version: of this package.
        format: of the file.
    """

    model: str
    weights: str
    sha256: str
    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    parts: tuple[str, ...] = PARTS
    version: str = __version__
    format: int = FORMAT

    @classmethod
    def of(cls, network: Network) -> "Metadata":
        """Return the metadata of embeddings that a network makes."""
        name = network.weights
        if name not in entries():
            name = str(Path(name).expanduser().absolute())
        return cls(network.name, name, network.sha256, **dataclasses.asdict(network.preprocessing))

    @classmethod
    def from_json(cls, text: str) -> "Metadata":
        """Read what :meth:`to_json` wrote.

        Raises:
            RetrievalError: the text is not metadata of this format.
        """
        try:
            values = json.loads(text)
            if values["format"] != FORMAT:
                raise RetrievalError(
                    f"format {values['format']} of torchreid-magnifier {values.get('version')}, "
                    f"but this is {__version__}, which reads format {FORMAT}: extract the "
                    "embeddings anew, or install that version"
                )
            lists = {key: tuple(value) for key, value in values.items() if type(value) is list}
            return cls(**{**values, **lists})
        except (ValueError, KeyError, TypeError) as error:
            raise RetrievalError("its metadata are not those of embeddings") from error

    def to_json(self) -> str:
        """Return all attributes as a JSON object."""
        return json.dumps(dataclasses.asdict(self))

    @property
    def preprocessing(self) -> Preprocessing:
        """Return that of the pictures."""
        return Preprocessing(self.height, self.width, self.mean, self.std)

    def require_comparable(
        self, other: "Metadata", one: str = "the gallery", another: str = "the queries"
    ) -> None:
        """Check that embeddings with these and with other metadata mean the same.

        Raises:
            RetrievalError: they are of other weights, or of other preprocessing.
        """
        for what in ("sha256", "preprocessing"):
            ours, theirs = getattr(self, what), getattr(other, what)
            if ours != theirs:
                raise RetrievalError(
                    f"embeddings of two networks cannot be compared: those of {one} are of "
                    f"{self.model}, weights {self.weights}, {what} {ours}; those of {another} of "
                    f"{other.model}, weights {other.weights}, {what} {theirs}"
                )


@dataclass(frozen=True)
class Embeddings:
    """N embeddings in the order of their pictures.

    Attributes:
        paths: of the images and videos, str (N,).
        frames: number of a video's frame, -1 of an image, int32 (N,).
        vectors: the embeddings, float32 or float16 (N, D), not L2-normalised; perhaps mapped from
            a file, so that only the rows that are used are read.
        visibility: share of the picture's area, 0..1, that the mask module gives to each part,
            background included: float32 (N, 8), each row's sum 1; None of a network without one.
        metadata: what they were made with.
    """

    paths: np.ndarray
    frames: np.ndarray
    vectors: np.ndarray
    visibility: np.ndarray | None
    metadata: Metadata

    def __len__(self) -> int:
        return len(self.vectors)

    def place(self, row: int) -> Place:
        """Return which picture a row is of."""
        return Place(str(self.paths[row]), int(self.frames[row]))

    def columns(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the arrays that there are, by their names in files."""
        yield "embeddings", self.vectors
        yield "paths", self.paths
        yield "frames", self.frames
        if self.visibility is not None:
            yield "visibility", self.visibility

    @classmethod
    def from_columns(cls, columns: dict[str, np.ndarray], metadata: Metadata) -> "Embeddings":
        """Make embeddings of what :meth:`columns` yields.

        Raises:
            RetrievalError: a column is missing, or of another kind or length than it must be.
        """
        rules = {"embeddings": ("f", 2), "paths": ("U", 1), "frames": ("i", 1)}
        if "visibility" in columns:
            rules["visibility"] = ("f", 2)
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
            columns.get("visibility"),
            metadata,
        )


def concatenated(blocks: list[Embeddings]) -> Embeddings:
    """Join blocks of one network's embeddings, at least one."""
    columns = [dict(block.columns()) for block in blocks]
    joined = {name: np.concatenate([c[name] for c in columns]) for name in columns[0]}
    return Embeddings.from_columns(joined, blocks[0].metadata)
