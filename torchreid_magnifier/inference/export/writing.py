"""From a network to a checked file, and back to the file's card."""

import copy
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from ...errors import MagnifierError
from ...hub.card import Card
from ...images import open_image
from ..explain.rankings import EvaluationSet
from ..open import Network, Preprocessing
from . import onnx_file, openvino_file, pt2_file
from .agreement import Agreement, agree
from .parity import Parity, compare, pedestrians
from .program import trace
from .settings import Contents, ExportError, ParityError, Settings

FORMATS: dict[str, ModuleType] = {
    form.SUFFIX: form for form in (onnx_file, openvino_file, pt2_file)
}
OLDEST_TORCH = "2.9"  # the first whose ONNX files are made from torch.export unless asked otherwise
CALIBRATION_BATCHES = (8,) * 8  # drawn people, where no pictures are given
FLOAT32 = Settings()
_BATCH = 8  # calibration pictures at once
_MOST = 512  # calibration pictures


@dataclass(frozen=True)
class Export:
    """A file that was written.

    Attributes:
        path: of the file.
        size: in bytes, weights that lie beside it included.
        card: of the network, which the file carries.
        parity: between the float32 file and the network, on drawn people; None of other precisions.
        agreement: between the file and the network, on the pictures that were given, or drawn ones.
        settings: of the file.
    """

    path: Path
    size: int
    card: Card
    parity: Parity | None
    agreement: Agreement
    settings: Settings

    def __str__(self) -> str:
        card, parity, agreement = self.card, self.parity, self.agreement
        outputs = f"embedding (N, {card.embedding_size})"
        if card.parts:
            outputs += f", labels (N, h, w), visibility (N, {len(card.parts)})"
        given = f"images (N, 3, {card.height}, {card.width})"
        if self.settings.pictures:
            given = "pictures (N, h, w, 3) uint8"
        size = f"{self.size / 1e6:.1f} MB"
        text = f"Wrote {self.path}: {card.model}, {self.settings.precision}, {size}\n"
        text += f"  {given} -> {outputs}\n"
        if parity:
            text += (
                f"  checked on {parity.images} drawn people: embeddings differ from the network's "
                f"by {parity.deviation:.1g} of the largest value\n"
            )
            if parity.other_labels:
                text += (
                    f"  {parity.other_labels} of {parity.labels} part labels differ, where two "
                    f"parts are equal up to rounding, in {parity.other_images} images, left out of "
                    "that comparison\n"
                )
        text += (
            f"  on {agreement.pictures} pictures: cosine to the network's embeddings "
            f"{agreement.cosine:.5f}, lowest {agreement.lowest:.5f}"
        )
        if agreement.labels is not None:
            text += f", {agreement.labels:.2%} of part labels equal"
        if agreement.before and agreement.after:
            before, after = (
                f"{found.cmc[1]:.1f}, mAP {found.mAP:.1f}"
                for found in (agreement.before, agreement.after)
            )
            text += f"\n  rank-1 {after}; the network itself {before}"
        return text


def check_target(path: str | os.PathLike[str], settings: Settings = FLOAT32) -> None:
    """Check that a file can be written at ``path``, before anything takes time.

    Raises:
        ExportError: for another suffix than those of ``FORMATS``, settings that the format cannot
            have, if the file exists or its folder does not, or if something is not installed.
    """
    path = Path(path)
    form = format_of(path)
    if torch.__version__ < OLDEST_TORCH:
        raise ExportError(f"export needs torch {OLDEST_TORCH} or newer, found {torch.__version__}")
    for target in _files(path):
        if target.exists():
            raise ExportError(f"{target} exists already: give another name")
    if not path.parent.is_dir():
        raise ExportError(f"there is no folder {path.parent} to write {path.name} into")
    form.require(settings)


def export_network(
    network: Network,
    path: str | os.PathLike[str],
    settings: Settings = FLOAT32,
    calibration: Sequence[str] = (),
    pictures: Sequence[str] = (),
    dataset: EvaluationSet | None = None,
    *,
    bar: bool = False,
) -> Export:
    """Write a network as one file, after checking that the file answers as the network does.

    The file takes ``images`` ``(N, 3, height, width)``, float32, for any N from 1, or with
    ``settings.pictures`` ``pictures`` ``(N, h, w, 3)``, uint8. It gives ``embedding`` ``(N, D)``,
    float32; of a network with body parts also ``labels`` ``(N, h, w)``, int64, the part of each
    cell, and ``visibility`` ``(N, K)``, float32, the parts' shares.

    Args:
        network: it stays as it is; the file is made and checked on the CPU.
        path: new file: ``.onnx``; ``.xml`` of OpenVINO, with a ``.bin`` beside it; or ``.pt2`` (a
            program of ``torch.export``).
        settings: of the file.
        calibration: paths of pictures that int8 is calibrated by; drawn people without any.
        pictures: paths of those that file and network are compared on; drawn people without any.
        dataset: whose queries and gallery they are compared on instead, accuracy included.
        bar: show how far the comparison is.

    Raises:
        ParityError: the network cannot be exported or run, or the exported one differs from it by
            more than its precision explains, or loses more than 1 of mAP; nothing is written then.
        ImageError: a picture cannot be read.
        ExportError, OSError: as ``check_target``.
    """
    path = Path(path)
    check_target(path, settings)
    if Path(network.card.name).suffix in FORMATS:
        raise ExportError(f"{network.card.name} is an exported file: give what it was made of")
    for picture in pictures:
        open_image(picture)  # one that cannot be read is an error before anything takes time
    form, card = format_of(path), card_for(network, settings)
    model = copy.deepcopy(network.model).cpu()
    model.precision = "float32"  # whatever it was trained in
    given = dataset.paths if dataset else pictures
    images: Iterator[Tensor] = (
        _batches(network.preprocessing, given) if given else pedestrians(network.preprocessing)
    )
    ranges = []
    if settings.precision == "int8":
        ranges = list(
            _batches(network.preprocessing, calibration[:: -(-len(calibration) // _MOST)])
            if calibration
            else pedestrians(network.preprocessing, CALIBRATION_BATCHES, first=1000)
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, about its own workings
            program = trace(model, card.height, card.width)
            contents = form.contents(program, card, settings, ranges)
        run = form.runner(contents, card)
        parity = None
        if settings.precision == "float32":
            parity = compare(model, run, pedestrians(network.preprocessing))
            parity.require()
    except (MagnifierError, OSError, MemoryError):
        raise
    except Exception as error:  # each part of torch and the runtimes has its own kinds
        raise ParityError(
            f"{card.model} cannot be exported to {path.name} or not be run from it, with torch "
            f"{torch.__version__} ({type(error).__name__}: {str(error).strip()})"
        ) from error
    agreement = agree(model, run, images, dataset, len(given), bar)
    agreement.require(settings.precision)
    _write(path, contents)
    return Export(path, sum(map(len, contents.values())), card, parity, agreement, settings)


def card_for(network: Network, settings: Settings = FLOAT32) -> Card:
    """Return a network's card without the folders of the machine that exports it."""
    from ... import __version__

    return replace(
        network.card,
        name=Path(network.card.name).name,
        version=__version__,
        size=None,
        quantised="int8" if settings.precision == "int8" else "",
    )


def read_card(path: str | os.PathLike[str]) -> Card:
    """Read the card of an exported file.

    Raises:
        ExportError: the file was not made by ``export_network``, or cannot be read.
    """
    path = Path(path)
    form = format_of(path)
    try:
        return Card.from_json(form.read_card(read_contents(path)))
    except ExportError:
        raise
    except FileNotFoundError as error:
        raise ExportError(f"{error.filename}: {error.strerror}") from error
    except Exception as error:  # of the runtimes, zip files, JSON, …: all end the same way
        raise ExportError(
            f"{path} was not written by torchreid-magnifier export ({type(error).__name__}: "
            f"{error})"
        ) from error


def read_contents(path: Path) -> Contents:
    """Return what an exported file consists of.

    Raises:
        OSError: a file of it cannot be read.
    """
    return {target.suffix: target.read_bytes() for target in _files(path)}


def format_of(path: Path) -> ModuleType:
    """Return the module of a file's format, by its suffix.

    Raises:
        ExportError: there is none.
    """
    if path.suffix not in FORMATS:
        raise ExportError(f"expected a name that ends in {', '.join(FORMATS)}, got {path.name!r}")
    return FORMATS[path.suffix]


def _files(path: Path) -> list[Path]:
    """The files of an export; that of the network is the last."""
    if path.suffix == openvino_file.SUFFIX:
        return [path.with_suffix(openvino_file.WEIGHTS), path]
    return [path]


def _write(path: Path, contents: Contents) -> None:
    """Put the files in place; where one cannot be written, none is left."""
    with tempfile.TemporaryDirectory(dir=path.absolute().parent, prefix=".export-") as folder:
        for target in _files(path):
            Path(folder, target.name).write_bytes(contents[target.suffix])
        done: list[Path] = []
        try:
            for target in _files(path):
                os.replace(Path(folder, target.name), target)
                done.append(target)
        except BaseException:
            for target in done:
                target.unlink()
            raise


def _batches(preprocessing: Preprocessing, paths: Sequence[str]) -> Iterator[Tensor]:
    for start in range(0, len(paths), _BATCH):
        yield torch.stack([preprocessing(open_image(p)) for p in paths[start : start + _BATCH]])
