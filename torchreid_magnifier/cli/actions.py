"""Commands that have subcommands of their own, one module each."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType

from . import USAGE_ERROR


def run_action(
    command: str,
    description: str,
    actions: Mapping[str, ModuleType],
    argv: Sequence[str],
    mistakes: tuple[type[Exception], ...],
) -> int:
    """Runs the subcommand that ``argv`` names.

    Args:
        command: name of the command.
        description: for its ``--help``.
        actions: subcommand -> module with ``HELP``, ``add_arguments(parser)`` and
            ``run(args) -> int`` (the exit status).
        argv: the subcommand and its arguments.
        mistakes: errors that tell of a mistake in what was given.

    Returns:
        The exit status: the action's, or 2 after a mistake.
    """
    parser = argparse.ArgumentParser(prog=f"torchreid-magnifier {command}", description=description)
    subparsers = parser.add_subparsers(
        dest="action", required=True, metavar=f"{{{','.join(actions)}}}"
    )
    for name, action in actions.items():
        subparser = subparsers.add_parser(name, help=action.HELP, description=action.__doc__)
        # For what argparse cannot say of options that go together.
        subparser.set_defaults(usage_error=subparser.error)
        action.add_arguments(subparser)
    args = parser.parse_args(argv)
    try:
        return actions[args.action].run(args)
    except mistakes as error:
        print(f"{parser.prog} {args.action}: error: {error}", file=sys.stderr)
        return USAGE_ERROR
