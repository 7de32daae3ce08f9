"""The looks of a synthetic person: build, hair, clothes, shoes, bag.

Colours come from a short list of everyday ones, so many people share them, and half of the
identities come in pairs: the second of a pair is the first with two or three details changed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

from .canvas import Colour, rgb

T = TypeVar("T")

SKIN = ((236, 201, 176), (222, 180, 148), (196, 150, 118), (150, 105, 78), (98, 66, 50))
HAIR = ((26, 22, 22), (48, 36, 30), (84, 58, 40), (150, 112, 66), (128, 124, 122))
UPPER = (
    (38, 38, 42), (92, 94, 100), (158, 158, 160), (226, 226, 222), (40, 50, 82),
    (74, 108, 148), (132, 44, 48), (84, 94, 66), (178, 156, 124),
)  # fmt: skip
LOWER = ((32, 32, 36), (52, 66, 98), (96, 118, 150), (104, 102, 100), (156, 140, 112))
ACCENT = ((232, 232, 228), (30, 30, 34), (176, 52, 50), (54, 84, 140), (210, 176, 70))
SHOES = ((30, 30, 32), (228, 226, 222), (112, 78, 52), (150, 44, 48), (72, 92, 130))
BAG = ((34, 34, 38), (120, 40, 44), (52, 70, 108), (122, 92, 62), (104, 112, 84))

PATTERNS = ("plain", "stripes", "pinstripes", "checks", "logo", "yoke", "open jacket")
HAIR_STYLES = ("short", "cropped", "bald", "bob", "long", "ponytail")
BAGS = ("none", "backpack", "shoulder", "messenger", "carrier")


@dataclass(frozen=True)
class Identity:
    """Appearance of one person; lengths in metres, ``build`` and ``shoulders`` as factors."""

    height: float
    build: float
    shoulders: float
    skin: Colour
    hair: Colour
    hair_style: str
    hat: str  # "none", "cap" or "beanie"
    hat_colour: Colour
    glasses: bool
    upper: Colour
    pattern: str
    accent: Colour
    long_sleeves: bool
    coat: bool
    lower: str  # "trousers", "shorts", "skirt" or "long skirt"
    lower_colour: Colour
    side_stripe: bool
    shoes: Colour
    bag: str
    bag_colour: Colour
    bag_side: int  # +1 the person's left, -1 the right


def pick(
    rng: np.random.Generator, options: Sequence[T], weights: Sequence[float] | None = None
) -> T:
    """Draw one of ``options``, with probabilities proportional to ``weights``."""
    chances = None if weights is None else np.asarray(weights, float) / sum(weights)
    return options[int(rng.choice(len(options), p=chances))]


@lru_cache(maxsize=1024)
def identity(seed: int, stream: int, number: int) -> Identity:
    """Return person ``number`` (0-based) of a stream; persons 4k and 4k + 1 look alike."""
    if number % 4 == 1:
        original = identity(seed, stream, number - 1)
        return _look_alike(np.random.default_rng([seed, stream, number, 1]), original)
    return _draw(np.random.default_rng([seed, stream, number]))


def _draw(rng: np.random.Generator) -> Identity:
    feminine = bool(rng.random() < 0.5)
    long_sleeves = bool(rng.random() < 0.55)
    styles = (1, 1, 0, 3, 5, 4) if feminine else (7, 3, 1, 0.5, 0.3, 0.2)
    legs = (6, 2, 2, 1) if feminine else (7, 3, 0, 0)
    return Identity(
        height=float(rng.normal(1.66 if feminine else 1.77, 0.06)),
        build=float(np.clip(rng.normal(0.96 if feminine else 1.04, 0.10), 0.82, 1.3)),
        shoulders=float(rng.normal(0.93 if feminine else 1.04, 0.03)),
        skin=_vary(rng, pick(rng, SKIN, (4, 5, 3, 2, 2))),
        hair=_vary(rng, pick(rng, HAIR, (5, 4, 3, 2, 1))),
        hair_style=pick(rng, HAIR_STYLES, styles),
        hat=pick(rng, ("none", "cap", "beanie"), (8, 1.4, 0.8)),
        hat_colour=pick(rng, ACCENT + BAG),
        glasses=bool(rng.random() < 0.25),
        upper=_vary(rng, pick(rng, UPPER)),
        pattern=pick(rng, PATTERNS, (5, 2, 1, 1.5, 3, 1, 2 if long_sleeves else 0)),
        accent=pick(rng, ACCENT),
        long_sleeves=long_sleeves,
        coat=bool(long_sleeves and rng.random() < 0.2),
        lower=pick(rng, ("trousers", "shorts", "skirt", "long skirt"), legs),
        lower_colour=_vary(rng, pick(rng, LOWER, (4, 4, 3, 2, 2))),
        side_stripe=bool(rng.random() < 0.12),
        shoes=pick(rng, SHOES, (4, 4, 2, 1, 1)),
        bag=pick(rng, BAGS, (4, 3, 1.5, 1.5, 1)),
        bag_colour=pick(rng, BAG),
        bag_side=pick(rng, (1, -1)),
    )


def _look_alike(rng: np.random.Generator, person: Identity) -> Identity:
    """Return the same clothes colours with two or three details changed."""

    def other(options: Sequence[T], present: T) -> T:
        return pick(rng, [option for option in options if option != present])

    def other_print(present: str) -> str:
        return "plain" if present != "plain" else pick(rng, ("logo", "stripes", "yoke"))

    style = person.hair_style
    details: tuple[Callable[[], dict[str, Any]], ...] = (
        lambda: {"shoes": other(SHOES, person.shoes)},
        lambda: {"bag": other(BAGS, person.bag), "bag_colour": other(BAG, person.bag_colour)},
        lambda: {"long_sleeves": not person.long_sleeves, "coat": False},
        lambda: {"hair_style": other(HAIR_STYLES, style), "hair": other(HAIR, person.hair)},
        lambda: {"pattern": other_print(person.pattern), "accent": other(ACCENT, person.accent)},
        lambda: {"side_stripe": not person.side_stripe},
    )
    count = 2 + int(rng.random() < 0.4)
    for index in rng.permutation(len(details))[:count]:
        person = replace(person, **details[int(index)]())
    return replace(
        person,
        height=person.height + float(rng.normal(0, 0.02)),
        build=person.build * float(rng.normal(1, 0.03)),
    )


def _vary(rng: np.random.Generator, colour: Colour) -> Colour:
    return rgb(np.array(colour) + rng.normal(0, 5, 3))
