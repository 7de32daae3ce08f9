"""Kinds of arguments that several commands have."""

import argparse
from collections.abc import Callable
from pathlib import Path

from ..training.config import ConfigError

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".pdf", ".svg")


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
