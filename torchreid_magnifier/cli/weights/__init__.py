"""``torchreid-magnifier weights``: trained weights by name.

One module of this folder for each subcommand, with ``HELP``, ``add_arguments(parser)`` and
``run(args) -> int`` (the exit status).
"""

from __future__ import annotations

from collections.abc import Sequence

from ..actions import run_action
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
        The exit status: 0, or 1 if weights cannot be had or are damaged.
    """
    description = (
        "Trained weights by name: of this package, and of the manifests that the environment "
        "variable TORCHREID_MAGNIFIER_MANIFESTS names."
    )
    return run_action("weights", description, ACTIONS, argv)
