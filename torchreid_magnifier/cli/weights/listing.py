"""Print a table of all weights: what they are, how good, and whether their files are here."""

from __future__ import annotations

import argparse

from ...hub import Weights, entries
from ...hub.cache import cached_path
from ...hub.card import OWN_MANIFESTS

HELP = "print which weights there are"

_HEADS: tuple[str, ...] = (
    *("name", "model", "trained on", "MB", "input"),
    *("tested on", "rank-1", "mAP"),
    *("licence", "file"),
)
_TO_THE_RIGHT = ("MB", "rank-1", "mAP")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``weights list`` has no arguments."""


def run(args: argparse.Namespace) -> int:
    """Print the table."""
    known = entries()
    if not known:
        print(f"There are no weights. The environment variable {OWN_MANIFESTS} names manifests.")
        return 0
    rows = [_HEADS]
    for weights in known.values():
        rows += _rows(weights)
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        cells = (
            cell.rjust(width) if head in _TO_THE_RIGHT else cell.ljust(width)
            for head, cell, width in zip(_HEADS, row, widths)
        )
        print("  ".join(cells).rstrip())
    return 0


def _rows(weights: Weights) -> list[tuple[str, ...]]:
    """A line for each result, the first with everything else, too."""
    size, pixels = f"{weights.size / 1e6:.1f}", f"{weights.height}x{weights.width}"
    before = (weights.name, weights.model, weights.dataset, size, pixels)
    after = (weights.licence, _where(weights))
    results = [(r.dataset, f"{r.rank1:.1f}", f"{r.mAP:.1f}") for r in weights.results]
    first, *others = results or [("", "", "")]
    return [
        (*before, *first, *after),
        *(("",) * len(before) + result + ("",) * len(after) for result in others),
    ]


def _where(weights: Weights) -> str:
    if weights.file is not None and weights.file.is_file():
        return "shipped"
    return "cached" if cached_path(weights).is_file() else "not here"
