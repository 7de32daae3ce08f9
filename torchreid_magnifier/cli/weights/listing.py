"""Print a table of all weights: what they are, how good, and whether their files are here."""

from __future__ import annotations

import argparse

from ...hub import Card, entries
from ...hub.card import OWN_MANIFESTS
from ...hub.download import cached_path

HELP = "print which weights there are"

_HEADS: tuple[str, ...] = (
    *("name", "model", "trained on", "MB", "input"),
    *("tested on", "rank-1", "mAP"),
    *("licence", "file"),
)
_TO_THE_RIGHT = ("MB", "rank-1", "mAP")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: ``weights list`` has no arguments."""


def run(args: argparse.Namespace) -> int:
    """Print the table."""
    known = entries()
    if not known:
        print(f"There are no weights. The environment variable {OWN_MANIFESTS} names manifests.")
        return 0
    rows = [_HEADS]
    for card in known.values():
        rows += _rows(card)
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        cells = (
            cell.rjust(width) if head in _TO_THE_RIGHT else cell.ljust(width)
            for head, cell, width in zip(_HEADS, row, widths)
        )
        print("  ".join(cells).rstrip())
    return 0


def _rows(card: Card) -> list[tuple[str, ...]]:
    """A line for each result, the first with everything else, too."""
    size, pixels = f"{(card.size or 0) / 1e6:.1f}", f"{card.height}x{card.width}"
    before = (card.name, card.model, card.dataset, size, pixels)
    after = (card.licence, _where(card))
    results = [(r.dataset, f"{r.rank1:.1f}", f"{r.mAP:.1f}") for r in card.results]
    first, *others = results or [("", "", "")]
    return [
        (*before, *first, *after),
        *(("",) * len(before) + result + ("",) * len(after) for result in others),
    ]


def _where(card: Card) -> str:
    if card.file is not None and card.file.is_file():
        return "shipped"
    return "cached" if cached_path(card).is_file() else "not here"
