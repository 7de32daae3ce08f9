"""Networks ready for use: a trained model together with what its images need."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import Compose, Normalize, Resize, ToTensor

from ..checkpoint import require_plain_data, restore
from ..files import sha256
from ..hub import DEFAULT
from ..hub.card import IMAGENET_MEAN, IMAGENET_STD, Card, WeightsError
from ..hub.repository import locate, push, save
from ..models import ReIDModel, build, list_models
from ..models.wrapped import WrappedModel
from ..parts import PARTS
from ..registry import build_model, model_names
from .frames import BoxEmbeddings, embed_boxes

EXPORTED = (".onnx", ".xml")
"""Endings of exported files that are opened as networks."""


@dataclass(frozen=True)
class Preprocessing:
    """From a picture to a network's input, as torchreid's data manager does it for tests.

    Attributes:
        height, width: in pixels.
        mean, std: of the channels red, green and blue, for values 0..1.
    """

    height: int
    width: int
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __call__(self, image: Image.Image) -> Tensor:
        """Return a picture as ``(3, height, width)``, normalised."""
        steps = Compose(
            [
                Resize((self.height, self.width)),
                ToTensor(),
                Normalize(mean=self.mean, std=self.std),
            ]
        )
        tensor: Tensor = steps(image.convert("RGB"))
        return tensor


@dataclass(frozen=True)
class Network:
    """A trained model, in evaluation mode, and the record of what it is.

    Attributes:
        model: on the device that was asked for.
        card: whose ``name`` is the source of the weights, as it was given.
    """

    model: ReIDModel
    card: Card

    @property
    def preprocessing(self) -> Preprocessing:
        """Return what its images need."""
        return Preprocessing(self.card.height, self.card.width, self.card.mean, self.card.std)

    @property
    def device(self) -> torch.device:
        """Return the device of the model."""
        return next(self.model.parameters()).device

    def embed(
        self,
        frame: np.ndarray,
        boxes: Any,
        *,
        order: Literal["bgr", "rgb"],
        empty: Literal["nan", "error"] = "nan",
        batch_size: int = 64,
    ) -> BoxEmbeddings:
        """Embed the people in a frame.

        Args:
            frame: uint8 (H, W, 3).
            boxes: corners x1, y1, x2, y2 of N people in pixels, (N, 4), or
                ``supervision.Detections``; N may be 0. What lies beyond the frame is cut off.
            order: of the frame's channels: ``bgr`` of OpenCV, ``rgb`` of Pillow and most others.
            empty: what boxes without a pixel in the frame give: ``nan`` or an ``error``.
            batch_size: people that the network sees at once.

        Returns:
            ``vectors`` (N, D) of length 1, ``visibility`` (N, K) or None, and which are ``empty``.

        Raises:
            BoxError: a frame of another kind, or boxes that cannot be meant.
            RetrievalError: the network gives values that are not finite.
        """
        size, card = (self.card.height, self.card.width), self.card
        return embed_boxes(
            self._fast, size, card.mean, card.std, frame, boxes, order, empty, batch_size
        )

    @cached_property
    def _fast(self) -> ReIDModel:
        return self.model.optimize_for_inference()

    def save_pretrained(self, folder: str | os.PathLike[str], **facts: Any) -> Card:
        """Write the network as a folder that ``open_network`` opens, here or from the Hub.

        Args:
            folder: which must not exist, or be empty: ``model.safetensors``, ``config.json`` (the
                card) and ``README.md`` are written.
            facts: of the card, by its attributes: ``name``, ``licence``, ``results``, …

        Returns:
            The card as it was written.

        Raises:
            WeightsError: the folder has content.
            OSError: it cannot be written.
        """
        from .. import __version__

        folder = Path(folder)
        facts = {"name": folder.absolute().name, "version": __version__, **facts}
        return save(replace(self.card, **facts), _weights_of(self.model).state_dict(), folder)

    def push_to_hub(
        self, repository: str, private: bool = False, token: str | None = None, **facts: Any
    ) -> str:
        """Upload the network to the Hugging Face Hub, for ``open_network("hf://owner/name")``.

        Args:
            repository: ``owner/name``, which is made if it is not there.
            private: whether a new one is for its owner alone.
            token: of the Hub; None takes that of ``hf auth login``.
            facts: as for ``save_pretrained``.

        Returns:
            The address of the commit.

        Raises:
            WeightsError: the Hub refuses it or cannot be reached.
        """
        with tempfile.TemporaryDirectory() as work:
            folder = Path(work, repository.rpartition("/")[2])
            self.save_pretrained(folder, **{"name": repository, **facts})
            return push(folder, repository, private, token)


def open_network(
    source: str | os.PathLike[str] = DEFAULT,
    model: str | None = None,
    height: int | None = None,
    width: int | None = None,
    device: str | torch.device = "cpu",
) -> Network:
    """Open a trained network, whose card says how it is built and what its images need.

    Manifests, folders, repositories of the Hub and packed ``.safetensors`` files have a card. Of a
    checkpoint ``<folder>/model/model.pth.tar-60`` it is made of ``<folder>/config.yaml``, which
    ``torchreid-magnifier train`` writes; without that file model and size must be given.

    Args:
        source: a name in a manifest, or of torchreid's zoo; the path of a checkpoint, a safetensors
            file, a network's folder, or an exported ``.onnx`` or ``.xml`` file, which its own
            runtime computes; ``hf://owner/name`` or ``hf://owner/name@revision``; or
            ``https://…#sha256=…``, the link of a file with its hash. The default comes with the
            package.
        model: the model that a file without a card is of, such as ``magnifiernet_r18`` or
            torchreid's ``osnet_x0_25``.
        height, width: of the images that such a file was trained on, in pixels.
        device: for the model.

    Raises:
        WeightsError: if there is no such source, or it cannot be fetched; if model or size are
            said by nothing, or contradict the card; if there is no such model.
        CheckpointError: if the file cannot be read, or is of another model.
        ExportError: if an exported file cannot be read, or its runtime is not installed.
    """
    source = os.fspath(source)
    card: Card | None
    exported: ReIDModel | None = None
    path = Path(source).expanduser()
    if path.suffix in EXPORTED and path.is_file():
        from .export.running import open_exported

        card, exported = open_exported(path)
    else:
        card, path = locate(source)
    given = {"model": model, "height": height, "width": width}
    if card is None:
        if missing := [key for key, value in given.items() if value is None]:
            raise WeightsError(
                f"nothing says what {source} was trained with (it has no card, and there is no "
                f"config.yaml of its training): give {', '.join(missing)}"
            )
        card = Card(source, **given)  # type: ignore[arg-type]  # none of them is None
    for key, value in given.items():
        if value not in (None, getattr(card, key)):
            raise WeightsError(
                f"{source} is for {key} {getattr(card, key)} by its card, which {key} {value} "
                "contradicts: leave it out"
            )
    if exported is not None and torch.device(device).type != "cpu":
        raise WeightsError(f"{source} runs on the CPU alone, not on {device}: leave the device out")
    network = _loaded(card, source, path) if exported is None else exported
    network.trained_size = (card.height, card.width)
    card = replace(
        card,
        name=source,
        sha256=card.sha256 or sha256(path),
        size=path.stat().st_size,
        embedding_size=network.embedding_size,
        parts=PARTS if network.has_parts else (),
    )
    return Network(network.eval().to(device), card)


def short_name(source: str) -> str:
    """Return what to call a network: of ``<run>/model/model.pth.tar-60`` its run and epoch."""
    path = Path(source)
    if path.parent.name == "model":
        return f"{path.absolute().parent.parent.name}, epoch {path.name.rpartition('-')[2]}"
    return path.name


def named(weights: Sequence[str], names: Sequence[str] | None, most: int) -> dict[str, str]:
    """Return the weights of networks by what they are called: given names, or ``short_name``.

    Raises:
        WeightsError: more than ``most``, names that are not as many, or two that are the same.
    """
    if len(weights) > most:
        raise WeightsError(
            f"--weights: expected at most {most} networks, found {len(weights)}: "
            f"{' '.join(weights)}"
        )
    names = names or [short_name(one) for one in weights]
    if len(names) != len(weights):
        raise WeightsError(
            f"--names: expected one for each of the {len(weights)} networks, found {names}"
        )
    if len(set(names)) < len(names):
        raise WeightsError(
            f"two networks would both be called {max(names, key=names.count)!r}: give --names"
        )
    return dict(zip(names, weights))


def _loaded(card: Card, source: str, path: Path) -> ReIDModel:
    """Build the model of a card and load a file into it."""
    try:
        if card.model in list_models() or card.model not in model_names():
            model = build(card.model, num_classes=1, loss="triplet", **card.options)
        else:
            require_plain_data(path)
            bare = build_model(card.model, 1, "softmax", False, False, card.options).eval()
            model = WrappedModel(bare, (card.height, card.width))
    except ValueError as error:  # no such model, or option, or size
        raise WeightsError(f"{source}: {error}") from error
    restore(_weights_of(model), path)
    return model


def _weights_of(model: ReIDModel) -> torch.nn.Module:
    """The module whose weights a file has."""
    return model.network if isinstance(model, WrappedModel) else model
