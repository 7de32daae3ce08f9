"""``torchreid-magnifier textures``: the textures that ``_textures`` datasets read.

One module of this folder for each subcommand, with ``HELP``, ``add_arguments(parser)`` and
``run(args) -> int`` (the exit status).
"""

from __future__ import annotations

from collections.abc import Sequence

from ..actions import run_action
from . import check, make, show

ACTIONS = {
    "make": make,
    "check": check,
    "show": show,
}


def main(argv: Sequence[str]) -> int:
    """Run the subcommand.

    Returns:
        The exit status: 0, or 1 if textures are faulty.
    """
    description = (
        "Textures for the images of a dataset: a person's whole surface, unrolled so that a "
        "position means the same part of the body for everyone. SAN learns to see them."
    )
    return run_action("textures", description, ACTIONS, argv)
