"""What an extraction has done so far, kept in a folder beside its file until it is complete."""

import io
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from ...files import write_atomically
from .embeddings import Embeddings, Metadata
from .errors import RetrievalError

_SETTINGS = "settings.json"


class Unfinished:
    """Chunks of embeddings in ``<out>.partial/``; a context manager, which keeps other runs out.

    Args:
        out: the file that all chunks end up in.
        settings: what makes the chunks what they are, as JSON can hold it. A run goes on only with
            the same.
        metadata: of the embeddings.
        start_anew: throw away chunks of other settings instead of refusing to go on.

    Attributes:
        folder: where the chunks are.
        chunks: how many there are.

    Raises:
        RetrievalError: entering, if the folder cannot be used, another run is using it, or it has
            chunks of other settings.
    """

    def __init__(
        self, out: Path, settings: dict[str, Any], metadata: Metadata, start_anew: bool
    ) -> None:
        self.folder = out.with_name(out.name + ".partial")
        self.chunks = 0
        self._settings = json.loads(json.dumps(settings))
        self._metadata = metadata
        self._start_anew = start_anew
        self._lock = FileLock(self.folder / ".lock", timeout=0)

    def __enter__(self) -> "Unfinished":
        try:
            self.folder.mkdir(exist_ok=True)
            self._lock.acquire()
        except Timeout as error:
            raise RetrievalError(
                f"another run is writing into {self.folder}: wait until it has ended"
            ) from error
        except OSError as error:
            raise RetrievalError(f"{self.folder} cannot be used: {error.strerror}") from error
        try:
            self._begin()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def _begin(self) -> None:
        path = self.folder / _SETTINGS
        try:
            settings = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            settings = None
        except ValueError as error:
            raise RetrievalError(f"{path} is damaged: delete the folder") from error
        if settings is not None and settings != self._settings:
            self._refuse_or_clear(settings)
        write_atomically(path, json.dumps(self._settings, indent=1).encode())
        while self._path(self.chunks).exists():
            self.chunks += 1

    def _refuse_or_clear(self, before: dict[str, Any]) -> None:
        if not self._start_anew:
            keys = [key for key in self._settings if before.get(key) != self._settings[key]]
            changes = "; ".join(f"{k} {before.get(k)}, now {self._settings[k]}" for k in keys)
            raise RetrievalError(
                f"{self.folder} holds an unfinished run with other settings ({changes}): give the "
                "same to go on, or --overwrite to start anew"
            )
        for chunk in self.folder.glob("*.npz"):
            chunk.unlink()

    def append(self, block: Embeddings, faults: Sequence[str]) -> None:
        """Keeps one more chunk, and what was wrong with pictures of it."""
        columns: dict[str, Any] = dict(block.columns())
        data = io.BytesIO()
        np.savez(data, faults=np.array(faults, dtype=np.str_), **columns)
        write_atomically(self._path(self.chunks), data.getvalue())
        self.chunks += 1

    def rows(self) -> int:
        """The number of embeddings of all chunks."""
        return sum(len(columns["frames"]) for columns in self._read(["frames"]))

    def faults(self) -> list[str]:
        """What was wrong with pictures, of all chunks."""
        return [str(f) for columns in self._read(["faults"]) for f in columns["faults"]]

    def blocks(self) -> Iterator[Embeddings]:
        """The chunks' embeddings, one after the other."""
        for columns in self._read():
            yield Embeddings.from_columns(columns, self._metadata)

    def remove(self) -> None:
        """Deletes the folder."""
        self._lock.release()
        shutil.rmtree(self.folder)

    def _path(self, chunk: int) -> Path:
        return self.folder / f"{chunk:06d}.npz"

    def _read(self, names: Sequence[str] | None = None) -> Iterator[dict[str, np.ndarray]]:
        for chunk in range(self.chunks):
            path = self._path(chunk)
            try:
                with np.load(path, allow_pickle=False) as file:
                    yield {name: file[name] for name in names or file.files}
            except (OSError, ValueError, KeyError, EOFError) as error:
                raise RetrievalError(
                    f"{path} cannot be read ({error}): delete {self.folder} and start anew"
                ) from error
