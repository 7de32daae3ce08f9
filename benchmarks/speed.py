"""Measures MagnifierNet against its released code and torchreid's networks.

    python benchmarks/speed.py --released ../magnifiernet_reid --growth --out speed

Images a second in evaluation and training, peak memory, floating-point operations. Every network
lives in a process of its own, and they compute in turns (A B C A B C …). Writes ``speed.json`` with
every sample, ``speed.md`` with tables and, with ``--growth``, ``speed.png``. See ``README.md``.
"""

import argparse
import contextlib
import json
import os
import re
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from measuring import growth
from measuring.contestants import Contestant, contestants
from measuring.released import SOURCE, missing
from measuring.report import Report, markdown
from measuring.worker import EVAL, TRAIN, Process, WorkerError

from torchreid_magnifier.files import write_atomically
from torchreid_magnifier.models import MODELS
from torchreid_magnifier.registry import model_names

OURS = ["magnifiernet", "magnifiernet_official"]
STOCK = ["resnet50", "pcb_p6", "osnet_x1_0"]
QUICK: dict[str, Any] = {"sizes": [(128, 64)], "eval_batches": [1, 8], "turns": 3}
MATRIX_SIZES = {"cpu": (1024, 2048), "cuda": (4096, 8192)}
FLOPS_BATCH = 4
FAILED, INTERRUPTED = 1, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, writes and prints; returns the exit status."""
    args = _parse(argv)
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # one GPU: trainers would take them all
    try:
        report = measure(args)
        report["command"] = shlex.join(["python", "benchmarks/speed.py", *(argv or sys.argv[1:])])
        write_atomically(f"{args.out}.json", (json.dumps(report, indent=1) + "\n").encode())
        write_atomically(f"{args.out}.md", markdown(report).encode())
        if report["growth"]:
            write_atomically(f"{args.out}.png", growth.draw(report["growth"]))
    except KeyboardInterrupt:
        print("\nspeed.py: interrupted", file=sys.stderr)
        return INTERRUPTED
    except (WorkerError, OSError) as error:
        print(f"speed.py: error: {error}", file=sys.stderr)
        return FAILED
    print(markdown(report))
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="speed.py",
        description=__doc__.partition("\n")[0],
        epilog="About 15 minutes on two cores, 5 more with --growth; less than 3 with --quick.",
    )
    add = parser.add_argument
    add("--released", type=_clone, metavar="PATH", help=f"a clone of {SOURCE}")
    add("--ours", nargs="*", default=OURS, choices=MODELS, metavar="NAME")
    stock = "networks that torchreid's own engine trains; this package's too"
    add("--stock", nargs="*", default=STOCK, choices=model_names(), metavar="NAME", help=stock)
    sizes = [(128, 64), (384, 192)]
    add("--sizes", nargs="+", type=_size, default=sizes, metavar="HxW", help="128x64 384x192")
    add("--eval-batches", nargs="+", type=int, default=[1, 8, 64], metavar="N")
    train_batch = "of a training step; by default 64 on a GPU, else 32, and 8 above 128x64"
    add("--train-batch", type=_batch, metavar="N", help=train_batch)
    add("--turns", type=int, default=7, metavar="N")
    add("--seconds", type=float, default=1.0, help="of a turn, about: one call at least")
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--threads", type=int, default=os.cpu_count(), metavar="N")
    add("--growth", action="store_true", help="time over batch and image size, of the first NAME")
    add("--loader-root", type=_folder, metavar="ROOT", help="data: the train loader is measured")
    add("--workers", type=int, default=os.cpu_count(), help="processes of the loader")
    add("--quick", action="store_true", help="a trial: 128x64, batch 1 and 8, three turns")
    add("--out", type=_out, required=True, metavar="NAME", help="files to write, without ending")
    if parser.parse_args(argv).quick:
        parser.set_defaults(**QUICK)
    args = parser.parse_args(argv)
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no GPU here")
    if args.growth and not args.ours:
        parser.error("--growth measures the first of --ours, which names none")
    if not (args.released or args.ours or args.stock):
        parser.error("nothing to measure: give --released, --ours or --stock")
    return args


def _clone(text: str) -> str:
    lacks = missing(Path(text))
    if lacks:
        raise argparse.ArgumentTypeError(
            f"expected a clone of {SOURCE} with its file {lacks[0]}, which {text} has not: "
            f"git clone {SOURCE}, and give that folder"
        )
    return str(Path(text).resolve())


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    height, width = map(int, match.groups()) if match else (0, 0)
    if not height or not width or height % 32 or width % 32:
        raise argparse.ArgumentTypeError(
            f"expected HEIGHTxWIDTH, both multiples of 32, found {text}"
        )
    return height, width


def _batch(text: str) -> int:
    if not text.isdecimal() or int(text) < 8 or int(text) % 4:
        raise argparse.ArgumentTypeError(
            f"expected a multiple of 4 from 8 (four images of each identity), found {text}"
        )
    return int(text)


def _folder(text: str) -> str:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {text}")
    return text


def _out(text: str) -> str:
    if not Path(text).parent.is_dir() or not os.access(Path(text).parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"cannot write into {Path(text).parent}")
    return text


# ------------------------------------------------------------------ the measurement


def measure(args: argparse.Namespace) -> Report:
    """Everything that was asked for, as ``NAME.json`` has it.

    Raises:
        WorkerError: a contestant cannot be built.
    """
    begun = time.monotonic()
    found = contestants(args.released, args.ours, args.stock)
    report: Report = {
        "date": time.strftime("%Y-%m-%d"),
        "settings": vars(args) | {"sizes": [f"{h}x{w}" for h, w in args.sizes]},
        "growth": None,
        "loader": None,
    }
    with contextlib.ExitStack() as stack:
        bare = stack.enter_context(Process(None, args.device, args.threads))
        report["machine"] = bare.call("describe")
        kinds = {contestant.label: _arithmetic(contestant, report) for contestant in found}
        report["contestants"] = {
            c.label: {"source": c.source, "name": c.name, "arithmetic": kinds[c.label]}
            for c in found
        }
        running = {c.label: stack.enter_context(_start(c, args)) for c in found}
        report["matrix"] = {kind: {} for kind in sorted({*kinds.values(), "float32"})}
        _matrix(bare, report["matrix"], args)
        report["flops"] = [
            {"contestant": label, "height": height, "width": width}
            | process.call("flops", height, width, FLOPS_BATCH)
            for height, width in args.sizes
            for label, process in running.items()
        ]
        report["results"] = []
        for size in args.sizes:
            tasks = [(EVAL, batch) for batch in args.eval_batches]
            for task, batch in [*tasks, (TRAIN, _train_batch(args, size))]:
                report["results"] += _in_turns(running, found, task, *size, batch, args)
        _matrix(bare, report["matrix"], args)
        if args.device == "cuda":
            report["memory"] = [
                _memory(running[c.label], c, s, args) for s in args.sizes for c in found
            ]
    if args.device == "cpu":  # whose peak is that of a process which has done nothing else
        report["memory"] = []
        for size in args.sizes:
            for contestant in found:
                with _start(contestant, args) as process:
                    report["memory"].append(_memory(process, contestant, size, args))
    if args.growth:
        report["growth"] = _growth(next(c for c in found if c.source == "ours"), report, args)
    if args.loader_root:
        _say("loading data")
        with Process(None, args.device, args.threads) as process:
            report["loader"] = process.call("loading", args.loader_root, args.workers, 20.0)
    report["minutes"] = (time.monotonic() - begun) / 60
    return report


def _start(contestant: Contestant, args: argparse.Namespace) -> Process:
    process = Process(contestant, args.device, args.threads)
    try:
        process.call("build")
    except WorkerError as error:
        process.__exit__(None, None, None)
        raise WorkerError(f"cannot build {contestant.label}: {error}") from error
    return process


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
    process: Process, contestant: Contestant, size: tuple[int, int], args: argparse.Namespace
) -> dict[str, Any]:
    height, width = size
    batch = _train_batch(args, size)
    _say(f"{height}x{width}, memory of {contestant.label}")
    entry = {"contestant": contestant.label, "height": height, "width": width, "batch": batch}
    return entry | process.call("memory", height, width, batch)


def _growth(contestant: Contestant, report: Report, args: argparse.Namespace) -> dict[str, Any]:
    peak = next(m for m in reversed(report["memory"]) if m["contestant"] == contestant.label)
    with _start(contestant, args) as process:
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


if __name__ == "__main__":
    sys.exit(main())
