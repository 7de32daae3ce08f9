"""Sources and targets of trained networks: names, files, folders, links, the Hugging Face Hub.

A network's folder, or its repository on the Hub, holds ``model.safetensors``, its card as
``config.json``, and the same for readers as ``README.md``.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ..checkpoint import read_metadata, write_weights
from ..errors import closest
from ..files import sha256, temporary_beside
from .card import CARD_KEY, Card, WeightsError, card_of_run, entries
from .download import fetch
from .pack import packed
from .zoo import zoo

WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "config.json"
README = "README.md"
HUB = "hf://"

_REPOSITORY = re.compile(HUB + r"(?P<repo>[\w.-]+/[\w.-]+?)(@(?P<revision>[\w./-]+))?")
_LINK = re.compile(r"(?P<link>https?://[^#]+)(#sha256=(?P<sha256>[0-9a-f]{64}))?")


def locate(source: str) -> tuple[Card | None, Path]:
    """Find a trained network's card and the verified file of its weights.

    Args:
        source: a name in a manifest, or of torchreid's zoo; the path of a checkpoint, a safetensors
            file or a network's folder; ``hf://owner/name`` or ``hf://owner/name@revision``; or
            ``https://…#sha256=…``, the link of a file with its hash.

    Returns:
        The card, None if nothing says what the file was trained as; the path of the file.

    Raises:
        WeightsError: there is nothing of the sort, or it cannot be fetched.
    """
    if card := entries().get(source) or zoo().get(source):
        return card, fetch(card)
    if source.startswith(HUB):
        return _from_hub(source)
    if source.startswith(("http://", "https://")):
        return _from_link(source)
    path = Path(source).expanduser()
    if path.is_dir():
        return _from_folder(path)
    if not path.is_file():
        raise WeightsError(
            f"there are no weights {source!r}: expected a name that 'torchreid-magnifier weights "
            "list' shows, the path of a checkpoint or of a network's folder, hf://owner/name, or "
            f"https://…#sha256=…{closest(source, [*entries(), *zoo()])}"
        )
    return _card_of(path), path


def _card_of(path: Path) -> Card | None:
    """The card of a file: of its head, or of the training run that it lies in."""
    text = read_metadata(path).get(CARD_KEY)
    if text is None:
        return card_of_run(path)
    try:
        return Card.from_json(text)
    except WeightsError as error:
        raise WeightsError(f"{path}: its card cannot be used: {error}") from error


def _from_folder(folder: Path) -> tuple[Card, Path]:
    path = folder / CARD_FILE
    try:
        card = Card.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(
            f"{folder} is no network's folder: it has no {CARD_FILE}; expected a folder that "
            "save_pretrained wrote, or the path of a checkpoint"
        ) from None
    except (OSError, UnicodeDecodeError, WeightsError) as error:
        raise WeightsError(f"{path} is no card of a network: {error}") from error
    if problem := card.problem_of(folder / WEIGHTS_FILE):
        raise WeightsError(
            f"{folder / WEIGHTS_FILE}: {problem} by {CARD_FILE}: get the folder anew, or download "
            "the repository again"
        )
    return card, folder / WEIGHTS_FILE


def _from_link(source: str) -> tuple[Card | None, Path]:
    match = _LINK.fullmatch(source)
    if match is None or match["sha256"] is None:
        raise WeightsError(
            f"{source}: expected a link that ends in #sha256= and the 64 hexadecimal digits of the "
            "file, without which nobody can see that it is the right one"
        )
    name = re.sub(r"[^\w.-]", "_", match["link"].rpartition("/")[2])[:48]
    path = fetch(Card(name, "", 0, 0, sha256=match["sha256"], links=(match["link"],)))
    return _card_of(path), path


def _from_hub(source: str) -> tuple[Card, Path]:
    from huggingface_hub import hf_hub_download  # takes its time to import

    match = _REPOSITORY.fullmatch(source)
    if match is None:
        raise WeightsError(f"{source}: expected hf://owner/name or hf://owner/name@revision")

    def download(again: bool) -> Path:
        paths = [
            hf_hub_download(match["repo"], name, revision=match["revision"], force_download=again)
            for name in (WEIGHTS_FILE, CARD_FILE)
        ]
        return Path(paths[0]).parent

    folder = _asking_the_hub(source, lambda: download(again=False))
    try:
        return _from_folder(folder)
    except WeightsError:  # perhaps the cache is damaged
        return _from_folder(_asking_the_hub(source, lambda: download(again=True)))


def save(card: Card, tensors: Mapping[str, Tensor], folder: Path) -> Card:
    """Write a network's folder, which appears complete or not at all.

    Args:
        card: of the network; hash and size are set here.
        tensors: the state dict; its classifiers are left out.
        folder: which must not exist, or be empty.

    Returns:
        The card as it was written.

    Raises:
        WeightsError: the folder has content.
        CheckpointError: as ``pack``.
        OSError: it cannot be written.
    """
    folder = folder.absolute()
    if folder.is_dir() and any(folder.iterdir()):
        raise WeightsError(f"{folder} is not empty: give another folder")
    temporary = temporary_beside(folder)
    temporary.mkdir(parents=True)
    try:
        path = temporary / WEIGHTS_FILE
        write_weights(path, packed(tensors, card.name), {CARD_KEY: card.to_json()})
        card = replace(card, sha256=sha256(path), size=path.stat().st_size, file=None, links=())
        text = json.dumps(card.to_dict(), indent=2) + "\n"
        (temporary / CARD_FILE).write_text(text, encoding="utf-8")
        (temporary / README).write_text(readme(card), encoding="utf-8")
        if folder.is_dir():  # an empty one, which Windows would not replace
            folder.rmdir()
        os.replace(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return replace(card, file=folder / WEIGHTS_FILE)


def push(folder: Path, repository: str, private: bool = False, token: str | None = None) -> str:
    """Upload a network's folder to the Hugging Face Hub.

    Args:
        folder: that ``save`` wrote.
        repository: ``owner/name``, which is made if it is not there.
        private: whether a new one is for its owner alone.
        token: of the Hub; None takes that of ``hf auth login``.

    Returns:
        The address of the commit.

    Raises:
        WeightsError: the Hub refuses it or cannot be reached.
    """
    from huggingface_hub import HfApi

    _from_folder(folder)  # nothing damaged is uploaded

    def upload() -> str:
        api = HfApi(token=token)
        api.create_repo(repository, private=private, exist_ok=True)
        message = "Upload a network of torchreid-magnifier"
        commit = api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            allow_patterns=[WEIGHTS_FILE, CARD_FILE, README],
            commit_message=message,
        )
        return str(commit.commit_url)

    return _asking_the_hub(HUB + repository, upload)


def _asking_the_hub(source: str, ask: Callable[[], Any]) -> Any:
    """Return what ``ask`` returns; what it raises becomes one line.

    ``huggingface_hub`` raises errors of its own, of its HTTP library and of the file system.
    """
    try:
        return ask()
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise WeightsError(f"{source}: {reason}") from error


# ---------------------------------------------------------------------- the card for readers

_USE = (
    "To find a person again in pictures that are cropped to one person each. It gives distances, "
    "not proofs of who somebody is. The terms of the data that it learned from hold for its use, "
    "too."
)
_LICENCES = ("mit", "apache-2.0", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0", "cc0-1.0")


def readme(card: Card) -> str:
    """Return a card as Markdown, with the metadata that the Hub reads."""
    from huggingface_hub import EvalResult, ModelCardData

    licence = card.licence.lower()
    named = licence in _LICENCES
    results = [
        EvalResult(
            task_type="image-feature-extraction",
            task_name="Person re-identification",
            dataset_type=result.dataset,
            dataset_name=result.dataset,
            metric_type=metric,
            metric_name=metric,
            metric_value=value,
        )
        for result in card.results
        for metric, value in (("rank-1", result.rank1), ("mAP", result.mAP))
    ]
    data = ModelCardData(
        license=licence if named else "other",
        license_name=None if named else card.licence or None,
        library_name="torchreid-magnifier",
        pipeline_tag="image-feature-extraction",
        tags=["person-re-identification", "torchreid", card.model],
        model_name=card.name,
        eval_results=results or None,
    )
    facts = {
        "model": f"`{card.model}`" + (f", {_options(card)}" if card.options else ""),
        "backbone": card.backbone,
        "input": f"{card.height}x{card.width} pixels, {card.channels}, resized {card.resize}, "
        f"mean {_numbers(card.mean)}, deviation {_numbers(card.std)}",
        "output": ""
        if card.embedding_size is None
        else f"{card.embedding_size} numbers, compared by {card.distance} distance",
        "parts": ", ".join(part.replace("_", " ") for part in card.parts),
        "trained on": card.dataset
        + (f", {card.num_classes} identities" if card.num_classes else ""),
        "training started from": card.start,
        "licence": card.licence,
        "SHA-256": f"`{card.sha256}`",
    }
    lines = [
        f"# {card.name}",
        "",
        "A network for person re-identification.",
        "",
        "| | |",
        "|---|---|",
    ]
    lines += [f"| {key} | {value} |" for key, value in facts.items() if value]
    lines += ["", "```python", "from torchreid_magnifier import open_network", ""]
    source = HUB + card.name if "/" in card.name else card.name
    lines += [f'network = open_network("{source}")  # or the path of this folder']
    lines += ["```", ""]
    if card.results:
        lines += ["| tested on | rank-1 | mAP | protocol |", "|---|---|---|---|"]
        lines += [
            f"| {r.dataset} | {r.rank1:.1f} | {r.mAP:.1f} | {r.settings} |" for r in card.results
        ]
        lines += ["", "Percent, measured of this very file.", ""]
    if card.command:
        lines += ["Trained by", "", "```bash", card.command, "```", ""]
    lines += ["## Intended use", "", _USE, ""]
    if card.limits:
        lines += ["## Limits", "", card.limits, ""]
    return f"---\n{data.to_yaml()}\n---\n\n" + "\n".join(lines)


def _options(card: Card) -> str:
    return ", ".join(f"{key} {value}" for key, value in card.options.items())


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
