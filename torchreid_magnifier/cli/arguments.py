"""Kinds of arguments that several commands have, and commands with subcommands of their own."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any


class Parser(argparse.ArgumentParser):
    """A parser that refuses an option that is given twice: argparse drops the first one's values.

    Its subcommands' parsers are such parsers too. ``command`` is of this package, if it is one's.
    """

    def __init__(self, command: str = "", description: str | None = None, **more: Any) -> None:
        if command:
            more["prog"] = f"torchreid-magnifier {command}"
        super().__init__(description=description, **more)
        for name in (None, "store"):
            self.register("action", name, _StoreOnce)


class _StoreOnce(argparse._StoreAction):
    given = False

    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        if option is not None and self.given:
            raise argparse.ArgumentError(self, "given twice: give all its values at once")
        self.given = option is not None
        super().__call__(parser, namespace, values, option)


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    if text.isdecimal() and int(text) >= 1:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found {text}")


def up_to(most: int) -> Callable[[str], int]:
    """Whole numbers from 1 to ``most``, for argparse."""

    def count(text: str) -> int:
        if text.isdecimal() and 1 <= int(text) <= most:
            return int(text)
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to {most}, found {text}")

    return count


def rate(text: str) -> float:
    """Read a share such as ``1%`` or ``0.01``, for argparse."""
    try:
        value = float(text.rstrip("% ")) / (100 if text.rstrip().endswith("%") else 1)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected a rate such as 1% or 0.01, found {text}")
    return value


def add_path(parser: Any, name: str, help: str, metavar: str = "FILE", **more: Any) -> None:
    """Add an argument that is a path."""
    parser.add_argument(name, type=Path, metavar=metavar, help=help, **more)


def add_flag(parser: Any, name: str, help: str, **more: Any) -> None:
    """Add an option without a value."""
    parser.add_argument(name, action="store_true", help=help, **more)


def add_count(parser: Any, name: str, default: int, help: str) -> None:
    """Add an option that is a whole number of at least 1."""
    parser.add_argument(name, type=positive, default=default, metavar="N", help=help)


def add_calibration(
    parser: Any, what: str, default: float | None = None, required: bool = False
) -> None:
    """Add ``--calibration`` and ``--same-at``, of which ``what`` says what it is for."""
    made = "made by 'torchreid-magnifier calibrate'"
    add_path(parser, "--calibration", made, required=required)
    parser.add_argument("--same-at", type=rate, default=default, metavar="RATE", help=what)


def add_batch_size(parser: Any, default: int = 32) -> None:
    """Add ``--batch-size``."""
    what = "images that the network sees at once (default: %(default)s)"
    add_count(parser, "--batch-size", default, what)


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
