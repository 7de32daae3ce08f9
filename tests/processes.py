"""Processes that tests start and kill, forks of this one, and what a process prints into."""

import contextlib
import io
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def started(work: Callable[..., int | None], *arguments: Any, **environment: str) -> Any:
    """Begin ``work(*arguments)`` in a process that ends with what it returns.

    What it prints goes nowhere.
    """

    def run() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.update(environment)
        sys.stdout = open(os.devnull, "w")
        os.dup2(sys.stdout.fileno(), 1)
        sys.exit(work(*arguments))

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    return process


def killed_at(there: Path, work: Callable[..., int | None], *arguments: Any) -> None:
    """Run ``work(*arguments)`` in a process, and kill it as soon as a path is there."""
    process = started(work, *arguments)
    end = time.monotonic() + 120
    while not there.exists():
        assert process.is_alive() and time.monotonic() < end
        time.sleep(0.001)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


@contextlib.contextmanager
def on_a_code_page(encoding: str) -> Iterator[tuple[io.BytesIO, io.BytesIO]]:
    """Print as on Windows, where output into a file has the system's code page."""
    streams = io.BytesIO(), io.BytesIO()
    out, err = (
        io.TextIOWrapper(stream, encoding, errors, write_through=True)
        for stream, errors in zip(streams, ("strict", "backslashreplace"))  # Python's own
    )
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield streams
        out.detach(), err.detach()
