"""Manifests: the files that say which trained weights there are, and everything about them.

The first is this package's own, ``weights/manifest.yaml``, whose head explains every key. The
environment variable ``TORCHREID_MAGNIFIER_MANIFESTS`` names others, so that a group can serve its
weights to its members.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ..errors import MagnifierError
from ..files import sha256
from .rules import ORIGINS, entry_faults, told

OWN_MANIFESTS = "TORCHREID_MAGNIFIER_MANIFESTS"
MANIFEST = "manifest.yaml"


class WeightsError(MagnifierError, RuntimeError):
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
        model: model name, one of ``ALL_MODELS``.
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

    def fault_of(self, path: Path) -> str | None:
        """What is wrong with a file that ought to be this one, in words; None if nothing is."""
        try:
            size = path.stat().st_size
            if size != self.size:
                return f"has {size:,} bytes instead of {self.size:,}"
            found = sha256(path)
        except FileNotFoundError:
            return "there is no such file"
        except OSError as error:
            return f"cannot be read ({error})"
        return None if found == self.sha256 else f"has the SHA-256 {found} instead of {self.sha256}"


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


def find(name: str, model: str | None = None) -> Weights:
    """The weights of a name.

    Args:
        name: as in the manifest.
        model: name of the model that they must be of, if that matters.

    Raises:
        WeightsError: there are none of that name, with those that there are; they are of another
            model; and as ``entries``.
    """
    known = entries()
    if name not in known:
        raise WeightsError(
            f"There are no weights {name!r}: "
            + (f"expected one of {', '.join(known)}." if known else "no manifest has any entry.")
        )
    if model not in (None, known[name].model):
        raise WeightsError(
            f"The weights {name!r} are of the model {known[name].model!r}, not of {model!r}: build "
            "that model."
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
        raise WeightsError(f"{path}: expected a list of entries, found {told(content)}")
    faults = []
    names: set[str] = set()
    for number, entry in enumerate(content, 1):
        name = str(entry.get("name", number) if isinstance(entry, dict) else number)
        found = entry_faults(entry)
        if name in names:
            found.append("name: there is another entry of this name")
        names.add(name)
        faults += [f"entry {name}: {fault}" for fault in found]
    if faults:
        raise WeightsError("\n  ".join([f"{path}: this manifest has faults", *faults]))
    return [_weights(entry, path) for entry in content]


def _package_folder() -> Path:
    """The folder ``weights`` of the sources, which the build copies into the package."""
    shipped = Path(__file__).with_name("shipped")
    return shipped if shipped.is_dir() else Path(__file__).parents[2] / "weights"


def _weights(entry: Mapping[str, Any], manifest: Path) -> Weights:
    given = {key: value for key, value in entry.items() if key not in (*ORIGINS, "mirrors")}
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
