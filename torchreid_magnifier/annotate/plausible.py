"""Tells label maps of people from maps whose labels mean something else.

A file of another format than it was taken for gives labels too: Sapiens2's hair is a foot of
Sapiens.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations

import numpy as np

from ..images import ImageError
from ..parts import BACKGROUND, FOOT, FOREGROUND, HEAD, LOWER_LEG, PARTS, TORSO, UPPER_LEG

SAMPLE = 64  # maps that are looked at
_MOST = {HEAD: 0.6, FOOT: 0.4}  # of the pixels of all people
_DOWNWARDS = (HEAD, TORSO, UPPER_LEG, LOWER_LEG, FOOT)
_MARGIN, _TOP_MARGIN = 0.05, 0.02  # of the image's height: of a part's middle, and of its top
# One person may kneel, lift a leg, or bow; several seldom all do.
_SEVERAL, _ALWAYS = 4, [{upper, lower} for upper in (HEAD, TORSO) for lower in (LOWER_LEG, FOOT)]
_FEW, _TOP = 3, 0.01  # pixels, and share of a part, that may be anywhere


def sample(paths: Sequence[str], read: Callable[[str], np.ndarray]) -> list[np.ndarray]:
    """Return the maps of some of the images, spread evenly, that can be read."""
    maps = []
    for place in np.unique(np.linspace(0, len(paths) - 1, min(SAMPLE, len(paths))).astype(int)):
        try:
            maps.append(read(paths[place]))
        except ImageError:  # it is named when its turn comes
            continue
    return maps


def problem_of(maps: Iterable[np.ndarray]) -> str | None:
    """Say why label maps cannot be of people, if they cannot.

    Args:
        maps: uint8 (H, W) each, 0 to 7.

    Returns:
        What they show, for a message: more head than body, one part only in most maps, or a part
        above one that it hangs from in most maps that have both.
    """
    pixels = np.zeros(len(PARTS))
    counts: list[int] = []  # of parts, in maps with any
    seen: dict[tuple[int, int], list[bool]] = {}
    for labels in maps:
        of_map = np.bincount(labels.ravel(), minlength=len(PARTS))
        pixels += of_map
        count = sum(bool(of_map[part]) for part in FOREGROUND)
        counts += [count] if count else []
        rows = {part: np.sort(np.nonzero(labels == part)[0]) for part in _DOWNWARDS}
        rows = {part: found for part, found in rows.items() if len(found) > _FEW}
        height = len(labels)
        for upper, lower in combinations([part for part in _DOWNWARDS if part in rows], 2):
            wrong = np.median(rows[lower]) < np.median(rows[upper]) - _MARGIN * height
            if (upper, lower) == (HEAD, FOOT):
                wrong |= _top(rows[lower]) < _top(rows[upper]) - _TOP_MARGIN * height
            seen.setdefault((upper, lower), []).append(bool(wrong))
    people = pixels.sum() - pixels[BACKGROUND]
    for part, most in _MOST.items():
        if pixels[part] > most * people:
            return f"{pixels[part] / people:.0%} of the people's pixels are {PARTS[part]}"
    if 2 * counts.count(1) > len(counts):
        return f"{counts.count(1)} of {len(counts)} maps have one part only, as masks of people do"
    for upper, lower in sorted(seen, key=lambda pair: pair[0] - pair[1]):  # the farthest first
        wrong_ones = seen[upper, lower]
        enough = len(wrong_ones) >= _SEVERAL or {upper, lower} in _ALWAYS
        if enough and 2 * sum(wrong_ones) > len(wrong_ones):
            return (
                f"{PARTS[lower]} lies above {PARTS[upper]} in {sum(wrong_ones)} of "
                f"{len(wrong_ones)} maps"
            )
    return None


def _top(rows: np.ndarray) -> int:
    """Return the row where a part begins, a few pixels passed over."""
    return int(rows[max(_FEW, int(_TOP * len(rows)))])
