"""Compare the files that are here with the sizes and hashes of the manifests."""

from __future__ import annotations

import argparse

from ...hub import entries, find
from ...hub.download import places
from .. import FAILED

HELP = "check the files that are here"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``weights verify``."""
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="as 'weights list' prints it (default: all)"
    )


def run(args: argparse.Namespace) -> int:
    """Check, and return the exit status: 1 if a file is damaged, or one that was named not here."""
    status = 0
    for card in [find(name) for name in args.names] or entries().values():
        here = [path for path in places(card) if path.exists()]
        for path in here:
            problem = card.problem_of(path)
            print(f"{card.name}: {path}: {problem or 'intact'}")
            if problem:
                status = FAILED
        if not here:
            print(f"{card.name}: not here")
            if args.names:
                status = FAILED
    return status
