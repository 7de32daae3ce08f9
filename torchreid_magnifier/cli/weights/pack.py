"""Make the file for an entry from a checkpoint of training: no classifiers, no optimizer."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...files import sha256
from ...hub.pack import pack

HELP = "make the file for an entry from a checkpoint"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``weights pack``."""
    parser.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="such as log/model/model.pth.tar-60"
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="file to write; must not exist")
    parser.add_argument(
        "--half", action="store_true", help="numbers of half precision: half the size"
    )


def run(args: argparse.Namespace) -> int:
    """Pack, and print the lines that a manifest needs of the file."""
    pack(args.checkpoint, args.out, args.half)
    print(f"file: {args.out.name}")
    print(f"sha256: '{sha256(args.out)}'")
    print(f"size: {args.out.stat().st_size}")
    return 0
