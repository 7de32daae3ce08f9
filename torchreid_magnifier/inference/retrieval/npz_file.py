"""Embeddings in NumPy's ``.npz``: a column each, uncompressed, so that the embeddings can be mapped
into memory instead of read."""

import io
import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np

from .embeddings import Embeddings, Metadata
from .errors import RetrievalError

# In a zip archive a member's name and extra fields follow 26 bytes of other things and these.
_LENGTHS = struct.Struct("<26xHH")


def write_npz(path: Path, blocks: Iterable[Embeddings], rows: int, metadata: Metadata) -> None:
    """Writes embeddings of ``rows`` rows in all; only one block's are in memory at a time."""
    with zipfile.ZipFile(path, "w") as archive:
        others = _write_vectors(archive, blocks, rows)
        for name, parts in others.items():
            _write_array(archive, name, np.concatenate(parts))
        _write_array(archive, "metadata", np.array(metadata.to_json()))


def read_npz(path: Path) -> Embeddings:
    """Reads all but the embeddings, which are mapped.

    Raises:
        RetrievalError: it is not such a file.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        if not zipfile.is_zipfile(file):
            raise RetrievalError("it is no .npz file, or cut short")
    try:
        with np.load(path, allow_pickle=False) as members:
            columns = {name: members[name] for name in members.files if name != "embeddings"}
            if "embeddings" in members.files:
                columns["embeddings"] = _mapped(path, members)
    except (zipfile.BadZipFile, ValueError, EOFError, AttributeError) as error:
        raise RetrievalError(f"it is damaged ({error})") from error
    if "metadata" not in columns:
        raise RetrievalError("it has no metadata, so it is not of 'torchreid-magnifier extract'")
    metadata = Metadata.from_json(str(columns.pop("metadata")))
    return Embeddings.from_columns(columns, metadata)


def _write_vectors(
    archive: zipfile.ZipFile, blocks: Iterable[Embeddings], rows: int
) -> dict[str, list[np.ndarray]]:
    """Writes the embeddings one block after the other, and returns the blocks' other columns."""
    others: dict[str, list[np.ndarray]] = {}
    # As the first member, with sizes in 64 bits, they begin at a multiple of 64 bytes.
    with _new_member(archive, "embeddings") as member:
        for number, block in enumerate(blocks):
            columns = dict(block.columns())
            vectors = columns.pop("embeddings")
            if number == 0:
                header = np.lib.format.header_data_from_array_1_0(vectors)
                header["shape"] = (rows, vectors.shape[1])
                np.lib.format.write_array_header_2_0(member, header)
            member.write(np.ascontiguousarray(vectors).data)
            for name, column in columns.items():
                others.setdefault(name, []).append(column)
    return others


def _write_array(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    with _new_member(archive, name) as member:
        np.lib.format.write_array(member, array, allow_pickle=False)


def _new_member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    # A ZipInfo of its own has no time in it: equal embeddings give equal files.
    return archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True)


def _mapped(path: Path, file: np.lib.npyio.NpzFile) -> np.ndarray:
    """The embeddings: mapped, or read if they are compressed."""
    assert file.zip is not None
    member = file.zip.getinfo("embeddings.npy")
    if member.compress_type != zipfile.ZIP_STORED:
        return file["embeddings"]
    with open(path, "rb") as archive:
        archive.seek(member.header_offset)
        name, extra = _LENGTHS.unpack(archive.read(_LENGTHS.size))
        archive.seek(name + extra, io.SEEK_CUR)
        version = np.lib.format.read_magic(archive)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran_order, dtype = read_header(archive)
        if fortran_order or not np.prod(shape):  # nothing cannot be mapped
            return file["embeddings"]
        return np.memmap(path, dtype, "r", archive.tell(), shape)
