"""One measurement of all contestants, in turns: what ``speed.json`` holds."""

import argparse
import contextlib
import sys
import time
from pathlib import Path
from typing import Any

from . import growth
from .contestants import COMPILED, OPTIMIZED, OURS, REFERENCE, Contestant, contestants
from .machine import commit
from .report import Report
from .worker import EVAL, TRAIN, Process, WorkerError

MATRIX_SIZES = {"cpu": (1024, 2048), "cuda": (4096, 8192)}
FLOPS_BATCH = 4
LOADING_SECONDS = 20  # for each second of a turn


def measure(args: argparse.Namespace) -> Report:
    """Everything that was asked for, as ``NAME.json`` has it.

    Raises:
        WorkerError: a contestant cannot be built.
    """
    begun = time.monotonic()
    found = contestants(args.reference, args.ours, args.ways, args.stock)
    report: Report = {
        "date": time.strftime("%Y-%m-%d"),
        "settings": vars(args) | {"sizes": [f"{h}x{w}" for h, w in args.sizes]},
        "growth": None,
        "loader": None,
    }
    with contextlib.ExitStack() as stack:
        bare = stack.enter_context(Process(None, args.device, args.threads))
        report["machine"] = bare.call("describe")
        if args.loader_root:
            _say("loading data")
            report["loader"] = bare.call(
                "loading", args.loader_root, args.workers, LOADING_SECONDS * args.seconds
            )
        kinds = {contestant.label: _arithmetic(contestant, report) for contestant in found}
        report["contestants"] = {
            c.label: {
                "source": c.source,
                "name": c.name,
                "commit": commit(Path(c.name)) if c.source == REFERENCE else None,
                "arithmetic": kinds[c.label],
            }
            for c in found
        }
        running = {
            c.label: stack.enter_context(Process(c, args.device, args.threads)) for c in found
        }
        for label, process in running.items():  # all import at once, and build one by one
            _build(process, label)
        _say("matrix products, and counting operations")
        report["matrix"] = {kind: {} for kind in sorted({*kinds.values(), "float32"})}
        _matrix(bare, report["matrix"], args)
        report["flops"] = [f for size in args.sizes for f in _flops(running, found, size)]
        report["results"] = []
        for size in args.sizes:
            tasks = [(EVAL, batch) for batch in args.eval_batches]
            for task, batch in [*tasks, (TRAIN, _train_batch(args, size))]:
                report["results"] += _in_turns(running, found, task, *size, batch, args)
        _matrix(bare, report["matrix"], args)
    report["memory"] = [_memory(c, size, args) for size in args.sizes for c in found]
    if args.growth:
        report["growth"] = _growth(next(c for c in found if c.source == OURS), report, args)
    report["minutes"] = (time.monotonic() - begun) / 60
    return report


def _build(process: Process, label: str) -> None:
    _say(f"building {label}")
    try:
        process.call("build")
    except WorkerError as error:
        raise WorkerError(f"cannot build {label}: {error}") from error


def _arithmetic(contestant: Contestant, report: Report) -> str:
    """The kind of matrix product that its convolutions are compared with."""
    tf32 = report["machine"].get("tf32_convolutions", False)
    return "tf32" if contestant.dtype == "float32" and tf32 else contestant.dtype


def _matrix(bare: Process, found: dict[str, dict[int, list[float]]], args: Any) -> None:
    for _ in range(args.turns):
        for kind, samples in found.items():
            for size in MATRIX_SIZES[args.device]:
                rate = bare.call("matrix", kind, size, args.seconds / 2)
                samples.setdefault(size, []).append(rate)


def _flops(
    running: dict[str, Process], found: list[Contestant], size: tuple[int, int]
) -> list[dict[str, Any]]:
    """Of each; optimized and compiled ones have their original's, which nobody counts in them."""
    height, width = size
    entries = []
    counted: dict[str, float] = {}
    for contestant in found:
        if contestant.way not in (OPTIMIZED, COMPILED):
            counted = running[contestant.label].call("flops", height, width, FLOPS_BATCH)
        entry = {"contestant": contestant.label, "height": height, "width": width}
        entries.append(entry | ({EVAL: counted[EVAL]} if contestant.optimized else counted))
    return entries


def _in_turns(
    running: dict[str, Process],
    found: list[Contestant],
    task: str,
    height: int,
    width: int,
    batch: int,
    args: argparse.Namespace,
) -> list[dict[str, Any]]:
    """One measurement of all contestants; what one of them cannot do is in its ``error``."""
    results = {}
    for contestant in found:
        if task == EVAL or not contestant.optimized:
            results[contestant.label] = {
                "contestant": contestant.label,
                "task": task,
                "height": height,
                "width": width,
                "batch": batch,
                "clock": [],
                "processor": [],
            }
    for turn in range(args.turns):
        _say(f"{height}x{width}, {task}, batch {batch}: turn {turn + 1} of {args.turns}")
        for label, result in results.items():
            if "error" in result:
                continue
            try:
                given = running[label].call("time", task, height, width, batch, args.seconds)
            except WorkerError as error:
                result["error"] = str(error)
                continue
            result["calls"] = given["calls"]
            result["clock"].append(given["clock"])
            result["processor"].append(given["processor"])
    return list(results.values())


def _memory(
    contestant: Contestant, size: tuple[int, int], args: argparse.Namespace
) -> dict[str, Any]:
    """In a process that has done nothing else."""
    height, width = size
    batch = _train_batch(args, size)
    _say(f"{height}x{width}, memory")
    entry = {"contestant": contestant.label, "height": height, "width": width, "batch": batch}
    with Process(contestant, args.device, args.threads) as process:
        _build(process, contestant.label)
        return entry | process.call("memory", height, width, batch)


def _growth(contestant: Contestant, report: Report, args: argparse.Namespace) -> dict[str, Any]:
    peak = next(m for m in reversed(report["memory"]) if m["contestant"] == contestant.label)
    with Process(contestant, args.device, args.threads) as process:
        _build(process, contestant.label)
        found = growth.measure(process, peak, args.seconds / 2, _say)
    return {"contestant": contestant.label} | found


def _train_batch(args: argparse.Namespace, size: tuple[int, int]) -> int:
    if args.train_batch:
        return args.train_batch
    if args.device == "cuda":
        return 64
    return 32 if size[0] * size[1] <= 128 * 64 else 8


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)
