"""A process for each contestant: it waits while the others run, and keeps its memory to itself."""

import ctypes
import multiprocessing
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from .machine import describe, peak_memory

EVAL, TRAIN = "eval", "train"


class WorkerError(Exception):
    """What a process could not do; the text says what it met."""


class Process:
    """The other end: ``process.call('time', ...)`` runs ``Worker.time`` there.

    Args:
        contestant: a ``Contestant``; None for a process that only measures the machine.
        device: ``cpu`` or ``cuda``.
        threads: of the processor, for each operation.
    """

    def __init__(self, contestant: Any, device: str, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, contestant, device, threads))
        self._process.start()
        theirs.close()

    def call(self, method: str, *args: Any) -> Any:
        """The value of ``Worker.<method>(*args)``.

        Raises:
            WorkerError: if it raised, or if the process has died.
        """
        try:
            self._pipe.send((method, args))
            fine, value = self._pipe.recv()
        except (EOFError, OSError) as error:
            self._process.join()
            raise WorkerError(
                f"its process ended with {self._process.exitcode} (-9: too little memory, mostly)"
            ) from error
        if not fine:
            raise WorkerError(value)
        return value

    def __enter__(self) -> "Process":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: object, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.join()
        self._pipe.close()


def _serve(pipe: Connection, contestant: Any, device: str, threads: int) -> None:
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # the reference trainer would take them all
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    sys.stdout = open(os.devnull, "w")  # networks print their losses and settings
    warnings.filterwarnings("ignore")  # of old calls in others' code
    worker = Worker(contestant, device, threads)
    while True:
        try:
            method, args = pipe.recv()
        except EOFError:  # the parent is gone
            return
        try:
            reply = True, getattr(worker, method)(*args)
        except Exception as error:
            reply = False, f"{type(error).__name__}: {error}"
        pipe.send(reply)


class Worker:
    """What is done in such a process."""

    def __init__(self, contestant: Any, device: str, threads: int) -> None:
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = device == "cuda"  # as all of these trainers set it
        self._contestant, self._device = contestant, device
        self._key: tuple[Any, ...] = ()
        self._run: Callable[[], object] = lambda: None
        self._calls = 1

    def build(self) -> None:
        """Makes the network; to be called first."""
        from .contestants import build

        self._imported = peak_memory()
        self._runner = build(self._contestant, self._device)
        self._built = peak_memory()

    def describe(self) -> dict[str, Any]:
        """See ``machine.describe``."""
        return describe(self._device)

    def time(
        self, task: str, height: int, width: int, batch: int, seconds: float
    ) -> dict[str, float]:
        """One turn: seconds a call, by the clock and of the processor, and the number of calls.

        ``seconds``: how long the turn should be; one call at least.
        """
        key = (task, height, width, batch)
        if self._key != key:
            self._run = self._prepared(*key)
            self._key = key
            # The first call allocates and, on a GPU, chooses algorithms.
            first = self._timed(1)["clock"]
            long = self._device == "cpu" and first > 2 * seconds
            self._calls = 1 if long else max(1, round(seconds / self._timed(1)["clock"]))
        self._run()  # caches and memory are others' after their turns
        found = self._timed(self._calls)
        if self._device == "cuda":
            torch.cuda.empty_cache()  # the others need the memory
        elif sys.platform == "linux":
            ctypes.CDLL(None).malloc_trim(0)
        return found

    def flops(self, height: int, width: int, batch: int) -> dict[str, float]:
        """Floating-point operations of an image, in the forward pass and in a training step.

        A multiplication and an addition are two. Convolutions and matrix products are counted, of
        recurrent layers too: oneDNN and cuDNN, which take those as one operation, are off here.
        """
        found = {}
        off = {"enabled": False}
        with torch.backends.mkldnn.flags(**off), torch.backends.cudnn.flags(**off):
            for task in self._tasks():
                with FlopCounterMode(display=False) as counter:
                    self._prepared(task, height, width, batch)()
                found[task] = counter.get_total_flops() / batch
        return found

    def memory(self, height: int, width: int, batch: int) -> dict[str, int]:
        """Peak bytes of a fresh process: after imports, after building, in evaluation, in training.

        On the CPU its largest resident set so far; on a GPU what the allocator gave out in
        evaluation and in training, and (``…_reserved``) took.
        """
        cuda = torch.cuda
        found = {} if self._device == "cuda" else {"imports": self._imported, "build": self._built}
        for task in self._tasks():
            if self._device == "cuda":
                cuda.empty_cache()
                cuda.reset_peak_memory_stats()
            run = self._prepared(task, height, width, batch)
            run()
            run()  # beside the gradients and moments that the first one leaves
            if self._device == "cuda":
                found[task] = cuda.max_memory_allocated()
                found[f"{task}_reserved"] = cuda.max_memory_reserved()
            else:
                found[task] = peak_memory()
        return found

    def matrix(self, kind: str, size: int, seconds: float) -> float:
        """Floating-point operations a second of products of square matrices.

        ``kind``: ``float32``, ``tf32`` or ``bfloat16``.
        """
        key = ("matrix", kind, size)
        dtype = torch.bfloat16 if kind == "bfloat16" else torch.float32
        torch.backends.cuda.matmul.allow_tf32 = kind == "tf32"
        if self._key != key:
            a, b = (torch.randn(size, size, device=self._device).to(dtype) for _ in range(2))
            self._key, self._run = key, lambda: a @ b
            self._run()
            self._calls = max(1, round(seconds / self._timed(1)["clock"]))
        self._run()
        return 2 * size**3 / self._timed(self._calls)["clock"]

    def loading(self, root: str, workers: int, seconds: float) -> dict[str, float]:
        """See ``loading.measure``."""
        from .loading import measure

        return measure(root, workers, seconds, pin=self._device == "cuda")

    def _tasks(self) -> list[str]:
        return [EVAL] if self._runner.step is None else [EVAL, TRAIN]

    def _prepared(self, task: str, height: int, width: int, size: int) -> Callable[[], object]:
        from .contestants import make_batch

        self._key = ()  # the model is in another mode now
        batch = make_batch(size, height, width, pin=self._device == "cuda")
        embed, step = self._runner.embed, self._runner.step
        self._runner.model.train(task == TRAIN)
        if task == EVAL:
            return lambda: embed(batch.images)
        if step is None:
            raise ValueError(f"{self._contestant.label} is not for training")
        given = self._runner.prepare(batch)
        return lambda: step(given)

    def _timed(self, calls: int) -> dict[str, float]:
        self._wait()
        clock, processor = time.perf_counter(), time.process_time()
        for _ in range(calls):
            self._run()
        self._wait()
        return {
            "clock": (time.perf_counter() - clock) / calls,
            "processor": (time.process_time() - processor) / calls,
            "calls": calls,
        }

    def _wait(self) -> None:
        if self._device == "cuda":
            torch.cuda.synchronize()
