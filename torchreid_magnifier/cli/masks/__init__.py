"""``torchreid-magnifier masks``: the part labels that ``_masks`` datasets read.

One module of this folder for each subcommand, with ``HELP``, ``add_arguments(parser)`` and
``run(args) -> int`` (the exit status); :mod:`.options` and :mod:`.report` are what they share.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ...parsing import ParsingError
from .. import USAGE_ERROR
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
        The exit status: 0, 1 if masks are faulty, 2 after a mistake in what was given.
    """
    args = _parse(argv)
    try:
        return ACTIONS[args.action].run(args)
    except (ParsingError, OSError) as error:
        print(f"torchreid-magnifier masks {args.action}: error: {error}", file=sys.stderr)
        return USAGE_ERROR


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="torchreid-magnifier masks",
        description="Part labels (0 background, head, torso, upper_arm, lower_arm, upper_leg, "
        "lower_leg, 7 foot) for the images of a dataset.",
    )
    subparsers = parser.add_subparsers(
        dest="action", required=True, metavar=f"{{{','.join(ACTIONS)}}}"
    )
    for name, action in ACTIONS.items():
        subparser = subparsers.add_parser(name, help=action.HELP, description=action.__doc__)
        # For what argparse cannot say of options that go together.
        subparser.set_defaults(usage_error=subparser.error)
        action.add_arguments(subparser)
    return parser.parse_args(argv)
