"""Files of embeddings: NumPy's ``.npz`` and ``.parquet``, with the same contents.

An ``.npz`` file has a column each, uncompressed, so that the embeddings can be mapped into memory
instead of read. Parquet, by pyarrow, has lists of fixed length and the metadata in its schema.
"""

import os
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from ..errors import needing
from ..files import replacing
from ..hub import Card
from .embeddings import Embeddings, card_from_json, card_to_json
from .errors import RetrievalError

ENDINGS = (".npz", ".parquet")

_METADATA = b"torchreid-magnifier"  # its key in the schema of a Parquet file
_LISTS = ("embeddings", "visibility", "boxes", "regions")
_MAPPED = ("embeddings", "regions")
_NUMBERS = ("frames", "tracks", "scores", "crops", "times")
_TEXTS = ("paths", "people", "cameras")
_NONE = "it has no metadata, so it is not of 'torchreid-magnifier extract'"


def is_embedding_file(path: str | os.PathLike[str]) -> bool:
    """Return whether a file holds embeddings, by its ending."""
    return Path(path).suffix.lower() in ENDINGS


def read_embeddings(path: str | os.PathLike[str]) -> Embeddings:
    """Read a file of ``torchreid-magnifier extract``.

    The embeddings of an ``.npz`` file are mapped into memory: a gallery larger than the memory can
    be searched. Those of a Parquet file are read.

    Raises:
        RetrievalError: there is no such file, or it is not one.
    """
    path = Path(path).expanduser()
    if not is_embedding_file(path):
        raise RetrievalError(f"{path}: expected a file of embeddings, {' or '.join(ENDINGS)}")
    try:
        found = (_read_npz if path.suffix.lower() == ".npz" else _read_parquet)(path)
    except OSError as error:
        raise RetrievalError(f"{path}: {error.strerror or error}") from error
    except RetrievalError as error:
        raise RetrievalError(f"{path}: {error}") from error
    if not len(found):
        raise RetrievalError(f"{path}: it has no embeddings")
    return found


def write_embeddings(
    path: str | os.PathLike[str], blocks: Iterable[Embeddings], rows: int, card: Card
) -> None:
    """Write a file that appears complete or not at all; one block's rows are in memory at a time.

    Args:
        path: of the file, ``.npz`` or ``.parquet``.
        blocks: the embeddings, one part after the other; at least one.
        rows: of all blocks together.
        card: of the network that made them.

    Raises:
        RetrievalError: the ending is not known.
        OSError: it cannot be written.
    """
    path = Path(path)
    require_writable(path)
    with replacing(path) as temporary:
        if path.suffix.lower() == ".npz":
            _write_npz(temporary, blocks, rows, card)
        else:
            _write_parquet(temporary, blocks, card)


def require_writable(path: Path) -> None:
    """Find out before the work whether an embedding file can be written.

    Raises:
        RetrievalError: another ending is needed, the folder is not there or cannot be written, or
            an optional package is absent.
    """
    folder = path.absolute().parent
    if not is_embedding_file(path):
        raise RetrievalError(f"{path}: expected a name that ends in {' or '.join(ENDINGS)}")
    if path.suffix.lower() == ".parquet":
        _pyarrow()
    if path.is_dir():
        raise RetrievalError(f"{path} is a folder: give the name of a file")
    if not folder.is_dir():
        raise RetrievalError(f"there is no folder {path.parent} to write {path.name} into")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise RetrievalError(f"cannot write into {folder}: {error.strerror}") from error


# ------------------------------------------------------------------ .npz


def _write_npz(path: Path, blocks: Iterable[Embeddings], rows: int, card: Card) -> None:
    others: dict[str, list[np.ndarray]] = {}
    with zipfile.ZipFile(path, "w") as archive:
        # As the first member, with sizes in 64 bits, they begin at a multiple of 64 bytes.
        with _new_member(archive, "embeddings") as member:
            for number, block in enumerate(blocks):
                columns = dict(block.columns())
                vectors = columns.pop("embeddings")
                if number == 0:
                    header = npy.header_data_from_array_1_0(vectors)
                    header["shape"] = (rows, vectors.shape[1])
                    npy.write_array_header_2_0(member, header)
                member.write(np.ascontiguousarray(vectors).data)
                for name, column in columns.items():
                    others.setdefault(name, []).append(column)
        arrays = {name: np.concatenate(parts) for name, parts in others.items()}
        for name, array in {**arrays, "metadata": np.array(card_to_json(card))}.items():
            with _new_member(archive, name) as member:
                npy.write_array(member, array, allow_pickle=False)


def _new_member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    # A ZipInfo of its own has no time in it: equal embeddings give equal files.
    return archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True)


def _read_npz(path: Path) -> Embeddings:
    with open(path, "rb") as file:
        if not zipfile.is_zipfile(file):
            raise RetrievalError("it is no .npz file, or cut short")
    try:
        with np.load(path, allow_pickle=False) as members:
            columns = {
                name: _mapped(path, members, name) if name in _MAPPED else members[name]
                for name in members.files
            }
    except (zipfile.BadZipFile, ValueError, EOFError, AttributeError) as error:
        raise RetrievalError(f"it is damaged ({error})") from error
    if "metadata" not in columns:
        raise RetrievalError(_NONE)
    return Embeddings.from_columns(columns, card_from_json(str(columns.pop("metadata"))))


def _mapped(path: Path, members: Any, name: str) -> np.ndarray:
    """A column: mapped, or read if it is compressed."""
    member = members.zip.getinfo(f"{name}.npy")
    with open(path, "rb") as file:
        file.seek(member.header_offset)
        file.seek(member.header_offset + file.read(1024).find(npy.MAGIC_PREFIX))
        if member.compress_type == zipfile.ZIP_STORED:
            old = npy.read_magic(file) == (1, 0)
            read_header = npy.read_array_header_1_0 if old else npy.read_array_header_2_0
            shape, fortran_order, dtype = read_header(file)
            if np.prod(shape) and not fortran_order:  # nothing cannot be mapped
                return np.memmap(path, dtype, "r", file.tell(), shape)
    read: np.ndarray = members[name]
    return read


# ------------------------------------------------------------------ Parquet


def _pyarrow() -> Any:
    with needing("Parquet needs pyarrow", "search", RetrievalError):
        import pyarrow
        import pyarrow.parquet
    return pyarrow


def _write_parquet(path: Path, blocks: Iterable[Embeddings], card: Card) -> None:
    """A row group for each block."""
    pyarrow = _pyarrow()
    writer = None
    try:
        for block in blocks:
            columns = {name: _column(pyarrow, column) for name, column in block.columns()}
            table = pyarrow.table(columns, metadata={_METADATA: card_to_json(card)})
            if writer is None:
                # Embeddings hardly shrink, and their smallest and largest values help nobody.
                writer = pyarrow.parquet.ParquetWriter(
                    path,
                    table.schema,
                    compression="none",
                    use_dictionary=[name for name in _TEXTS if name in columns],
                    write_statistics=[],
                )
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _column(pyarrow: Any, column: np.ndarray) -> Any:
    if column.ndim == 1:
        return pyarrow.array(column)
    values = pyarrow.array(np.ascontiguousarray(column).reshape(-1))
    return pyarrow.FixedSizeListArray.from_arrays(values, column.shape[1])


def _read_parquet(path: Path) -> Embeddings:
    pyarrow = _pyarrow()
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            text = (schema.metadata or {}).get(_METADATA)
            if text is None:
                raise RetrievalError(_NONE)
            columns: dict[str, np.ndarray] = {
                name: _lists(pyarrow, file, name) for name in _LISTS if name in schema.names
            }
            for name in set(_TEXTS).intersection(schema.names):
                columns[name] = np.array(file.read([name])[name].to_pylist(), dtype=np.str_)
            for name in set(_NUMBERS).intersection(schema.names):
                columns[name] = file.read([name])[name].to_numpy()
    except pyarrow.ArrowException as error:
        raise RetrievalError(f"it is damaged, or not a Parquet file ({error})") from error
    return Embeddings.from_columns(columns, card_from_json(text.decode()))


def _lists(pyarrow: Any, file: Any, name: str) -> np.ndarray:
    """A column of lists as one array, read a row group at a time."""
    kind = file.schema_arrow.field(name).type
    if not pyarrow.types.is_fixed_size_list(kind):
        raise RetrievalError(f"its {name} are {kind}, not lists of fixed length")
    array = np.empty((file.metadata.num_rows, kind.list_size), kind.value_type.to_pandas_dtype())
    start = 0
    for group in range(file.num_row_groups):
        for chunk in file.read_row_group(group, [name])[name].chunks:
            end = start + len(chunk)
            array[start:end] = chunk.flatten().to_numpy().reshape(-1, kind.list_size)
            start = end
    return array
