"""A network that another learns from: opened, and its embeddings of the training images."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from tqdm import tqdm
from yacs.config import CfgNode

from ..checkpoint import CheckpointError, read_checkpoint, restore
from ..errors import needing
from ..files import replacing, sha256
from ..hub.card import IMAGENET_MEAN, IMAGENET_STD
from ..hub.repository import locate
from ..images import open_image
from ..models import build
from .config import ConfigError

# What a file's network takes of the colours: red, green, blue as torchreid normalises them; 0..255.
INPUTS = ("normalised", "rgb", "bgr")
_FILES = (".xml", ".onnx")
_BATCH = 32


class Teacher(NamedTuple):
    """A network that gives embeddings.

    Attributes:
        name: of its file.
        key: changes with everything that its embeddings depend on, besides the images.
        height, width: of the images that it takes.
        embed: from images (N, 3, height, width) in RGB, float32 0..255, to embeddings (N, T).
        size: T.
    """

    name: str
    key: str
    height: int
    width: int
    embed: Callable[[Tensor], Tensor]
    size: int


def open_teacher(cfg: CfgNode) -> Teacher:
    """Open the network of the section ``teacher`` and try it on an empty picture.

    Raises:
        ConfigError: there is none, or none that can be used; a package is missing.
    """
    given = cfg.teacher
    if given.input not in INPUTS:
        raise ConfigError(f"teacher.input: expected {', '.join(INPUTS)}, found {given.input!r}")
    if min(given.cosine, given.similarity) < 0 or not (given.cosine or given.similarity):
        raise ConfigError(
            f"teacher.cosine and teacher.similarity are {given.cosine:g} and {given.similarity:g}: "
            "neither may be negative, and without both nothing is learnt of the teacher"
        )
    try:
        return _open(given.weights, given.input, cfg.data.height, cfg.data.width)
    except ConfigError:
        raise
    except Exception as error:  # the runtimes' errors are of many kinds
        raise ConfigError(f"teacher.weights: cannot use {given.weights}: {error}") from error


@lru_cache(maxsize=1)  # the check of a configuration opens it, and so does the run
def _open(weights: str, given: str, height: int, width: int) -> Teacher:
    path = Path(weights).expanduser()
    if path.suffix in _FILES:
        if not path.is_file():
            raise ConfigError(f"teacher.weights: there is no file {weights}")
        run, shape, file = open_file(path)
        if len(shape) != 4 or shape[0] not in (None, 1) or shape[1] != 3:
            shown = " x ".join("?" if size is None else str(size) for size in shape)
            raise ConfigError(
                f"teacher.weights: {weights} takes {shown}: expected a network of one input, "
                "images 1 x 3 x height x width"
            )
        height, width = shape[2] or height, shape[3] or width
        prepare = _prepared(given, IMAGENET_MEAN, IMAGENET_STD)

        def embed(images: Tensor) -> Tensor:
            rows = [run(image.numpy()) for image in prepare(images)[:, None]]
            return torch.from_numpy(np.stack(rows)).float()

    else:
        if given != INPUTS[0]:
            raise ConfigError(f"teacher.input {given} is for .xml and .onnx: leave it out")
        card, file = locate(weights)
        if card is None:
            raise ConfigError(
                f"teacher.weights: nothing says what {weights} was trained with: take a name of "
                "'torchreid-magnifier weights list', or a file of 'weights pack'"
            )
        model = build(card.model, 1, "triplet", **card.options).eval()
        restore(model, file)
        fast = model.optimize_for_inference()
        height, width = card.height, card.width
        prepare = _prepared(given, card.mean, card.std)

        def embed(images: Tensor) -> Tensor:
            with torch.inference_mode():
                return fast(prepare(images)).float()

    tried = embed(torch.zeros(1, 3, height, width))
    if not tried.isfinite().all() or tried.shape[1] < 2:
        raise ConfigError(
            f"teacher.weights: {weights} gives {tuple(tried.shape)} numbers of an image"
            f"{'' if tried.isfinite().all() else ', not all finite'}: expected an embedding"
        )
    key = json.dumps([sha256(file), given, height, width])
    return Teacher(path.name, key, height, width, embed, tried.shape[1])


def open_file(
    path: Path,
) -> tuple[Callable[[np.ndarray], np.ndarray], list[int | None], Path]:
    """Open a network of ONNX or OpenVINO, for the CPU.

    Returns:
        A function from an image (1, 3, H, W), float32, to its embedding (T,); the shape of what it
        takes, None where that is free, empty unless it is one array of floats; and the file of the
        weights.

    Raises:
        ConfigError: its runtime is not installed.
        Exception: as the runtime, of a file that it cannot read.
    """
    if path.suffix == ".onnx":
        with needing(f"teacher.weights: {path} needs onnxruntime", "teacher", ConfigError):
            import onnxruntime
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        first, *others = session.get_inputs()
        known = not others and first.type == "tensor(float)"
        shape = [size if isinstance(size, int) else None for size in first.shape if known]
        return lambda image: np.ravel(session.run(None, {first.name: image})[0]), shape, path
    with needing(f"teacher.weights: {path} needs openvino", "teacher", ConfigError):
        import openvino
    network: Any = openvino.Core().compile_model(path, "CPU")
    sizes = network.inputs[0].partial_shape if len(network.inputs) == 1 else ()
    shape = [None if size.is_dynamic else size.get_length() for size in sizes]
    weights = path.with_suffix(".bin")  # the .xml is the same with any weights
    return lambda image: network(image)[0].ravel(), shape, weights if weights.is_file() else path


def _prepared(
    given: str, mean: Sequence[float], std: Sequence[float]
) -> Callable[[Tensor], Tensor]:
    shift, scale = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))
    return {
        "normalised": lambda images: (images / 255 - shift) / scale,
        "rgb": lambda images: images,
        "bgr": lambda images: images.flip(1),
    }[given]


class Targets:
    """A teacher's embeddings of images, computed once; calling it looks them up.

    Each is the mean direction of the image's and of its mirror image's. They are kept in torch's
    folder (``TORCH_HOME``), by the teacher and by the images' names and sizes.

    Args:
        teacher: from ``open_teacher``.
        paths: of the images.

    Raises:
        ImageError: an image cannot be read.
        ConfigError: an embedding is not finite.
    """

    def __init__(self, teacher: Teacher, paths: Sequence[str]) -> None:
        self._rows = {path: row for row, path in enumerate(paths)}
        names = [("/".join(Path(path).parts[-2:]), os.stat(path).st_size) for path in paths]
        digest = hashlib.sha256(json.dumps([teacher.key, names]).encode()).hexdigest()[:16]
        folder = Path(torch.hub.get_dir(), "checkpoints", "torchreid_magnifier")
        cache = folder / f"teacher-{digest}.pt"
        try:
            self._embeddings = read_checkpoint(cache)["embeddings"]
            return
        except (CheckpointError, KeyError):  # none; or cut short
            pass
        self._embeddings = _embeddings(teacher, paths)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with replacing(cache) as temporary:
                torch.save({"embeddings": self._embeddings}, temporary)
        except OSError as error:
            print(f"The teacher's embeddings are not kept, for the next run: {error}")

    def __call__(self, paths: Sequence[str]) -> Tensor:
        """Return the embeddings ``(N, T)``, of length 1."""
        return self._embeddings[[self._rows[path] for path in paths]]


def _embeddings(teacher: Teacher, paths: Sequence[str]) -> Tensor:
    found = []
    size, bilinear = (teacher.width, teacher.height), Image.Resampling.BILINEAR
    with tqdm(total=len(paths), desc=f"teacher {teacher.name}", unit="image", disable=None) as bar:
        for start in range(0, len(paths), _BATCH):
            opened = (open_image(path) for path in paths[start : start + _BATCH])
            images: Any = np.stack([np.asarray(image.resize(size, bilinear)) for image in opened])
            batch = torch.from_numpy(images).permute(0, 3, 1, 2).float()
            views = [F.normalize(teacher.embed(view), dim=1) for view in (batch, batch.flip(3))]
            found.append(F.normalize(views[0] + views[1], dim=1))
            bar.update(len(images))
    embeddings = torch.cat(found)
    if not embeddings.isfinite().all():
        raise ConfigError(f"teacher.weights: {teacher.name} gives embeddings that are not finite")
    return embeddings
