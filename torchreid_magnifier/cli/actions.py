"""Commands that have subcommands of their own, one class each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .arguments import Parser


def run_action(
    command: str, description: str, actions: Mapping[str, Any], argv: Sequence[str]
) -> int:
    """Run the subcommand that ``argv`` names, and return its exit status.

    Args:
        command: name of the command.
        description: for its ``--help``.
        actions: subcommand -> class or object with ``HELP``, a docstring for its ``--help``,
            ``add_arguments(parser)`` and ``run(args) -> int`` (the exit status).
        argv: the subcommand and its arguments.
    """
    parser = Parser(prog=f"torchreid-magnifier {command}", description=description)
    subparsers = parser.add_subparsers(
        dest="action", required=True, metavar=f"{{{','.join(actions)}}}"
    )
    for name, action in actions.items():
        subparser = subparsers.add_parser(name, help=action.HELP, description=action.__doc__)
        # For what argparse cannot say of options that go together.
        subparser.set_defaults(usage_error=subparser.error)
        action.add_arguments(subparser)
    args = parser.parse_args(argv)
    status: int = actions[args.action].run(args)
    return status
