"""Embedding files: ``.npz`` and ``.parquet``, with the same contents."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from ...files import replacing
from .embeddings import Embeddings, Metadata
from .errors import RetrievalError
from .npz_file import read_npz, write_npz
from .parquet_file import read_parquet, require_pyarrow, write_parquet

ENDINGS = (".npz", ".parquet")


def is_embedding_file(path: str | os.PathLike) -> bool:
    """Whether a file holds embeddings, by its ending."""
    return Path(path).suffix.lower() in ENDINGS


def read_embeddings(path: str | os.PathLike) -> Embeddings:
    """Reads a file of ``torchreid-magnifier extract``.

    The embeddings of an ``.npz`` file are mapped into memory: a gallery larger than the memory can
    be searched. Those of a Parquet file are read.

    Raises:
        RetrievalError: there is no such file, or it is not one.
    """
    path = Path(path).expanduser()
    if not is_embedding_file(path):
        raise RetrievalError(f"{path}: expected a file of embeddings, {' or '.join(ENDINGS)}")
    try:
        found = (read_npz if path.suffix.lower() == ".npz" else read_parquet)(path)
    except OSError as error:
        raise RetrievalError(f"{path}: {error.strerror or error}") from error
    except RetrievalError as error:
        raise RetrievalError(f"{path}: {error}") from error
    if not len(found):
        raise RetrievalError(f"{path}: it has no embeddings")
    return found


def write_embeddings(
    path: str | os.PathLike, blocks: Iterable[Embeddings], rows: int, metadata: Metadata
) -> None:
    """Writes a file that appears complete or not at all.

    Args:
        blocks: the embeddings, one part after the other; at least one.
        rows: of all blocks together.

    Raises:
        RetrievalError: the ending is not known.
        OSError: it cannot be written.
    """
    path = Path(path)
    require_writable(path)
    with replacing(path) as temporary:
        if path.suffix.lower() == ".npz":
            write_npz(temporary, blocks, rows, metadata)
        else:
            write_parquet(temporary, blocks, metadata)


def require_writable(path: Path) -> None:
    """Finds out before the work whether an embedding file can be written.

    Raises:
        RetrievalError: another ending is needed, the folder is not there or cannot be written, or
            an optional package is absent.
    """
    if not is_embedding_file(path):
        raise RetrievalError(f"{path}: expected a name that ends in {' or '.join(ENDINGS)}")
    if path.suffix.lower() == ".parquet":
        require_pyarrow()
    if path.is_dir():
        raise RetrievalError(f"{path} is a folder: give the name of a file")
    if not path.absolute().parent.is_dir():
        raise RetrievalError(f"there is no folder {path.parent} to write {path.name} into")
    try:
        with tempfile.TemporaryFile(dir=path.absolute().parent):
            pass
    except OSError as error:
        raise RetrievalError(
            f"cannot write into {path.absolute().parent}: {error.strerror}"
        ) from error
