"""Embeddings in Parquet, by pyarrow: lists of fixed length, and the metadata in the schema."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from .embeddings import Embeddings, Metadata
from .errors import RetrievalError, missing_extra

_METADATA = b"torchreid-magnifier"  # its key in the schema
_LISTS = ("embeddings", "visibility")


def require_pyarrow() -> Any:
    """The package, with its Parquet module.

    Raises:
        RetrievalError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise missing_extra("pyarrow", "Parquet") from error
    return pyarrow


def write_parquet(path: Path, blocks: Iterable[Embeddings], metadata: Metadata) -> None:
    """Writes embeddings, a row group for each block."""
    pyarrow = require_pyarrow()
    writer = None
    try:
        for block in blocks:
            table = _table(pyarrow, block)
            if writer is None:
                schema = table.schema.with_metadata({_METADATA: metadata.to_json()})
                # Embeddings hardly shrink, and their smallest and largest values help nobody.
                writer = pyarrow.parquet.ParquetWriter(
                    path, schema, compression="none", use_dictionary=["paths"], write_statistics=[]
                )
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def read_parquet(path: Path) -> Embeddings:
    """Reads everything into memory, one row group after the other.

    Raises:
        RetrievalError: it is not such a file, or pyarrow is not installed.
        OSError: it cannot be read.
    """
    pyarrow = require_pyarrow()
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            text = (file.schema_arrow.metadata or {}).get(_METADATA)
            if text is None:
                raise RetrievalError(
                    "it has no metadata, so it is not of 'torchreid-magnifier extract'"
                )
            metadata = Metadata.from_json(text.decode())
            columns = {
                field.name: _array(pyarrow, file, field)
                for field in file.schema_arrow
                if field.name in (*_LISTS, "paths", "frames")
            }
    except pyarrow.ArrowException as error:
        raise RetrievalError(f"it is damaged, or not a Parquet file ({error})") from error
    return Embeddings.from_columns(columns, metadata)


def _table(pyarrow: Any, block: Embeddings) -> Any:
    columns = {}
    for name, column in block.columns():
        if name in _LISTS:
            values = pyarrow.array(np.ascontiguousarray(column).reshape(-1))
            columns[name] = pyarrow.FixedSizeListArray.from_arrays(values, column.shape[1])
        else:
            columns[name] = pyarrow.array(column)
    return pyarrow.table(columns)


def _array(pyarrow: Any, file: Any, field: Any) -> np.ndarray:
    """A column of the file as an array."""
    if field.name == "paths":
        return np.array(file.read(["paths"])["paths"].to_pylist(), dtype=np.str_)
    if field.name == "frames":
        return file.read(["frames"])["frames"].to_numpy()
    if not pyarrow.types.is_fixed_size_list(field.type):
        raise RetrievalError(f"its {field.name} are {field.type}, not lists of fixed length")
    rows, length = file.metadata.num_rows, field.type.list_size
    array = np.empty((rows, length), field.type.value_type.to_pandas_dtype())
    start = 0
    for group in range(file.num_row_groups):
        for chunk in file.read_row_group(group, [field.name])[field.name].chunks:
            array[start : start + len(chunk)] = chunk.flatten().to_numpy().reshape(-1, length)
            start += len(chunk)
    return array
