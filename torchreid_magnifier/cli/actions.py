"""Commands that have subcommands of their own, a function each."""

import argparse
from collections.abc import Callable, Mapping, Sequence

from .arguments import Parser

# A line of help; what adds its arguments, if it has any; what runs it, described by its docstring.
Action = tuple[
    str, Callable[[argparse.ArgumentParser], None] | None, Callable[[argparse.Namespace], int]
]


def run_action(
    command: str, description: str, actions: Mapping[str, Action], argv: Sequence[str]
) -> int:
    """Run the subcommand that ``argv`` names, and return its exit status.

    Args:
        command: name of the command.
        description: for its ``--help``.
        actions: by the names of the subcommands; each returns the exit status.
        argv: the subcommand and its arguments.
    """
    parser = Parser(command, description)
    subparsers = parser.add_subparsers(
        dest="action", required=True, metavar=f"{{{','.join(actions)}}}"
    )
    for name, (line, add_arguments, run) in actions.items():
        subparser = subparsers.add_parser(name, help=line, description=run.__doc__)
        # For what argparse cannot say of options that go together.
        subparser.set_defaults(usage_error=subparser.error)
        if add_arguments:
            add_arguments(subparser)
    args = parser.parse_args(argv)
    return actions[args.action][2](args)
