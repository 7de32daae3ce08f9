"""Whole files, locks, hashes and lists of lines: once each."""

import codecs
import contextlib
import glob
import hashlib
import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import yaml
from filelock import FileLock, Timeout
from yaml.constructor import ConstructorError

from .errors import MagnifierError


class LockedError(MagnifierError):
    """Another process is writing there."""


class PlaceError(MagnifierError):
    """A file that cannot be written where it is asked for."""


class ListError(MagnifierError):
    """A text file that is no list of lines."""


def check_file(option: str, path: Path | None) -> None:
    """See, before any work, that a file can be written to what an option names, if anything.

    Raises:
        PlaceError: a folder, or no folder for it.
    """
    if path and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise PlaceError(f"{option}: expected a file in a folder that is there, found {path}")


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], *, sweep: bool = True) -> Iterator[Path]:
    """Put what is written to the temporary file of ``with`` at ``path``.

    The temporary file is in the same folder and renamed at the end. A process that is killed, or
    a disk that is full, leaves what was at ``path`` before; what killed ones of this machine left
    behind is removed by the next.

    Args:
        path: of a file.
        sweep: remove what was left behind, which lists the folder: not for one file of thousands.

    Raises:
        OSError: the file cannot be written; the temporary one is gone then.
    """
    path = Path(path)
    temporary = temporary_beside(path, sweep=sweep)
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.errno and not error.filename:  # of a full disk
            error.filename = os.fspath(path)
        raise


def write_atomically(path: str | os.PathLike[str], data: bytes, *, sweep: bool = True) -> None:
    """Write ``data`` to ``path`` as :func:`replacing` does.

    Raises:
        OSError: the file cannot be written.
    """
    with replacing(path, sweep=sweep) as temporary:
        temporary.write_bytes(data)


def temporary_beside(path: Path, *, sweep: bool = True) -> Path:
    """Return a hidden path for what is to be renamed to ``path`` when it is complete.

    Args:
        path: of a file or a folder.
        sweep: as for :func:`replacing`.
    """
    # A name as long as file systems allow (255 bytes) leaves no room for an addition. Processes of
    # two machines, or containers, may have one number.
    start = f".{path.name[:40]}.{socket.gethostname()[:24]}-"
    if sweep:
        for left in path.parent.glob(f"{glob.escape(start)}*.partial"):
            if _has_ended(left.name[len(start) :].removesuffix(".partial")):
                with contextlib.suppress(OSError):
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
    return path.with_name(f"{start}{os.getpid()}.partial")


def _has_ended(process: str) -> bool:
    """Return whether no process of this machine has the number."""
    if not process.isdecimal():
        return False
    if os.name == "nt":  # where nobody can remove what a process has open
        return True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        pass
    return False


@contextlib.contextmanager
def locked(path: str | os.PathLike[str], *, wait: bool = False) -> Iterator[None]:
    """Keep other processes out for as long as ``with`` lasts.

    Args:
        path: of the lock file, which is made and stays; a killed process gives the lock back.
        wait: wait for another process instead of raising.

    Raises:
        LockedError: another process has it.
        OSError: the file cannot be made.
    """
    lock = FileLock(path, timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout as error:
        raise LockedError(
            f"another run is writing into {Path(path).parent}: wait until it has ended"
        ) from error
    try:
        yield
    finally:
        lock.release()


def nowhere() -> TextIO:
    """Return an open text file that nothing is kept of, whatever letters the code page has."""
    return open(os.devnull, "w", encoding="utf-8", errors="backslashreplace")


def sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's bytes, 64 hexadecimal digits.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_text(path: str | os.PathLike[str]) -> str:
    """Return the text of a file in UTF-8 or, with a byte order mark, UTF-16, as Windows saves it.

    Args:
        path: of the file; its lines may end in any way, here they end in ``\\n``.

    Raises:
        ListError: the file is neither; with the line.
        OSError: the file cannot be read.
    """
    data = Path(path).read_bytes()
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = "utf-16" if wide else "utf-8-sig"
    try:
        text = data.decode(encoding)
        at = text.find("\0")
        before = text[:at] if at >= 0 else None
    except UnicodeDecodeError as error:
        before = data[: error.start].decode(encoding, "replace")
    if before is not None:
        line = len(_lines(f"{before}."))
        raise ListError(
            f"{os.fspath(path)}, line {line}: expected text in UTF-8, or in UTF-16 with a byte "
            "order mark: save it as UTF-8"
        )
    return "\n".join(_lines(text))


def _lines(text: str) -> list[str]:
    # Not splitlines(), to which some letters of names are ends, too.
    return text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")


def load_yaml(text: str) -> Any:
    """Return what a text in YAML says; PyYAML itself keeps the last of two values in silence.

    ``1e-3`` is a number, as in YAML 1.2 and in Python; PyYAML wants ``1.0e-3``.

    Raises:
        YAMLError: it is none, or has a key twice.
    """
    return yaml.load(text, _OnceLoader)


class _OnceLoader(yaml.SafeLoader):  # type: ignore[misc]
    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != _MERGE and isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise ConstructorError(None, None, f"{key.value!r} is there twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


_MERGE = "tag:yaml.org,2002:merge"
_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")
_OnceLoader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+.0123456789"))


def read_lines(path: str | os.PathLike[str]) -> list[tuple[int, str]]:
    """Return the lines of a list that are not blank, stripped, each with its number from 1.

    Args:
        path: as for :func:`read_text`.

    Raises:
        ListError, OSError: as :func:`read_text`.
    """
    lines = read_text(path).split("\n")
    return [(i, line.strip()) for i, line in enumerate(lines, 1) if line.strip()]
