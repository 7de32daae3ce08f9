"""Kinds of arguments that several commands have."""

import argparse
from collections.abc import Callable


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
