"""Kinds of arguments that several commands have."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..training.config import ConfigError

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".pdf", ".svg")


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
    number = int(text)
    if number < 1:
        raise ValueError
    return number


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


def check_file(option: str, path: Path | None) -> None:
    """See, before any work, that a file can be written to what an option names, if anything.

    Raises:
        ConfigError: a folder, or no folder for it.
    """
    if path and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise ConfigError(f"{option}: expected a file in a folder that is there, found {path}")


def check_picture(path: Path) -> None:
    """See, before any work, that a picture can be written to what ``--out`` names.

    Raises:
        ConfigError: a name that is no picture's, or no folder for it.
    """
    if path.suffix.lower() not in PICTURE_ENDINGS:
        raise ConfigError(f"--out: expected {', '.join(PICTURE_ENDINGS)}, found {path}")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"--out: there is no folder {path.parent}")
    if path.is_dir():
        raise ConfigError(f"--out: {path} is a folder")
