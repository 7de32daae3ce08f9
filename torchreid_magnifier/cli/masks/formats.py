"""Print the formats that can be imported: the files' names, each class and what it becomes."""

from __future__ import annotations

import argparse

from ...annotate.label_tables import FORMATS, format_table

HELP = "print the classes of other parsers and the parts that they become"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``masks formats``."""
    parser.add_argument(
        "formats", nargs="*", metavar="FORMAT", help=f"of {', '.join(FORMATS)} (default: all)"
    )


def run(args: argparse.Namespace) -> int:
    """Print the tables."""
    unknown = [name for name in args.formats if name not in FORMATS]
    if unknown:
        args.usage_error(f"unknown format {unknown[0]!r}: expected {', '.join(FORMATS)}")
    print("\n\n".join(map(format_table, args.formats or FORMATS)))
    return 0
