"""A folder of generated files that is made once, completely or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock


def make_once(
    folder: Path,
    record: str,
    is_complete: Callable[[], bool],
    write: Callable[[Path], None],
    what: str,
    size: int,
) -> None:
    """Make ``folder`` unless it is complete.

    The files are written beside it and moved there in one step. Processes that ask at the same time
    wait for the first.

    Args:
        folder: its parents are made.
        record: name of the file in it that shows who made it.
        is_complete: whether it is there and whole.
        write: writes everything into another folder, which it makes.
        what: is made, for messages.
        size: about as many bytes are written.

    Raises:
        FileExistsError: ``folder`` holds something without that file.
        OSError: the disk is full (``errno`` ENOSPC or EDQUOT); nothing is left behind.
    """
    if is_complete():
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if not is_complete():
                _replace(folder, record, write)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        megabytes = -(-size // 10**6)
        raise OSError(
            error.errno,
            f"the disk is full: {what} need about {megabytes} MB in '{folder.parent}'. Nothing was "
            "left there. Free some space or choose a root folder on another disk",
        ) from error


def _replace(folder: Path, record: str, write: Callable[[Path], None]) -> None:
    """Write everything and put it in place of what is there. Needs the lock."""
    if folder.exists() and any(folder.iterdir()) and not (folder / record).exists():
        raise FileExistsError(
            errno.EEXIST,
            f"expected a generated data set (with a {record}) or nothing, found other files; move "
            "them away or choose another root folder",
            str(folder),
        )
    partial, old = (folder.with_name(f".{folder.name}.{suffix}") for suffix in ("partial", "old"))
    for left_over in (partial, old):  # of a process that was killed
        shutil.rmtree(left_over, ignore_errors=True)
    try:
        write(partial)
        if folder.exists():
            os.replace(folder, old)
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
