"""The record of a trained network, and the manifests that list such records.

A card goes wherever its network goes: it is an entry of a manifest (YAML), the ``config.json`` of a
network's folder, and the text under ``CARD_KEY`` in safetensors files, exported networks and files
of embeddings.

The first manifest is this package's own, ``weights/manifest.yaml``, whose head explains every key.
The environment variable ``TORCHREID_MAGNIFIER_MANIFESTS`` names others, so that a group can serve
its weights to its members.
"""

import json
import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from ..checkpoint import NETWORK, read_checkpoint
from ..errors import MagnifierError
from ..files import ListError, load_yaml, read_text, sha256

CARD_KEY = "torchreid_magnifier.json"
OWN_MANIFESTS = "TORCHREID_MAGNIFIER_MANIFESTS"
MANIFEST = "manifest.yaml"

# What torchreid normalises with unless a configuration says otherwise: ImageNet's.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class WeightsError(MagnifierError, RuntimeError):
    """Weights that are not known or cannot be had, or a record of them that cannot be used."""


@dataclass(frozen=True)
class Result:
    """A measurement of a trained network.

    Attributes:
        dataset: name of the dataset.
        rank1, mAP: percent.
        settings: of the test (the protocol), in words.
    """

    dataset: str
    rank1: float
    mAP: float
    settings: str


@dataclass(frozen=True)
class Card:
    """The record of a trained network: all that it takes to use it, compare it and cite it.

    Attributes:
        name: of the weights, or the path of their file.
        model: name of the model, as torchreid's ``build_model`` takes it.
        height, width: of the images, in pixels; a picture is resized to them whatever its shape.
        mean, std: of the channels, for values 0..1.
        options: further keyword arguments of the model.
        channels: their order in the input.
        resize: how, as torchvision's ``Resize`` does it with a PIL image.
        backbone: in words.
        embedding_size: D, where it is known.
        distance: that embeddings are compared by.
        parts: names of the part labels 0, 1, …; none if the network predicts no labels.
        dataset: what it was trained on.
        num_classes: training identities, where they are known.
        start: where the weights that training started from come from, and their licence.
        results: what was measured of this very file.
        command: what trained it.
        licence: of the file.
        limits: what it must not be used for, or is known to do badly; terms of its data.
        sha256: of the weights' file, 64 hexadecimal digits.
        size: of that file, in bytes.
        version: of the package that wrote the card.
        quantised: ``int8`` of an exported network that computes with 8-bit numbers.
        file: the weights, if they came with the card: absolute path, which need not exist.
        links: where else the file can be had, in the order to try; Google Drive's among them.
            Without a ``sha256``, what comes first is remembered, and must come again.
    """

    name: str
    model: str
    height: int
    width: int
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    channels: str = "RGB"
    resize: str = "bilinear, antialiased"
    backbone: str = ""
    embedding_size: int | None = None
    distance: str = "cosine"
    parts: tuple[str, ...] = ()
    dataset: str = ""
    num_classes: int | None = None
    start: str = ""
    results: tuple[Result, ...] = ()
    command: str = ""
    licence: str = ""
    limits: str = ""
    sha256: str = ""
    size: int | None = None
    version: str = ""
    quantised: str = ""
    file: Path | None = None
    links: tuple[str, ...] = ()

    def problem_of(self, path: Path) -> str | None:
        """Say what is wrong with a file that ought to be the card's, if anything is."""
        try:
            size = path.stat().st_size
            if self.size is not None and size != self.size:
                return f"has {size:,} bytes instead of {self.size:,}"
            found = sha256(path)
        except FileNotFoundError:
            return "there is no such file"
        except OSError as error:
            return f"cannot be read ({error})"
        if self.sha256 in ("", found):
            return None
        return f"has the SHA-256 {found} instead of {self.sha256}"

    def to_dict(self) -> dict[str, Any]:
        """Return what is known, by the keys of a manifest, without where the file is."""
        known = {f.name: getattr(self, f.name) for f in fields(self)[:-2]}
        known["results"] = [
            {"rank-1" if key == "rank1" else key: value for key, value in vars(result).items()}
            for result in self.results
        ]
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in known.items()
            if value not in ("", None, (), [], {})
        }

    def to_json(self) -> str:
        """Return the card as JSON, for the head of a file."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, entry: Any, folder: Path | None = None) -> "Card":
        """Make a card of a mapping with the keys of a manifest.

        Keys that only a later version knows are left out.

        Args:
            entry: as ``to_dict`` returns it, or YAML gives it.
            folder: that the key ``file`` is below.

        Raises:
            WeightsError: with everything that is wrong.
        """
        if isinstance(entry, dict):
            entry = {key: value for key, value in entry.items() if key in _RULES}
        if found := problems(entry, needed=("name", "model", "height", "width")):
            raise WeightsError("; ".join(found))
        given: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()
        }
        links = [given.pop("url")] if "url" in given else []
        if "gdrive" in given:
            links.append(f"https://drive.google.com/uc?id={given.pop('gdrive')}")
        given["links"] = (*links, *given.pop("mirrors", ()))
        given["results"] = tuple(
            Result(result["dataset"], result["rank-1"], result["mAP"], result["settings"])
            for result in given.get("results", ())
        )
        if "file" in given:
            given["file"] = (folder or Path()).absolute() / given["file"]
        return cls(**given)

    @classmethod
    def from_json(cls, text: str) -> "Card":
        """Make a card of what ``to_json`` returned.

        Raises:
            WeightsError: it is no such text.
        """
        try:
            entry = json.loads(text)
        except ValueError as error:
            raise WeightsError(f"it is no JSON ({error})") from error
        return cls.from_dict(entry)


def card_of_run(checkpoint: Path) -> Card | None:
    """Read the card of a checkpoint of ``torchreid-magnifier train``.

    It stands in the checkpoint; of another one, ``<folder>/model/<file>``, it is read from
    ``<folder>/config.yaml``, which ``train`` writes.

    Returns:
        The card, without what only a test knows; None if there is neither.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        WeightsError: the other file is no configuration of a training run.
    """
    if network := read_checkpoint(checkpoint).get(NETWORK):
        try:
            dataset = ", ".join(network["sources"])
            known = ("model", "options", "height", "width", "mean", "std")
            entry = {"name": str(checkpoint), **{key: network[key] for key in known}}
            entry |= {key: list(entry[key]) for key in ("mean", "std")}
            said = {"dataset": dataset, "start": network.get("start")}
            return Card.from_dict(entry | {key: value for key, value in said.items() if value})
        except (KeyError, TypeError, WeightsError) as error:
            raise WeightsError(
                f"{checkpoint}: its record of the network cannot be used ({error}): it is no "
                "checkpoint of 'torchreid-magnifier train'"
            ) from error
    path = checkpoint.absolute().parent.parent / "config.yaml"
    if not path.is_file():
        return None
    try:
        cfg = load_yaml(read_text(path))
        data = cfg["data"]
        return Card(
            name=str(checkpoint),
            model=str(cfg["model"]["name"]),
            options=dict(cfg["model"].get("options") or {}),
            height=int(data["height"]),
            width=int(data["width"]),
            mean=tuple(map(float, data["norm_mean"])),
            std=tuple(map(float, data["norm_std"])),
            dataset=", ".join(data.get("sources") or ()),
        )
    except (
        *(OSError, ListError, ValueError, KeyError, TypeError, AttributeError),
        yaml.YAMLError,
    ) as error:
        raise WeightsError(
            f"{path} is no configuration of a training run ({type(error).__name__}: {error}): "
            "move it away, or move the checkpoint elsewhere"
        ) from error


# ---------------------------------------------------------------------- manifests


def entries() -> dict[str, Card]:
    """Return all weights by name: this package's, then those of ``TORCHREID_MAGNIFIER_MANIFESTS``.

    Raises:
        WeightsError: a manifest cannot be read or has problems, or a name is there twice.
    """
    given = os.environ.get(OWN_MANIFESTS, "").split(os.pathsep)
    others = [Path(path).expanduser() for path in map(str.strip, given) if path]
    found: dict[str, tuple[Card, Path]] = {}
    for manifest in [package_folder() / MANIFEST, *others]:
        for card in read_manifest(manifest):
            if card.name in found:
                raise WeightsError(
                    f"{manifest}: there are weights {card.name!r} already, in "
                    f"{found[card.name][1]}: rename one of them"
                )
            found[card.name] = card, manifest
    return {name: card for name, (card, _) in found.items()}


def find(name: str, model: str | None = None) -> Card:
    """Return the card of the weights of a name.

    Args:
        name: as in a manifest, or of torchreid's zoo.
        model: name of the model that they must be of, if that matters.

    Raises:
        WeightsError: there are none of that name, with those that there are; they are of another
            model; and as ``entries``.
    """
    from .zoo import zoo

    own = entries()
    known = {**zoo(), **own}
    if name not in known:
        near = get_close_matches(name, known, 3)
        names = ", ".join([*own, "those of torchreid's zoo ('weights list --zoo')"])
        raise WeightsError(
            f"There are no weights {name!r}: expected one of {names}"
            + (f"; did you mean {' or '.join(near)}?" if near else ".")
        )
    if model not in (None, known[name].model):
        raise WeightsError(
            f"The weights {name!r} are of the model {known[name].model!r}, not of {model!r}: build "
            "that model."
        )
    return known[name]


def read_manifest(path: Path) -> list[Card]:
    """Read one manifest.

    Raises:
        WeightsError: it cannot be read, or with all its problems: file, entry and key.
    """
    try:
        content = load_yaml(read_text(path))
    except ListError as error:  # which names the file
        raise WeightsError(str(error)) from error
    except (OSError, yaml.YAMLError) as error:
        raise WeightsError(f"{path}: this manifest cannot be read ({error})") from error
    if content is None:
        return []
    if not isinstance(content, list):
        raise WeightsError(f"{path}: expected a list of entries, found {_shown(content)}")
    wrong = []
    names: set[str] = set()
    for number, entry in enumerate(content, 1):
        name = str(entry.get("name", number) if isinstance(entry, dict) else number)
        found = problems(entry, _NEEDED, _MANIFEST_RULES)
        origins = [key for key in _ORIGINS if isinstance(entry, dict) and key in entry]
        if isinstance(entry, dict) and len(origins) != 1:
            found.append(
                f"{', '.join(_ORIGINS)}: expected one of these keys, found "
                f"{' and '.join(origins) or 'none'}"
            )
        if name in names:
            found.append("name: there is another entry of this name")
        names.add(name)
        wrong += [f"entry {name}: {problem}" for problem in found]
    if wrong:
        raise WeightsError("\n  ".join([f"{path}: this manifest has problems", *wrong]))
    return [Card.from_dict(entry, path.parent) for entry in content]


def package_folder() -> Path:
    """Return the folder ``weights`` of the sources, which the build copies into the package."""
    shipped = Path(__file__).with_name("shipped")
    return shipped if shipped.is_dir() else Path(__file__).parents[2] / "weights"


# ---------------------------------------------------------------------- rules

_Rule = tuple[str, Callable[[Any], bool]]  # what is expected, in words; whether a value is that
_NAME = "[A-Za-z0-9][A-Za-z0-9._-]*"
_ORIGINS = ("file", "url", "gdrive")
_NEEDED = (
    *("name", "model", "dataset", "sha256", "size", "height", "width", "mean", "std"),
    *("num_classes", "results", "command", "licence"),
)


def _matches(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_link(value: Any) -> bool:
    try:
        return _matches(r"https?://[\x21-\x7e]+")(value) and bool(urlsplit(value).hostname)
    except ValueError:  # such as brackets that are no IPv6 address
        return False


def _three_from(lowest: float) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, list)
        and len(value) == 3
        and all(_is_number(number) and lowest <= number <= 1 for number in value)
    )


_TEXT: _Rule = ("a text", lambda value: isinstance(value, str) and bool(value.strip()))
_COUNT: _Rule = (
    "a whole number from 1",
    lambda value: isinstance(value, int) and not isinstance(value, bool) and value > 0,
)
_LINK: _Rule = ("a link that begins with http:// or https://", _is_link)
_LIST: _Rule = ("a list", lambda value: isinstance(value, list))
_PERCENT: _Rule = ("percent, 0 to 100", lambda value: _is_number(value) and 0 <= value <= 100)
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(("name", "model", "channels", "resize", "backbone", "distance"), _TEXT),
    **dict.fromkeys(("dataset", "start", "command", "licence", "limits", "version"), _TEXT),
    **dict.fromkeys(("height", "width", "embedding_size", "num_classes", "size"), _COUNT),
    "quantised": _TEXT,
    "mean": ("three numbers from 0 to 1", _three_from(0)),
    "std": ("three numbers above 0, up to 1", _three_from(1e-6)),
    "options": ("options of the model by name", lambda value: isinstance(value, dict)),
    "parts": ("a list of names", lambda v: isinstance(v, list) and all(map(_TEXT[1], v))),
    "results": _LIST,
    "sha256": ("64 hexadecimal digits in quotes", _matches("[0-9a-f]{64}")),
    "file": ("the name of a file in the folder of the manifest", _matches(_NAME)),
    "url": _LINK,
    "gdrive": ("the id of a file on Google Drive, in quotes", _matches("[A-Za-z0-9_-]+")),
    "mirrors": _LIST,
}
_MANIFEST_RULES = {**_RULES, "name": ("letters, digits, '.', '_' and '-'", _matches(_NAME))}
_RESULT = {"dataset": _TEXT, "rank-1": _PERCENT, "mAP": _PERCENT, "settings": _TEXT}


def problems(
    entry: Any, needed: Collection[str], rules: Mapping[str, _Rule] | None = None
) -> list[str]:
    """Say everything that is wrong with a record, each with its key.

    Args:
        entry: of any type.
        needed: keys that must be there.
        rules: of all keys; None takes those of a card.
    """
    rules = _RULES if rules is None else rules
    if not isinstance(entry, dict):
        return [f"expected the keys {', '.join(needed)}, found {_shown(entry)}"]
    found = [f"{key}: missing" for key in needed if key not in entry]
    for key, value in entry.items():
        if key not in rules:
            found.append(f"{key}: unknown key; expected {', '.join(rules)}")
        elif not rules[key][1](value):
            found.append(f"{key}: expected {rules[key][0]}, found {_shown(value)}")
    for key in ("results", "mirrors"):
        values = entry.get(key)
        for number, value in enumerate(values if isinstance(values, list) else (), 1):
            if key == "results":
                nested = problems(value, _RESULT, _RESULT)
            else:
                nested = [] if _is_link(value) else [f"expected {_LINK[0]}, found {_shown(value)}"]
            found += [f"{key}, number {number}: {problem}" for problem in nested]
    return found


def _shown(value: Any) -> str:
    """A value for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
