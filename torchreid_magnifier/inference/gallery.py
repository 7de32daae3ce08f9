"""Galleries that grow and shrink: people enrolled, found by who, where and when, and removed.

One interface over two stores: a file of embeddings, and Milvus, embedded in a local folder or as a
server. What either gives is ``Embeddings``, which ``search`` and ``decide`` take as they are.
"""

import contextlib
import csv
import datetime
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..errors import needing
from ..files import locked, read_text
from ..hub import Card
from .embedding_files import is_embedding_file, read_embeddings, require_writable, write_embeddings
from .embeddings import (
    OPTIONAL,
    Embeddings,
    card_from_json,
    card_to_json,
    concatenated,
    require_comparable,
    require_finite,
)
from .errors import RetrievalError

LOCAL = ".db"  # what the name of an embedded Milvus ends in
SERVER = ("http://", "https://", "tcp://", "unix:")

_BATCH = 500  # rows, or queries, that Milvus gets at once
_SPARE = 16  # candidates beyond those asked for: `search` orders them in float64
_NAME = "torchreid_magnifier"  # of the alias in Milvus; its collections are …_1, …_2
# HNSW (Malkov and Yashunin, 2016), as FAISS's of ``index``: neighbours, breadths.
_HNSW = {"M": 32, "efConstruction": 80}
_BREADTH = 128
_KEY = 32  # hexadecimal digits
_TEXT = 2048  # bytes of a path or a name


class Where(NamedTuple):
    """Rows of a gallery that are meant; all that is given must hold.

    Attributes:
        people, cameras, tracks: one of each that is given.
        since, until: seconds since 1970, both inclusive.
    """

    people: Sequence[str] = ()
    cameras: Sequence[str] = ()
    tracks: Sequence[int] = ()
    since: float | None = None
    until: float | None = None

    def rows(self, embeddings: Embeddings) -> np.ndarray:
        """Return which rows are meant, bool (N,).

        Raises:
            RetrievalError: the embeddings lack a column that is asked for.
        """
        meant = np.ones(len(embeddings), bool)
        for column, wanted in self._wanted():
            values = getattr(embeddings, column)
            if values is None:
                raise RetrievalError(
                    f"the gallery has no {column}: enrol it with people, cameras and times"
                )
            if column == "times":
                meant &= (values >= wanted[0]) & (values <= wanted[1])  # NaN: no
            else:
                meant &= np.isin(values, wanted)
        return meant

    def expression(self) -> str:
        """Return the same for Milvus."""
        parts = []
        for column, wanted in self._wanted():
            if column == "times":
                low, high = (float(np.clip(value, -1e300, 1e300)) for value in wanted)
                parts.append(f"{column} >= {low!r} and {column} <= {high!r}")
            else:  # a list of JSON is one of Milvus
                parts.append(f"{column} in {json.dumps(list(wanted), ensure_ascii=False)}")
        return " and ".join(parts)

    def _wanted(self) -> Iterator[tuple[str, Any]]:
        for column in ("people", "cameras", "tracks"):
            if wanted := getattr(self, column):
                yield column, list(wanted)
        if (self.since, self.until) != (None, None):
            low = -np.inf if self.since is None else self.since
            yield "times", (low, np.inf if self.until is None else self.until)


EVERYTHING = Where()


class Gallery(Protocol):
    """Embeddings of one network that can be enrolled, found and removed: ``open_gallery``.

    Attributes:
        card: of the network; others' embeddings are refused.
    """

    card: Card

    def __len__(self) -> int: ...

    def add(self, embeddings: Embeddings) -> int:
        """Enrol embeddings; one of the same picture, frame, box and track replaces the old one.

        Returns:
            How many rows there are more than before.

        Raises:
            RetrievalError: they are of another network or preprocessing.
        """

    def nearest(self, queries: Embeddings, count: int, where: Where = EVERYTHING) -> Embeddings:
        """Return rows among which are the ``count`` nearest to each query, for ``search``.

        Raises:
            RetrievalError: the queries are of another network, or nothing is meant by ``where``.
        """

    def some(self, count: int) -> Embeddings:
        """Return at most so many rows, to learn how scores are distributed."""

    def remove(self, person: str) -> int:
        """Remove a person for good: neither the vectors nor the names stay in the store's files.

        Returns:
            How many rows were removed.
        """

    def close(self) -> None:
        """Give back what the store holds."""


def open_gallery(source: str | os.PathLike[str], card: Card | None = None) -> Gallery:
    """Open a gallery, or begin one.

    Args:
        source: a file of embeddings (``.npz``, ``.parquet``), a folder of Milvus (``.db``), or a
            server of Milvus (``http://host:19530``; its token is in ``MILVUS_TOKEN``).
        card: of the network that a new gallery is for; None opens what is there.

    Raises:
        RetrievalError: there is none, it is of another network, or an extra is not installed.
    """
    source = os.fspath(source)
    if not in_file(source):
        return MilvusGallery(source, card)
    if is_embedding_file(source):
        return FileGallery(Path(source).expanduser(), card)
    raise RetrievalError(
        f"{source}: expected a file of embeddings (.npz, .parquet), a folder {LOCAL} of Milvus, or "
        "the address of a server, such as http://localhost:19530"
    )


def in_file(source: str) -> bool:
    """Return whether a gallery is a file, and not Milvus, by its name."""
    return not source.startswith(SERVER) and not source.endswith(LOCAL)


class FileGallery:
    """A gallery in a file of ``extract``; a change writes the file anew, as a whole.

    Args:
        path: of the file.
        card: of the network, if there may be no file yet.
    """

    def __init__(self, path: Path, card: Card | None = None) -> None:
        self._path = path
        self._rows = read_embeddings(path) if card is None or path.exists() else None
        if self._rows is None:
            require_writable(path)
        elif card is not None:
            require_comparable(self._rows.card, card, "the gallery", "the new ones")
        self.card: Card = self._rows.card if self._rows is not None else card  # type: ignore[assignment]

    def __len__(self) -> int:
        return 0 if self._rows is None else len(self._rows)

    def add(self, embeddings: Embeddings) -> int:
        """Enrol embeddings as `Gallery.add` does."""
        require_comparable(self.card, embeddings.card, "the gallery", "the new ones")
        with self._changing():
            before, new = len(self), _last_of_each(embeddings)
            if self._rows is not None:
                kept = ~np.isin(_keys(self._rows), _keys(new))
                new = concatenated([rows_of(self._rows, kept), new])
            self._write(new)
            return len(self) - before

    def nearest(self, queries: Embeddings, count: int, where: Where = EVERYTHING) -> Embeddings:
        """Return all rows that are meant: what is nearest is for ``search`` and its index."""
        require_comparable(self.card, queries.card)
        rows = self.some(0)
        return rows if where == EVERYTHING else _not_empty(rows_of(rows, where.rows(rows)))

    def some(self, count: int) -> Embeddings:
        """Return all rows, mapped."""
        if self._rows is None:
            raise RetrievalError("the gallery is empty: there is nobody to find")
        return self._rows

    def remove(self, person: str) -> int:
        """Remove a person as `Gallery.remove` does; the last one's file is deleted."""
        with self._changing():
            if self._rows is None or self._rows.people is None:
                return 0
            gone = self._rows.people == person
            if gone.all():
                self._rows = None
                self._path.unlink()
            elif gone.any():
                self._write(rows_of(self._rows, ~gone))
            return int(gone.sum())

    def close(self) -> None:
        """Do nothing: a file is only open while it is read."""

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Keep others out, and begin with what they left."""
        with locked(self._path.with_name(f".{self._path.name}.lock")):
            self._rows = read_embeddings(self._path) if self._path.exists() else None
            yield

    def _write(self, embeddings: Embeddings) -> None:
        embeddings = replace(embeddings, card=self.card)
        write_embeddings(self._path, [embeddings], len(embeddings), self.card)
        self._rows = read_embeddings(self._path)


class MilvusGallery:
    """A gallery in Milvus (Wang et al., SIGMOD 2021), embedded or on a server by the same code.

    An alias leads to the collection in use. Removing from an embedded one copies who stays into a
    new collection, moves the alias and deletes the old one's files: whenever it is killed, the
    gallery is the one before or the one after. A server deletes and compacts itself.

    Args:
        source: a folder ``….db``, or the address of a server.
        card: of the network that a new gallery is for; None opens what is there.
        index: ``FLAT`` (exact) or ``HNSW``, of a new gallery; by default the first in a folder.
    """

    def __init__(self, source: str, card: Card | None = None, index: str | None = None) -> None:
        milvus = _pymilvus()
        self._embedded = not source.startswith(SERVER)
        self._source, self._index = source, index or ("FLAT" if self._embedded else "HNSW")
        path = Path(source).expanduser()
        if self._embedded and card is None and not path.is_dir():
            raise RetrievalError(f"there is no gallery {source}")
        if self._embedded and not path.absolute().parent.is_dir():
            raise RetrievalError(f"there is no folder {path.parent} to put {path.name} into")
        try:
            token = {} if self._embedded else {"token": os.environ.get("MILVUS_TOKEN", "")}
            self._client = milvus.MilvusClient(str(path) if self._embedded else source, **token)
            with contextlib.ExitStack() as undo:
                undo.callback(self._client.close)
                self.card = self._begin(card)
                undo.pop_all()
        except (milvus.MilvusException, OSError, ValueError) as error:
            raise RetrievalError(
                f"{source} cannot be opened by Milvus: {_reason(error)}"
            ) from error

    def _begin(self, card: Card | None) -> Card:
        """Find the collection, or make it for this card; return the card that it has."""
        self._current = self._collection()
        if self._current is None:
            if card is None:
                raise RetrievalError(f"{self._source} has no gallery of this package")
            if self._client.has_collection(first := f"{_NAME}_1"):  # of a killed process
                self._client.drop_collection(first)
            self._current = self._create(first, card)
            self._client.create_alias(self._current, _NAME)
        self._client.load_collection(self._current)
        self._index = self._client.describe_index(self._current, "vector")["index_type"]
        about = self._client.describe_collection(self._current)["properties"]
        if "card" not in about:
            raise RetrievalError(f"{self._source}: its collection {_NAME} is not of this package")
        found = card_from_json(about["card"])
        if card is not None:
            require_comparable(found, card, "the gallery", "the new ones")
        return found

    def __len__(self) -> int:
        return self._count("")

    def add(self, embeddings: Embeddings) -> int:
        """Enrol embeddings as `Gallery.add` does; those of a killed call may be there in part."""
        require_comparable(self.card, embeddings.card, "the gallery", "the new ones")
        before, new = len(self), _last_of_each(embeddings)
        self._tidy()
        keys = _keys(new)
        for start in range(0, len(new), _BATCH):
            stop = min(start + _BATCH, len(new))
            rows = [_as_row(new, keys[row], row) for row in range(start, stop)]
            self._client.upsert(self._current, rows)
        self._client.flush(self._current)
        return len(self) - before

    def nearest(self, queries: Embeddings, count: int, where: Where = EVERYTHING) -> Embeddings:
        """Return candidates as `Gallery.nearest` does."""
        require_comparable(self.card, queries.card)
        found: dict[str, Any] = {}
        for start in range(0, len(queries), _BATCH):
            asked = np.asarray(queries.vectors[start : start + _BATCH], np.float32)
            params = {"ef": max(_BREADTH, count + _SPARE)} if self._index == "HNSW" else {}
            for hits in self._client.search(
                self._current,
                data=list(asked),
                anns_field="vector",
                filter=where.expression(),
                limit=count + _SPARE,
                search_params={"metric_type": "COSINE", "params": params},
                output_fields=["vector", "row"],
            ):
                found |= {hit["key"]: hit["entity"] for hit in hits}
        return self._embeddings([found[key] for key in sorted(found)])

    def some(self, count: int) -> Embeddings:
        """Return rows as `Gallery.some` does."""
        return self._embeddings(
            self._client.query(
                self._current, filter="", limit=count, output_fields=["vector", "row"]
            )
        )

    def remove(self, person: str) -> int:
        """Remove a person as `Gallery.remove` does.

        A server keeps the files of what it has compacted for some time (``dataCoord.gc``).
        """
        self._tidy()
        which = Where([person]).expression()
        if not (count := self._count(which)):
            return 0
        if self._embedded:
            self._rebuild(f"not ({which})")
        else:
            self._client.delete(self._current, filter=which)
            self._client.flush(self._current)
            self._client.compact(self._current)
        return count

    def close(self) -> None:
        """Close the connection; of an embedded gallery, give the folder back."""
        self._client.close()

    def _collection(self) -> str | None:
        """The collection that the alias leads to."""
        for name in self._client.list_collections():
            if _NAME in self._client.list_aliases(name)["aliases"]:
                return str(name)
        return None

    def _create(self, name: str, card: Card) -> str:
        milvus = _pymilvus()
        kinds = milvus.DataType
        schema = self._client.create_schema(auto_id=False)
        schema.add_field("key", kinds.VARCHAR, is_primary=True, max_length=_KEY)
        schema.add_field("vector", kinds.FLOAT_VECTOR, dim=card.embedding_size)
        schema.add_field("people", kinds.VARCHAR, max_length=_TEXT)
        schema.add_field("cameras", kinds.VARCHAR, max_length=_TEXT)
        schema.add_field("times", kinds.DOUBLE, nullable=True)
        schema.add_field("tracks", kinds.INT64)
        schema.add_field("row", kinds.JSON)
        index = self._client.prepare_index_params()
        params = _HNSW if self._index == "HNSW" else {}
        index.add_index("vector", index_type=self._index, metric_type="COSINE", params=params)
        self._client.create_collection(
            name,
            schema=schema,
            index_params=index,
            properties={"card": card_to_json(card)},
            consistency_level="Strong",
        )
        return name

    def _rebuild(self, kept: str) -> None:
        """Copy what is kept into the next collection, and let go of this one."""
        old = self._current
        assert old is not None
        new = self._create(f"{_NAME}_{int(old.rpartition('_')[2]) + 1}", self.card)
        rows = self._client.query_iterator(old, batch_size=_BATCH, filter=kept, output_fields=["*"])
        while batch := rows.next():
            self._client.insert(new, [dict(row) for row in batch])
        self._client.flush(new)
        self._client.alter_alias(new, _NAME)
        self._current = new
        self._tidy()

    def _tidy(self) -> None:
        """Delete what a killed removal has left, before or after it moved the alias."""
        for name in self._client.list_collections() if self._embedded else ():
            if name != self._current and re.fullmatch(rf"{_NAME}_\d+", name):
                self._client.drop_collection(name)

    def _count(self, which: str) -> int:
        found = self._client.query(self._current, filter=which, output_fields=["count(*)"])
        return int(found[0]["count(*)"])

    def _embeddings(self, found: Sequence[Any]) -> Embeddings:
        if not found:
            raise RetrievalError("the gallery has nobody of whom this is true")
        rows = [one["row"] for one in found]
        columns: dict[str, np.ndarray] = {
            "embeddings": np.array([one["vector"] for one in found], np.float32)
        }
        for name in ("paths", "frames", *OPTIONAL):
            values = [row.get(name) for row in rows]
            if any(value is not None for value in values):
                columns[name] = _column(name, values)
        return Embeddings.from_columns(columns, self.card)


def rows_of(embeddings: Embeddings, which: np.ndarray) -> Embeddings:
    """Return some rows, by their numbers or a mask."""
    columns = {name: column[which] for name, column in embeddings.columns()}
    return Embeddings.from_columns(columns, embeddings.card)


def with_facts(
    embeddings: Embeddings,
    people: Sequence[str],
    cameras: Sequence[str] | None = None,
    times: Sequence[float] | None = None,
) -> Embeddings:
    """Return embeddings with who is in each, which camera took it and when.

    Args:
        embeddings: N of them.
        people: N names; "" where nobody knows.
        cameras: N names.
        times: N times in seconds since 1970; NaN where nobody knows.
    """
    return replace(
        embeddings,
        people=np.array(people, np.str_),
        cameras=None if cameras is None else np.array(cameras, np.str_),
        times=None if times is None else np.array(times, np.float64),
    )


def read_table(path: Path, *needed: str) -> Callable[[Embeddings], Embeddings]:
    """Read a table, and return a function that gives embeddings what it says of them.

    Args:
        path: a CSV file with a head: ``path``, and of ``frame``, ``track``, ``person``,
            ``camera``, ``time`` (seconds since 1970, or ISO 8601) what is known. A row is of all
            embeddings of its path, its frame and its track; paths are whole or their ends.
        needed: columns that it must have; one of ``person``, ``camera`` and ``time`` in any case.

    Raises:
        RetrievalError: the table lacks a column or, when the function is called, an embedding; or
            a value is wrong.
        ListError, OSError: the file cannot be read.
    """
    reader = csv.DictReader(read_text(path).split("\n"))
    names = [name.strip() for name in reader.fieldnames or []]
    if not {"path", *needed} <= set(names) or not {"person", "camera", "time"} & set(names):
        raise RetrievalError(
            f"{path}: expected a CSV table with the columns path and "
            f"{' and '.join(needed) or 'person, camera or time'}, found "
            f"{', '.join(names) or 'none'}"
        )
    known: dict[tuple[str, ...], dict[str, str]] = {}
    by = [name for name in ("path", "frame", "track") if name in names]
    for line, row in enumerate(reader, 2):
        if None in row:
            raise RetrievalError(f"{path}, line {line}: expected {len(names)} values, found more")
        row = {str(key).strip(): (value or "").strip() for key, value in row.items()}
        row["time"] = str(_seconds(row.get("time", ""), f"{path}, line {line}"))
        key = tuple(row[name] for name in by)
        if known.setdefault(key, row) != row:
            raise RetrievalError(f"{path}, line {line}: {' '.join(key)} has another row already")

    def with_table(embeddings: Embeddings) -> Embeddings:
        tracks = embeddings.tracks
        facts = []
        for number in range(len(embeddings)):
            key = {
                "path": str(embeddings.paths[number]),
                "frame": str(embeddings.frames[number]),
                "track": "" if tracks is None else str(tracks[number]),
            }
            rest = [key[name] for name in by[1:]]
            ends = [key["path"]] + [
                key["path"][at + 1 :] for at, letter in enumerate(key["path"]) if letter == "/"
            ]
            found = next((known[(end, *rest)] for end in ends if (end, *rest) in known), None)
            if found is None:
                raise RetrievalError(f"{path}: it has no row of {embeddings.place(number)}")
            facts.append(found)
        return with_facts(
            embeddings,
            [fact.get("person", "") for fact in facts],
            [fact["camera"] for fact in facts] if "camera" in names else None,
            [float(fact["time"]) for fact in facts] if "time" in names else None,
        )

    return with_table


def seconds(text: str) -> float:
    """Read a time: seconds since 1970, or ISO 8601 such as ``2026-05-01T12:30``.

    Raises:
        RetrievalError: it is neither.
    """
    try:
        return float(text)
    except ValueError:
        with contextlib.suppress(ValueError):
            return datetime.datetime.fromisoformat(text).timestamp()
    raise RetrievalError(
        f"expected seconds since 1970 or a time as 2026-05-01T12:30, found {text!r}"
    )


def _seconds(text: str, where: str) -> float:
    try:
        return seconds(text) if text else float("nan")
    except RetrievalError as error:
        raise RetrievalError(f"{where}: {error}") from error


def _last_of_each(embeddings: Embeddings) -> Embeddings:
    """Of the same picture twice, the last."""
    require_finite(embeddings, "embeddings to enrol")
    last = {key: row for row, key in enumerate(_keys(embeddings))}
    if len(last) == len(embeddings):
        return embeddings
    return rows_of(embeddings, np.array(sorted(last.values())))


def _keys(embeddings: Embeddings) -> list[str]:
    """What a row is of: a picture, a frame, a box, a track."""
    names = ["paths", "frames", "tracks", "boxes"]
    columns = [getattr(embeddings, name) for name in names]
    return [
        hashlib.sha256(
            json.dumps([_plain(column, row) for column in columns]).encode()
        ).hexdigest()[:_KEY]
        for row in range(len(embeddings))
    ]


def _plain(column: np.ndarray | None, row: int) -> Any:
    """A value for JSON; NaN, which JSON has not, as None."""
    if column is None:
        return None
    value = column[row].tolist()
    values = value if isinstance(value, list) else [value]
    if any(one != one for one in values):
        return None
    return value


def _as_row(embeddings: Embeddings, key: str, row: int) -> dict[str, Any]:
    columns = dict(embeddings.columns())
    columns.pop("regions", None)  # of searches by parts, which files are for
    vector = np.asarray(columns.pop("embeddings")[row], np.float32)
    kept = {name: _plain(column, row) for name, column in columns.items()}
    return {
        "key": key,
        "vector": vector,
        "people": kept.get("people") or "",
        "cameras": kept.get("cameras") or "",
        "times": kept.get("times"),
        "tracks": kept.get("tracks", -1),
        "row": kept,
    }


def _column(name: str, values: Sequence[Any]) -> np.ndarray:
    """Values of JSON as a column; None, where a row has none, as what stands for it."""
    kind, dimensions, nothing = OPTIONAL.get(name, ("U" if name == "paths" else "i", 1, 0))
    empty: Any = nothing
    if dimensions == 2:
        empty = [nothing] * len(next(value for value in values if value is not None))
    dtype = {"f": np.float64 if name == "times" else np.float32, "i": np.int32, "U": np.str_}[kind]
    return np.array([empty if value is None else value for value in values], dtype)


def _reason(error: Exception) -> str:
    return str(getattr(error, "message", error)).partition("\n")[0]


def _not_empty(embeddings: Embeddings) -> Embeddings:
    if not len(embeddings):
        raise RetrievalError("the gallery has nobody of whom this is true")
    return embeddings


def _pymilvus() -> Any:
    with needing("Milvus needs pymilvus", "milvus", RetrievalError):
        import pymilvus
    return pymilvus
