"""The table of weights that ``torchreid-magnifier weights list`` prints."""

from collections.abc import Iterable

from .card import Card
from .download import cached_path

_HEADS: tuple[str, ...] = (
    *("name", "model", "trained on", "MB", "input"),
    *("tested on", "rank-1", "mAP"),
    *("licence", "file"),
)
_TO_THE_RIGHT = ("MB", "rank-1", "mAP")


def table(cards: Iterable[Card]) -> str:
    """Return a table: a line for each result of a card, the first with everything else, too."""
    rows = [_HEADS, *(row for card in cards for row in _rows(card))]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = []
    for row in rows:
        cells = (
            cell.rjust(width) if head in _TO_THE_RIGHT else cell.ljust(width)
            for head, cell, width in zip(_HEADS, row, widths)
        )
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _rows(card: Card) -> list[tuple[str, ...]]:
    size, pixels = f"{card.size / 1e6:.1f}" if card.size else "", f"{card.height}x{card.width}"
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
