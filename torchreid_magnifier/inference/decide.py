"""The same person or not: thresholds of similarity at chosen error rates, and answers by them.

Scores of pairs of images by different cameras are compared with what is known of them
(``score_pairs``, ``calibrate``); ``decide`` then answers with somebody of a gallery or nobody.
"""

import dataclasses
import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch.nn.functional as F
from scipy.stats import ks_2samp

from ..errors import needing
from ..evaluation import SharedPartDistances
from ..files import write_atomically
from ..hub import Card
from .embeddings import (
    Embeddings,
    card_from_json,
    card_to_json,
    require_comparable,
    require_finite,
)
from .errors import RetrievalError
from .index import Index, as_float
from .search import search
from .sources import find_sources

RATES = (0.1, 0.01, 0.001)

_MOST = 500_000  # pairs of either kind
_REPLICATES = 200  # of the bootstrap
_FEWEST = 30  # false matches that a threshold needs to be known within about 30 % ("rule of 30")
_CURVES = 50  # replicates that a probability's interval is of
_EDGES = 401  # of the bins that these are fitted to
_SAMPLE = 1000  # scores of different people that a calibration keeps
# Scores of a gallery are another distribution: so unlikely by chance, and so far apart.
_CHANCE, _APART = 0.001, 0.1


class CalibrationWarning(UserWarning):
    """Scores that a calibration was not made for."""


class Pairs(NamedTuple):
    """Cosine similarities of pairs of images by different cameras.

    Attributes:
        same: of images of one person, (P,).
        same_people: number of the person, (P,).
        other: of images of two people, (O,).
        other_people: numbers of both, (O, 2).
        people: how many there are; the numbers are below it.
        images, cameras: how many there are.
        parts: share of the parts that both pictures show in the similarity, 1 -
            ``SharedPartDistances``; 0: the cosine similarity of the embeddings.
    """

    same: np.ndarray
    same_people: np.ndarray
    other: np.ndarray
    other_people: np.ndarray
    people: int
    images: int
    cameras: int
    parts: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.people} people, {self.images} images, {self.cameras} cameras; "
            f"{len(self.same):,} pairs of one person, {len(self.other):,} of two"
        )


@dataclass(frozen=True)
class Threshold:
    """A similarity from which on two images are taken for the same person's.

    Attributes:
        rate: of false matches: share of pairs of different people at or above ``value``.
        value: the similarity.
        low, high: its 95 % interval, by a bootstrap over people.
        found: share of pairs of one person at or above it, with ``found_low``, ``found_high``.
    """

    rate: float
    value: float
    low: float
    high: float
    found: float
    found_low: float
    found_high: float


@dataclass(frozen=True)
class Calibration:
    """The meaning of similarities of a network's embeddings, on the images looked at.

    Attributes:
        made: the network and the preprocessing of its images.
        source: the images, in words.
        people, images, cameras, same, other: how many there were; the last two of pairs.
        thresholds: by falling rate.
        too_few: rates that would need more pairs of two people.
        equal_error: rate where as many pairs of one person are missed as pairs of two are taken for
            one, with ``equal_error_low`` and ``equal_error_high``, and the similarity there.
        slope, intercept: of the logistic curve, see :meth:`probability`.
        parts: share of the parts in the similarities, see ``Pairs``.
        repeated: slope and intercept of the bootstrap's curves, see :meth:`interval`.
        sample: sorted scores of different people.
    """

    made: Card
    source: str
    people: int
    images: int
    cameras: int
    same: int
    other: int
    thresholds: tuple[Threshold, ...]
    too_few: tuple[float, ...]
    equal_error: float
    equal_error_low: float
    equal_error_high: float
    equal_error_at: float
    slope: float
    intercept: float
    parts: float
    repeated: tuple[tuple[float, float], ...] = dataclasses.field(repr=False)
    sample: tuple[float, ...] = dataclasses.field(repr=False)

    def __str__(self) -> str:
        columns = ["false matches", "similarity from", "(95 % interval)", "found of one person"]
        lines = [
            f"equal error rate {percent(self.equal_error)} (95 % interval "
            f"{percent(self.equal_error_low)} to {percent(self.equal_error_high)}) at similarity "
            f"{self.equal_error_at:.3f}",
            "  ".join([*columns, "(95 % interval)"]),
        ]
        for one in self.thresholds:
            lines.append(
                f"{percent(one.rate):>13}  {one.value:15.3f}  {one.low:.3f} to {one.high:.3f} "
                f"  {percent(one.found):>19}  {percent(one.found_low)} to {percent(one.found_high)}"
            )
        lines += [f"{percent(rate):>13}  too few pairs of two people" for rate in self.too_few]
        return "\n".join(lines)

    def compared(self, pairs: Pairs) -> str:
        """Return, as text, the errors of the thresholds on other images beside those here."""
        lines = [
            f"calibrated on {self.source}; distance between the scores of two people there and "
            f"here {self.departure(pairs.other)[0]:.2f}",
            "false matches there  similarity from  here  found of one person there  here",
        ]
        for one in self.thresholds:
            false, found = (float((s >= one.value).mean()) for s in (pairs.other, pairs.same))
            lines.append(
                f"{percent(one.rate):>19}  {one.value:15.3f}  {percent(false)}  "
                f"{percent(one.found):>25}  {percent(found)}"
            )
        return "\n".join(lines)

    def threshold(self, rate: float) -> float:
        """Return the similarity for a rate of false matches.

        Raises:
            RetrievalError: the calibration has no such rate, or too few pairs for it.
        """
        if rate in self.too_few:
            raise RetrievalError(
                f"the calibration on {self.source} has too few pairs for {percent(rate)} of false "
                f"matches ({self.other:,} of different people, needed {_needed(rate):,}): take a "
                "higher rate, or calibrate on more images"
            )
        known = {threshold.rate: threshold.value for threshold in self.thresholds}
        if rate not in known:
            raise RetrievalError(
                f"the calibration has thresholds for {', '.join(map(percent, known))} of false "
                f"matches, not for {percent(rate)}"
            )
        return known[rate]

    def probability(self, scores: np.ndarray, prior: float = 0.5) -> np.ndarray:
        """Return how probable it is that pairs with these scores are of one person each.

        Args:
            scores: cosine similarities, of any shape.
            prior: how probable it is before the score is known.
        """
        return _probability(self.slope, self.intercept, np.asarray(scores), prior)

    def interval(self, scores: np.ndarray, prior: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
        """Return the 95 % interval of each probability, by the bootstrap over people."""
        scores = np.asarray(scores)
        curves = [_probability(*curve, scores, prior) for curve in self.repeated]
        low, high = np.percentile(curves, [2.5, 97.5], axis=0)
        return low, high

    def to_json(self) -> str:
        """Return the calibration as a JSON object."""
        made = json.loads(card_to_json(self.made))
        return json.dumps({**dataclasses.asdict(self), "made": made}, indent=1)

    @classmethod
    def read(cls, path: Path) -> "Calibration":
        """Read what :meth:`write` wrote.

        Raises:
            RetrievalError: there is no such file, or it is none.
        """
        try:
            values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            values["made"] = card_from_json(json.dumps(values["made"]))
            values["thresholds"] = tuple(Threshold(**one) for one in values["thresholds"])
            lists = {key: tuple(values[key]) for key in ("sample", "too_few")}
            lists["repeated"] = tuple((float(a), float(b)) for a, b in values["repeated"])
            return cls(**{**values, **lists})
        except OSError as error:
            raise RetrievalError(f"{path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, RetrievalError) as error:
            raise RetrievalError(
                f"{path} is no calibration of 'torchreid-magnifier calibrate' ({error})"
            ) from error

    def write(self, path: Path) -> None:
        """Write the calibration, complete or not at all.

        Raises:
            OSError: it cannot be written.
        """
        write_atomically(path, self.to_json().encode())

    def departure(self, scores: np.ndarray) -> tuple[float, float]:
        """Compare scores, nearly all of different people, with those of the calibration.

        Returns:
            The largest distance between both distributions, 0..1 (Kolmogorov-Smirnov), and how
            probable such a one is by chance.
        """
        test = ks_2samp(self.sample, scores)
        return float(test.statistic), float(test.pvalue)


class Decision(NamedTuple):
    """An answer to a query.

    Attributes:
        row: of the gallery; -1: nobody in it.
        score: cosine similarity of the nearest.
        probability: that the nearest is the same person, if half of all pairs were.
    """

    row: int
    score: float
    probability: float


def read_labelled_folder(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """Return the images of known people in a folder.

    Args:
        folder: has a folder for each person. The camera is a folder below that, or in the names of
            files, such as ``c1`` in ``0002_c1s1_000451.jpg``; else there is one.

    Returns:
        Paths, people and cameras, of each image.

    Raises:
        RetrievalError: there are no images, an image is of nobody, or it is a file.
    """
    if folder.is_file():
        raise RetrievalError(f"{folder}: expected a folder of one for each person, found a file")
    paths = find_sources([folder], videos=False)
    people, cameras = [], []
    for path in paths:
        *above, name = Path(path).relative_to(folder).parts
        if not above:
            raise RetrievalError(
                f"{path}: expected a folder for each person in {folder}, found an image in it"
            )
        person, *below = above
        named = re.search(r"(?:^|_)c(\d+)", name)
        people.append(person)
        cameras.append(below[0] if below else named[1] if named else "")
    return paths, people, cameras


def score_pairs(
    embeddings: Embeddings,
    people: Sequence[int | str],
    cameras: Sequence[int | str],
    *,
    same_camera: bool = False,
    parts: float = 0.0,
    most: int = _MOST,
    seed: int = 0,
) -> Pairs:
    """Compare images of known people, by different cameras.

    Args:
        embeddings: of the N images.
        people: an identity each, (N,).
        cameras: that each was taken by, (N,).
        same_camera: take pairs by one camera, too; they are more alike than those that a
            system of several cameras has to compare.
        parts: see ``Pairs``.
        most: pairs of either kind; of more, so many are drawn at random.
        seed: of that choice.

    Raises:
        RetrievalError: there are no pairs of one kind, or embeddings are not finite.
    """
    _, pids = np.unique(people, return_inverse=True)
    camids = np.unique(cameras, return_inverse=True)[1]
    if not len(pids) == len(camids) == len(embeddings):
        raise ValueError(
            f"expected a person and a camera for each of {len(embeddings)} images, found "
            f"{len(pids)} and {len(camids)}"
        )
    require_finite(embeddings, "images")
    chance = np.random.default_rng(seed)
    kept = []
    for person in range(pids.max() + 1):
        rows = np.flatnonzero(pids == person)
        kept.append(rows[np.stack(np.triu_indices(len(rows), 1), 1)])
    same, other = np.concatenate(kept), _different(pids, most, chance)
    if not same_camera:
        same, other = (found[np.diff(camids[found])[:, 0] != 0] for found in (same, other))
    if not len(same) or not len(other):
        kind = "one person" if not len(same) else "two people"
        raise RetrievalError(
            f"there are no pairs of images of {kind} by different cameras: found "
            f"{pids.max() + 1} people and {camids.max() + 1} cameras on {len(pids)} images"
        )
    same, other = (
        found if len(found) <= most else found[chance.choice(len(found), most, replace=False)]
        for found in (same, other)
    )
    return Pairs(
        _similarities(embeddings, same, parts),
        pids[same[:, 0]],
        _similarities(embeddings, other, parts),
        pids[other],
        int(pids.max()) + 1,
        len(pids),
        int(camids.max()) + 1,
        parts,
    )


def calibrate(
    pairs: Pairs,
    made: Card,
    source: str,
    rates: Sequence[float] = RATES,
    *,
    replicates: int = _REPLICATES,
    seed: int = 0,
) -> Calibration:
    """Find thresholds, and the probability that goes with a score.

    Args:
        pairs: of ``score_pairs``.
        made: card of the embeddings.
        source: the images, in words.
        rates: of false matches, 0..1.
        replicates: of the bootstrap over people.
        seed: of it.

    Raises:
        RetrievalError: scikit-learn is not installed.
    """
    with needing("a calibration needs scikit-learn", "search", RetrievalError):
        from sklearn.linear_model import LogisticRegression
    rates = sorted(rates, reverse=True)
    curves = _Curves(pairs)
    chance = np.random.default_rng(seed)
    ones = np.ones(pairs.people)
    at_all = curves.measure(ones, rates)
    draws = chance.multinomial(pairs.people, ones / pairs.people, replicates)
    repeated = np.array([curves.measure(draw, rates) for draw in draws])
    low, high = np.nanpercentile(repeated, [2.5, 97.5], axis=0)
    thresholds = []
    too_few = tuple(rate for rate in rates if len(pairs.other) < _needed(rate))
    for number, rate in enumerate(rates):
        value, found = 2 + 2 * number, 3 + 2 * number
        known = (at_all[value], low[value], high[value], at_all[found], low[found], high[found])
        if rate not in too_few:
            thresholds.append(Threshold(rate, *map(float, known)))
    scores = np.concatenate([pairs.same, pairs.other])[:, None]
    labels = np.repeat([1, 0], [len(pairs.same), len(pairs.other)])
    fitted = LogisticRegression(C=1e6, class_weight="balanced").fit(scores, labels)
    bins = _Bins(pairs)
    repeated_curves = []
    for draw in draws[:_CURVES]:
        centres, kinds, weights = bins.weighted(draw)
        logistic = LogisticRegression(C=1e6).fit(centres, kinds, weights)
        repeated_curves.append((float(logistic.coef_[0, 0]), float(logistic.intercept_[0])))
    sample = np.quantile(pairs.other, np.linspace(0, 1, min(_SAMPLE, len(pairs.other))))
    return Calibration(
        made=made,
        source=source,
        people=pairs.people,
        images=pairs.images,
        cameras=pairs.cameras,
        same=len(pairs.same),
        other=len(pairs.other),
        thresholds=tuple(thresholds),
        too_few=too_few,
        equal_error=float(at_all[0]),
        equal_error_low=float(low[0]),
        equal_error_high=float(high[0]),
        equal_error_at=float(at_all[1]),
        slope=float(fitted.coef_[0, 0]),
        intercept=float(fitted.intercept_[0]),
        parts=pairs.parts,
        repeated=tuple(repeated_curves),
        sample=tuple(sample.round(6).tolist()),
    )


def decide(
    queries: Embeddings | np.ndarray,
    gallery: Embeddings,
    calibration: Calibration,
    rate: float = 0.01,
    index: Index | None = None,
) -> list[Decision]:
    """Answer who is shown: the nearest of the gallery, or nobody that it knows.

    The rate is that of a single comparison. Of a gallery of N strangers, the nearest is above the
    threshold up to N times as often.

    Args:
        queries: Q embeddings, or their vectors (Q, D) as ``network.embed`` gives them; NaN are
            nobody.
        gallery: N embeddings of the same network.
        calibration: of this network.
        rate: of false matches, one of the calibration's.
        index: of the gallery, see ``search``.

    Returns:
        An answer to each query.

    Raises:
        RetrievalError: queries, gallery and calibration are of different networks; the calibration
            has no threshold for the rate.

    Warns:
        CalibrationWarning: the gallery's scores are distributed otherwise than the calibration's.
    """
    threshold = calibration.threshold(rate)
    require_comparable(calibration.made, gallery.card, "the calibration", "the gallery")
    if isinstance(queries, np.ndarray):
        if calibration.parts:
            raise RetrievalError(
                "the calibration is of similarities over shared parts, which vectors alone do not "
                "have: calibrate without --parts, or give embeddings"
            )
        return _decide_vectors(queries, gallery, calibration, rate, index)
    if not len(queries):
        return []
    found = search(queries, gallery, 1, index=index, parts=calibration.parts or None)
    if notice := departure_notice(queries, gallery, calibration, rate):
        warnings.warn(notice, CalibrationWarning, stacklevel=2)
    scores = found.scores[:, 0]
    return [
        Decision(int(row) if score >= threshold else -1, float(score), float(probability))
        for row, score, probability in zip(
            found.rows[:, 0], scores, calibration.probability(scores)
        )
    ]


def _decide_vectors(
    vectors: np.ndarray,
    gallery: Embeddings,
    calibration: Calibration,
    rate: float,
    index: Index | None,
) -> list[Decision]:
    answers = [Decision(-1, float("nan"), float("nan"))] * len(vectors)
    known = np.flatnonzero(~np.isnan(vectors).any(1))
    if len(known):
        names, frames = np.array([f"vector {row}" for row in known]), np.full(len(known), -1)
        queries = Embeddings(names, frames, vectors[known], None, gallery.card)
        found = decide(queries, gallery, calibration, rate, index)
        for row, answer in zip(known, found, strict=True):
            answers[row] = answer
    return answers


def same_from(
    file: Path, rate: float, queries: Embeddings, gallery: Embeddings, parts: float = 0.0
) -> tuple[float, str | None]:
    """Return the similarity of a rate of false matches, and what speaks against it, if anything.

    Args:
        file: of the calibration.
        rate: of false matches.
        queries, gallery: what is compared.
        parts: least share of the parts that similarities are over.

    Raises:
        RetrievalError: the calibration cannot be read, is of another network, of other
            similarities, or without this rate.
    """
    calibration = Calibration.read(file)
    require_comparable(calibration.made, gallery.card, "the calibration", "the gallery")
    if calibration.parts != parts:
        raise RetrievalError(
            f"{file}: its similarities are over a share of {calibration.parts:g} of the parts, "
            f"those of this search of {parts:g}: give --parts to both calibrate and search, or to "
            "neither"
        )
    threshold = calibration.threshold(rate)
    return threshold, departure_notice(queries, gallery, calibration, rate)


def departure_notice(
    queries: Embeddings, gallery: Embeddings, calibration: Calibration, rate: float
) -> str | None:
    """Say whether the scores of a gallery are distributed otherwise than a calibration's.

    Thresholds do not travel between cameras: this is a sign that they did.

    Returns:
        The warning, with the share of scores above the threshold; None if there is nothing to say.
    """
    chance = np.random.default_rng(0)
    # As many pairs as there are pictures: those of one picture depend on each other.
    count = min(len(queries) + len(gallery), _SAMPLE)
    asked, found = (chance.integers(len(rows), size=count) for rows in (queries, gallery))
    if calibration.parts:
        sides = queries.parts("queries"), gallery.parts("the gallery")
        scores = 1 - SharedPartDistances(*sides, calibration.parts).pairs(asked, found)
    else:
        one = F.normalize(as_float(queries.vectors[asked]), dim=1)
        scores = (one * F.normalize(as_float(gallery.vectors[found]), dim=1)).sum(1).numpy()
    scores = scores[np.isfinite(scores)]  # rows without numbers are last in a search
    apart, by_chance = calibration.departure(scores)
    if apart <= _APART or by_chance >= _CHANCE:
        return None
    above = float((scores >= calibration.threshold(rate)).mean())
    return (
        "the scores of this gallery are distributed otherwise than those of the calibration on "
        f"{calibration.source} (Kolmogorov-Smirnov distance {apart:.2f}): {percent(above)} of its "
        f"pairs are above the threshold for {percent(rate)} of false matches. Calibrate on images "
        "of these cameras"
    )


def percent(rate: float) -> str:
    """Return a rate as text, such as ``0.1 %``."""
    return f"{100 * rate:.3g} %"


class _Curves:
    """Errors over all thresholds, for any weights of the people."""

    def __init__(self, pairs: Pairs) -> None:
        self._same_order = np.argsort(-pairs.same, kind="stable")
        self._other_order = np.argsort(-pairs.other, kind="stable")
        self._same, self._other = pairs.same[self._same_order], pairs.other[self._other_order]
        self._same_people = pairs.same_people[self._same_order]
        self._other_people = pairs.other_people[self._other_order].T

    def measure(self, weights: np.ndarray, rates: Sequence[float]) -> list[float]:
        """Equal error rate and its threshold; of each rate the threshold and the share found."""
        same = np.cumsum(weights[self._same_people], dtype=float)
        left, right = self._other_people
        other = np.cumsum(weights[left] * weights[right], dtype=float)
        if not same[-1] or not other[-1]:
            return [float("nan")] * (2 + 2 * len(rates))
        same, other = same / same[-1], other / other[-1]
        thresholds = self._other
        found = self._found(same, thresholds)
        equal = int(np.argmin(np.abs(other - (1 - found))))
        measures = [float(other[equal] + 1 - found[equal]) / 2, float(thresholds[equal])]
        for rate in rates:
            first = min(int(np.searchsorted(other, rate, side="right")), len(other) - 1)
            value = np.nextafter(thresholds[first], np.inf)  # all above it, at most the rate
            measures += [float(value), float(self._found(same, value))]
        return measures

    def _found(self, same: np.ndarray, thresholds: Any) -> Any:
        """The share of pairs of one person at or above thresholds."""
        count = np.searchsorted(-self._same, -np.asarray(thresholds), side="right")
        return np.where(count > 0, same[count - 1], 0.0)


class _Bins:
    """Counts of the pairs by their score, for any weights of the people: many fits cost little."""

    def __init__(self, pairs: Pairs) -> None:
        edges = np.quantile(np.concatenate([pairs.same, pairs.other]), np.linspace(0, 1, _EDGES))
        self._same, self._other = (
            np.searchsorted(edges[1:-1], scores) for scores in (pairs.same, pairs.other)
        )
        self._centres = (edges[1:] + edges[:-1]) / 2
        self._people = pairs.same_people, pairs.other_people.T

    def weighted(self, draw: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return scores (2 B, 1), kinds 1 and 0, and weights, of each kind the same in sum."""
        same, (left, right) = self._people
        weights = [
            np.bincount(number, weight, len(self._centres))
            for number, weight in (
                (self._same, draw[same]),
                (self._other, draw[left] * draw[right]),
            )
        ]
        balanced = np.concatenate([w * len(self._same) / max(w.sum(), 1) for w in weights])
        count = len(self._centres)
        return np.tile(self._centres, 2)[:, None], np.repeat([1, 0], count), balanced


def _probability(slope: float, intercept: float, scores: np.ndarray, prior: float) -> np.ndarray:
    odds = slope * scores + intercept + np.log(prior / (1 - prior))
    return np.asarray(1 / (1 + np.exp(-odds)))


def _needed(rate: float) -> int:
    return -int(-_FEWEST // rate)


def _different(pids: np.ndarray, most: int, chance: np.random.Generator) -> np.ndarray:
    """Pairs of rows of different people, (O, 2): all, or enough drawn ones to choose from."""
    count = len(pids)
    if count * (count - 1) // 2 <= 4 * most:
        rows = np.stack(np.triu_indices(count, 1), 1)
    else:
        rows = np.sort(chance.integers(count, size=(4 * most, 2)), axis=1)
        rows = np.unique(rows, axis=0)
    return np.asarray(rows[pids[rows[:, 0]] != pids[rows[:, 1]]])


def _similarities(embeddings: Embeddings, pairs: np.ndarray, parts: float) -> np.ndarray:
    """Of pairs of rows (P, 2); a block at a time."""
    if parts:
        side = embeddings.parts("the images")
        return 1 - SharedPartDistances(side, side, parts).pairs(*pairs.T).astype(float)
    unit = F.normalize(as_float(embeddings.vectors), dim=1).numpy()
    step = max(1, (1 << 24) // unit.shape[1])
    found = [
        np.einsum("pd,pd->p", unit[pairs[start:][:step, 0]], unit[pairs[start:][:step, 1]])
        for start in range(0, len(pairs), step)
    ]
    return np.concatenate(found).astype(float)
