"""Manifests: the files that say which trained weights there are, and everything about them.

The first is this package's own, ``weights/manifest.yaml``, whose head explains every key. The
environment variable ``TORCHREID_MAGNIFIER_MANIFESTS`` names others, so that a group can serve its
weights to its members.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import yaml

from ..data.faults import listed
from ..models.magnifiernet import MODELS, STRIDE

OWN_MANIFESTS = "TORCHREID_MAGNIFIER_MANIFESTS"
MANIFEST = "manifest.yaml"


class WeightsError(RuntimeError):
    """Weights that are not known or cannot be had, or a manifest that cannot be used."""


class Result(NamedTuple):
    """What was measured of weights on a dataset.

    Attributes:
        dataset: name of the dataset.
        rank1, mAP: percent.
        settings: of the test, in words.
    """

    dataset: str
    rank1: float
    mAP: float
    settings: str


@dataclass(frozen=True)
class Weights:
    """An entry of a manifest.

    Attributes:
        name: what users ask for.
        model: model name, one of ``MODELS``.
        dataset: what it was trained on.
        file: the weights beside the manifest, if it came with them: absolute path, which need not
            exist.
        links: where else the file can be had, in the order to try; Google Drive's among them.
        sha256: of the file, 64 hexadecimal digits.
        size: of the file, in bytes.
        height, width: of the images, in pixels.
        mean, std: of the three channels, red, green and blue, of values 0..1.
        num_classes: number of training identities.
        results: what was measured.
        command: what trained it.
        licence: of the file.
    """

    name: str
    model: str
    dataset: str
    file: Path | None
    links: tuple[str, ...]
    sha256: str
    size: int
    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    num_classes: int
    results: tuple[Result, ...]
    command: str
    licence: str


def entries() -> dict[str, Weights]:
    """All weights by name: this package's, then those of ``TORCHREID_MAGNIFIER_MANIFESTS``.

    Raises:
        WeightsError: a manifest cannot be read or has faults, or a name is there twice.
    """
    given = os.environ.get(OWN_MANIFESTS, "").split(os.pathsep)
    others = [Path(path).expanduser() for path in map(str.strip, given) if path]
    found: dict[str, tuple[Weights, Path]] = {}
    for manifest in [_package_folder() / MANIFEST, *others]:
        for weights in read_manifest(manifest):
            if weights.name in found:
                raise WeightsError(
                    f"{manifest}: there are weights {weights.name!r} already, in "
                    f"{found[weights.name][1]}: rename one of them"
                )
            found[weights.name] = weights, manifest
    return {name: weights for name, (weights, _) in found.items()}


def find(name: str) -> Weights:
    """The weights of a name.

    Raises:
        WeightsError: there are none of that name, with those that there are; and as ``entries``.
    """
    known = entries()
    if name not in known:
        raise WeightsError(
            f"There are no weights {name!r}: "
            + (f"expected one of {', '.join(known)}." if known else "no manifest has any entry.")
        )
    return known[name]


def read_manifest(path: Path) -> list[Weights]:
    """Reads one manifest.

    Raises:
        WeightsError: it cannot be read, or with all its faults: file, entry and key.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise WeightsError(f"{path}: this manifest cannot be read ({error})") from error
    if content is None:
        return []
    if not isinstance(content, list):
        raise WeightsError(f"{path}: expected a list of entries, found {_told(content)}")
    faults = []
    names: set[str] = set()
    for number, entry in enumerate(content, 1):
        name = entry.get("name", number) if isinstance(entry, dict) else number
        found = _entry_faults(entry)
        if name in names:
            found.append("name: there is another entry of this name")
        names.add(name)
        faults += [f"entry {name}: {fault}" for fault in found]
    if faults:
        raise WeightsError(f"{path}: {listed('faults in this manifest', faults)}")
    return [_weights(entry, path) for entry in content]


def _package_folder() -> Path:
    """The folder ``weights`` of the sources, which the build copies into the package."""
    shipped = Path(__file__).with_name("shipped")
    return shipped if shipped.is_dir() else Path(__file__).parents[2] / "weights"


def _weights(entry: Mapping[str, Any], manifest: Path) -> Weights:
    given = {key: value for key, value in entry.items() if key not in (*_ORIGINS, "mirrors")}
    links = [entry["url"]] if "url" in entry else []
    if "gdrive" in entry:
        links.append(f"https://drive.google.com/uc?id={entry['gdrive']}")
    given |= {
        "file": manifest.absolute().parent / entry["file"] if "file" in entry else None,
        "links": (*links, *entry.get("mirrors", ())),
        "mean": tuple(map(float, entry["mean"])),
        "std": tuple(map(float, entry["std"])),
        "results": tuple(
            Result(result["dataset"], result["rank-1"], result["mAP"], result["settings"])
            for result in entry["results"]
        ),
    }
    return Weights(**given)


# ---------------------------------------------------------------------- what a value must be


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
    return (
        _matches(r"[\x21-\x7e]+")(value)
        and urlsplit(value).scheme in ("http", "https")
        and bool(urlsplit(value).hostname)
    )


def _are_three(value: Any, lowest: float) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(_is_number(number) and lowest <= number <= 1 for number in value)
    )


_TEXT = _Rule("a text", lambda value: isinstance(value, str) and bool(value.strip()))
_LINK = _Rule("a link that begins with http:// or https://", _is_link)
_PIXELS = _Rule(
    f"a number of pixels divisible by {STRIDE}",
    lambda value: _is_count(value) and value % STRIDE == 0,
)
_COUNT = _Rule("a whole number from 1", _is_count)
_PERCENT = _Rule("percent, 0 to 100", lambda value: _is_number(value) and 0 <= value <= 100)

_ORIGINS = {
    "file": _Rule(
        "the name of a file in the folder of the manifest", _matches(r"[A-Za-z0-9][\w.-]*")
    ),
    "url": _LINK,
    "gdrive": _Rule("the id of a file on Google Drive, in quotes", _matches(r"[\w-]+")),
}
_RESULT = {"dataset": _TEXT, "rank-1": _PERCENT, "mAP": _PERCENT, "settings": _TEXT}
_NEEDED = {
    "name": _Rule("letters, digits, '.', '_' and '-'", _matches(r"[A-Za-z0-9][A-Za-z0-9._-]*")),
    "model": _Rule(f"one of {', '.join(MODELS)}", lambda value: value in list(MODELS)),
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
_OPTIONAL = {**_ORIGINS, "mirrors": _Rule("a list", lambda value: isinstance(value, list))}


def _entry_faults(entry: Any) -> list[str]:
    faults = _faults(entry, _NEEDED, _OPTIONAL)
    if not isinstance(entry, dict):
        return faults
    origins = [key for key in _ORIGINS if key in entry]
    if len(origins) != 1:
        faults.append(
            f"{', '.join(_ORIGINS)}: expected one of these keys, found "
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
        return [f"expected the keys {', '.join(rules)}, found {_told(entry)}"]
    faults = [f"{key}: missing" for key in needed if key not in entry]
    for key, value in entry.items():
        if key not in rules:
            faults.append(f"{key}: unknown key; expected {', '.join(rules)}")
        else:
            faults += [f"{key}: {fault}" for fault in _fault(value, rules[key])]
    return faults


def _fault(value: Any, rule: _Rule) -> list[str]:
    return [] if rule.holds(value) else [f"expected {rule.expected}, found {_told(value)}"]


def _told(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
