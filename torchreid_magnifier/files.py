"""Files that appear complete or not at all."""

import contextlib
import hashlib
import os
from pathlib import Path


def write_atomically(path: str | os.PathLike, data: bytes) -> None:
    """Writes ``data`` into a temporary file in the same folder, then renames it to ``path``.

    A process that is killed, or a disk that is full, leaves what was at ``path`` before.

    Raises:
        OSError: the file cannot be written; the temporary one is gone then.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def sha256(path: str | os.PathLike) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
