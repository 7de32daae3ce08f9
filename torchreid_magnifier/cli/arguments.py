"""Kinds of arguments that several commands have."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..training.config import ConfigError

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".pdf", ".svg")


class Parser(argparse.ArgumentParser):
    """A parser that refuses an option that is given twice: argparse drops the first one's values.

    Its subcommands' parsers are such parsers too.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
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


def add_batch_size(parser: Any, default: int = 32) -> None:
    """Add ``--batch-size``."""
    parser.add_argument(
        "--batch-size",
        type=positive,
        default=default,
        metavar="N",
        help="images that the network sees at once (default: %(default)s)",
    )


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
