"""``torchreid-magnifier weights``: trained weights by name.

One module of this folder for each subcommand, with ``HELP``, ``add_arguments(parser)`` and
``run(args) -> int`` (the exit status).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ...hub import WeightsError
from ...hub.checkpoint import CheckpointError
from .. import USAGE_ERROR
from . import download, listing, pack, verify

ACTIONS = {
    "list": listing,
    "download": download,
    "verify": verify,
    "pack": pack,
}


def main(argv: Sequence[str]) -> int:
    """Run the subcommand.

    Returns:
        The exit status: 0, 1 if weights cannot be had or are damaged, 2 after a mistake in what was
        given or in a manifest.
    """
    parser = argparse.ArgumentParser(
        prog="torchreid-magnifier weights",
        description="Trained weights by name: of this package, and of the manifests that the "
        "environment variable TORCHREID_MAGNIFIER_MANIFESTS names.",
    )
    subparsers = parser.add_subparsers(
        dest="action", required=True, metavar=f"{{{','.join(ACTIONS)}}}"
    )
    for name, action in ACTIONS.items():
        action.add_arguments(
            subparsers.add_parser(name, help=action.HELP, description=action.__doc__)
        )
    args = parser.parse_args(argv)
    try:
        return ACTIONS[args.action].run(args)
    except (CheckpointError, WeightsError, OSError) as error:
        print(f"torchreid-magnifier weights {args.action}: error: {error}", file=sys.stderr)
        return USAGE_ERROR
