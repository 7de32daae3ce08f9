"""What an entry of a manifest must be: every key with its rule, and the faults against them."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ..models import list_models

STRIDE = 16
ALL_MODELS = list_models()


class _Rule(NamedTuple):
    """What is expected, in words, and whether a value is that."""

    expected: str
    holds: Callable[[Any], bool]


def _matches(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_link(value: Any) -> bool:
    if not _matches(r"https?://[\x21-\x7e]+")(value):
        return False
    try:
        return bool(urlsplit(value).hostname)
    except ValueError:  # such as brackets that are no IPv6 address
        return False


def _are_three(value: Any, lowest: float) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(_is_number(number) and lowest <= number <= 1 for number in value)
    )


_NAME = "[A-Za-z0-9][A-Za-z0-9._-]*"

_TEXT = _Rule("a text", lambda value: isinstance(value, str) and bool(value.strip()))
_LINK = _Rule("a link that begins with http:// or https://", _is_link)
_PIXELS = _Rule(
    f"a number of pixels divisible by {STRIDE}",
    lambda value: _is_count(value) and value % STRIDE == 0,
)
_COUNT = _Rule("a whole number from 1", _is_count)
_PERCENT = _Rule("percent, 0 to 100", lambda value: _is_number(value) and 0 <= value <= 100)

ORIGINS = {
    "file": _Rule("the name of a file in the folder of the manifest", _matches(_NAME)),
    "url": _LINK,
    "gdrive": _Rule("the id of a file on Google Drive, in quotes", _matches("[A-Za-z0-9_-]+")),
}
_RESULT = {"dataset": _TEXT, "rank-1": _PERCENT, "mAP": _PERCENT, "settings": _TEXT}
_NEEDED = {
    "name": _Rule("letters, digits, '.', '_' and '-'", _matches(_NAME)),
    "model": _Rule(f"one of {', '.join(ALL_MODELS)}", lambda value: value in list(ALL_MODELS)),
    "dataset": _TEXT,
    "sha256": _Rule("64 hexadecimal digits in quotes", _matches("[0-9a-f]{64}")),
    "size": _COUNT,
    "height": _PIXELS,
    "width": _PIXELS,
    "mean": _Rule("three numbers from 0 to 1", lambda value: _are_three(value, 0)),
    "std": _Rule("three numbers above 0, up to 1", lambda value: _are_three(value, 1e-6)),
    "num_classes": _COUNT,
    "results": _Rule("a list", lambda value: isinstance(value, list)),
    "command": _TEXT,
    "licence": _TEXT,
}
_OPTIONAL = {**ORIGINS, "mirrors": _Rule("a list", lambda value: isinstance(value, list))}


def entry_faults(entry: Any) -> list[str]:
    """The faults of one entry, as YAML gives it, each with its key; none for a good one."""
    faults = _faults(entry, _NEEDED, _OPTIONAL)
    if not isinstance(entry, dict):
        return faults
    origins = [key for key in ORIGINS if key in entry]
    if len(origins) != 1:
        faults.append(
            f"{', '.join(ORIGINS)}: expected one of these keys, found "
            f"{' and '.join(origins) or 'none'}"
        )
    for key, rules in (("mirrors", _LINK), ("results", _RESULT)):
        values = entry.get(key)
        for number, value in enumerate(values if isinstance(values, list) else (), 1):
            nested = _faults(value, rules) if isinstance(rules, dict) else _fault(value, rules)
            faults += [f"{key}, number {number}: {fault}" for fault in nested]
    return faults


def _faults(
    entry: Any, needed: Mapping[str, _Rule], optional: Mapping[str, _Rule] | None = None
) -> list[str]:
    rules = {**needed, **(optional or {})}
    if not isinstance(entry, dict):
        return [f"expected the keys {', '.join(rules)}, found {told(entry)}"]
    faults = [f"{key}: missing" for key in needed if key not in entry]
    for key, value in entry.items():
        if key not in rules:
            faults.append(f"{key}: unknown key; expected {', '.join(rules)}")
        else:
            faults += [f"{key}: {fault}" for fault in _fault(value, rules[key])]
    return faults


def _fault(value: Any, rule: _Rule) -> list[str]:
    return [] if rule.holds(value) else [f"expected {rule.expected}, found {told(value)}"]


def told(value: Any) -> str:
    """A value for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
