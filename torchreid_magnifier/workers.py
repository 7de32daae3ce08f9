"""Works on batches side by side, in threads or in processes."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

import torch

from .errors import MagnifierError

_AHEAD = 2  # batches for each worker

Work = Callable[[Sequence[Any]], Any]


class WorkerError(MagnifierError):
    """A process that worked ended."""


class Workers:
    """Workers that all do the same; a context manager.

    Threads share one piece of work. Processes, for networks on the CPU, have one each and give it
    one thread, so that the answers do not depend on their number; they end with this process.

    Args:
        make_work: makes the function that is called with each batch; picklable for processes.
        count: of workers.
        processes: processes instead of threads.
        ahead: batches that are begun before their results are asked for; two for each worker if
            it is None.

    Raises:
        Exception: whatever ``make_work`` raises.
    """

    def __init__(
        self,
        make_work: Callable[[], Work],
        count: int,
        processes: bool,
        ahead: int | None = None,
    ) -> None:
        self._count = count
        self._ahead = ahead or _AHEAD * count
        # For processes too: what is missing is downloaded once, and an error said once.
        work = make_work()
        self._pool: Executor
        if processes:
            self._work: Work = _work
            # A forked process would find torch's locks in whatever state they are.
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(count, spawn, _begin, (make_work,))
        else:
            self._work = work
            self._pool = ThreadPoolExecutor(count)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def map(self, batches: Iterable[Sequence[Any]]) -> Iterator[Any]:
        """Yield the result of each batch, in their order.

        Raises:
            WorkerError: a process ended.
            Exception: whatever the work raises.
        """
        begun: deque[Future[Any]] = deque()
        try:
            for batch in batches:
                with _interrupts_held():  # a process that starts would print where it was
                    begun.append(self._pool.submit(self._work, batch))
                if len(begun) == self._ahead:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        except BrokenProcessPool as error:
            raise WorkerError(
                f"one of {self._count} processes ended suddenly, perhaps for want of memory: the "
                "same command goes on from here; give it fewer --workers or a smaller --batch-size"
            ) from error


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C waits; processes that are started meanwhile hold it until :func:`_begin`."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# -- in a process of its own -----------------------------------------------------------------------

_own_work: Work


def _begin(make_work: Callable[[], Work]) -> None:
    global _own_work
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends it without a word
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    _own_work = make_work()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # a parent that was killed could not tell; this process would wait for ever


def _work(batch: Sequence[Any]) -> Any:
    return _own_work(batch)
