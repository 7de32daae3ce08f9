"""Measures MagnifierNet against its reference implementation and torchreid's networks.

    python benchmarks/speed.py --reference ../magnifiernet_reid --growth --out speed

Images a second in evaluation and training, peak memory, floating-point operations. Every network
lives in a process of its own, and they compute in turns (A B C A B C …). Writes ``speed.json`` with
every sample, ``speed.md`` with tables and, with ``--growth``, ``speed.png``. See ``README.md``.
"""

import argparse
import json
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from measuring import growth
from measuring.contestants import OPTIMIZED, WAYS, is_ours
from measuring.measurement import measure
from measuring.reference import SOURCE, missing
from measuring.report import markdown
from measuring.worker import WorkerError

from torchreid_magnifier.files import write_atomically
from torchreid_magnifier.registry import model_names

OURS = ["magnifiernet", "magnifiernet_official", "magnifiernet_bf16"]
STOCK = ["resnet50", "pcb_p6", "osnet_x1_0"]
QUICK: dict[str, Any] = {
    "sizes": [(128, 64)],
    "eval_batches": [1, 8],
    "train_batch": 8,
    "turns": 3,
    "seconds": 0.3,
}
FAILED, INTERRUPTED = 1, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, writes and prints; returns the exit status."""
    args = _parse(argv)
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
    add("--reference", type=_clone, metavar="PATH", help=f"a clone of {SOURCE}")
    ours = [name for name in model_names() if is_ours(name)]
    trained = f"as this package's command trains them; by default {', '.join(OURS)}"
    add("--ours", nargs="*", default=OURS, choices=ours, metavar="NAME", help=trained)
    ways = f"of each of ours, besides the plain one; by default {OPTIMIZED}"
    add("--ways", nargs="*", default=[OPTIMIZED], choices=WAYS, metavar="WAY", help=ways)
    stock = f"as torchreid's engine trains them, of any name; by default {', '.join(STOCK)}"
    add("--stock", nargs="*", default=STOCK, choices=model_names(), metavar="NAME", help=stock)
    sizes = [(128, 64), (384, 192)]
    add("--sizes", nargs="+", type=_size, default=sizes, metavar="HxW", help="128x64 384x192")
    add("--eval-batches", nargs="+", type=_count, default=[1, 8, 64], metavar="N")
    train_batch = "of a training step; by default 64 on a GPU, else 32, and 8 above 128x64"
    add("--train-batch", type=_batch, metavar="N", help=train_batch)
    add("--turns", type=_count, default=5, metavar="N")
    add("--seconds", type=float, default=1.0, help="of a turn, about: one call at least")
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--threads", type=_count, default=os.cpu_count(), metavar="N")
    add("--growth", action="store_true", help="time over batch and image size, of the first NAME")
    add("--loader-root", type=_folder, metavar="ROOT", help="data: the train loader is measured")
    add(
        "--workers",
        type=_count,
        default=os.cpu_count(),
        metavar="N",
        help="processes of the loader",
    )
    add("--quick", action="store_true", help="a trial: 128x64, small batches, three short turns")
    add("--out", type=_out, required=True, metavar="NAME", help="files to write, without ending")
    if parser.parse_args(argv).quick:
        parser.set_defaults(**QUICK)
    args = parser.parse_args(argv)
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no GPU here")
    if args.growth and not args.ours:
        parser.error("--growth measures the first of --ours, which names none")
    if not (args.reference or args.ours or args.stock):
        parser.error("nothing to measure: give --reference, --ours or --stock")
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


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, found {text}")
    return int(text)


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


if __name__ == "__main__":
    sys.exit(main())
