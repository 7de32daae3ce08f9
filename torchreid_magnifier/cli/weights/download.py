"""Get the files of weights, and print their paths. Files that are here already are verified."""

from __future__ import annotations

import argparse
import sys

from ...hub import WeightsError, fetch, find
from .. import FAILED

HELP = "get the files of weights, and print their paths"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``weights download``."""
    parser.add_argument("names", nargs="+", metavar="NAME", help="as 'weights list' prints it")


def run(args: argparse.Namespace) -> int:
    """Fetch, and return the exit status: 1 if one could not be had."""
    status = 0
    for card in [find(name) for name in args.names]:  # every name is checked before a download
        try:
            print(fetch(card))
        except WeightsError as error:
            print(f"torchreid-magnifier weights download: error: {error}", file=sys.stderr)
            status = FAILED
    return status
