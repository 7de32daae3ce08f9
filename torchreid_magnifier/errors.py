"""The base class of the errors that this package raises on purpose, and how they list things."""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

LISTED = 5  # lines of a kind that a message shows


class MagnifierError(Exception):
    """Something that the caller or the user can mend: its text says what was expected and found.

    Each room derives its own class where a caller may want to tell them apart. The command prints
    the text of any of them, without a traceback, and ends with ``exit_status``.
    """

    exit_status = 2  # what was given is wrong; 1 for what went wrong on the way


@contextmanager
def needing(what: str, extra: str, kind: type[Exception]) -> Iterator[None]:
    """Make an import that fails an error of a ``kind``: what needs what, and the extra with it."""
    try:
        yield
    except ImportError as error:
        raise kind(f'{what} ({error}): pip install "torchreid-magnifier[{extra}]"') from error


def listed(what: str, lines: Sequence[object], most: int = LISTED) -> str:
    """Return the number of lines of a kind and the first of them, as text of several lines."""
    shown = [f"{what}: {len(lines)}", *(f"  {line}" for line in lines[:most])]
    if len(lines) > most:
        shown.append(f"  ... and {len(lines) - most} more")
    return "\n".join(shown)


def closest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'a' or 'b'?"``, or nothing where no known name is near."""
    near = difflib.get_close_matches(name, known, n=3)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
