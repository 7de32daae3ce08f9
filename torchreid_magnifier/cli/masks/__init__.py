"""``torchreid-magnifier masks``: the part labels that ``_masks`` datasets read.

One module of this folder for each subcommand, with ``HELP``, ``add_arguments(parser)`` and
``run(args) -> int`` (the exit status); :mod:`.options` and :mod:`.report` are what they share.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..actions import run_action
from . import check, formats, import_labels, make, show

ACTIONS = {
    "make": make,
    "import": import_labels,
    "formats": formats,
    "check": check,
    "show": show,
}


def main(argv: Sequence[str]) -> int:
    """Run the subcommand.

    Returns:
        The exit status: 0, or 1 if masks are faulty.
    """
    description = (
        "Part labels (0 background, head, torso, upper_arm, lower_arm, upper_leg, lower_leg, "
        "7 foot) for the images of a dataset."
    )
    return run_action("masks", description, ACTIONS, argv)
