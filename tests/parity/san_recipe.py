"""Weights and inputs for SAN's parity test, from names and seeds alone.

``san_256x128.npz`` and ``.json`` hold what SAN's reference implementation
(https://github.com/microsoft/Semantics-Aligned-Representation-Learning-for-Person-Re-identification,
767 identities) gave for them in float64: outputs in evaluation and training, losses, gradients,
batch statistics, three steps of its optimizers, the names and shapes of its two state dicts. The
gradients of each step were all taken at the weights before it (see ``optim.SANAdam``). No trained
weights and no photographs are involved.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import torch

from .recipe import images

FOLDER = Path(__file__).parent
ARRAYS = {name: torch.from_numpy(a) for name, a in np.load(FOLDER / "san_256x128.npz").items()}
NUMBERS = json.loads((FOLDER / "san_256x128.json").read_text())
NUM_CLASSES = NUMBERS["num_classes"]
PIDS = torch.tensor(NUMBERS["pids"])
OWN = 0.6  # share of an image's own pattern, beside that of its identity

# Convolutions that no normalisation follows: smaller, so that the maps stay of the size of one.
_GAINS = {
    "decoder.up1.conv.2.weight": 0.7,
    "decoder.up2.conv.2.weight": 0.8,
    "decoder.up3.conv.2.weight": 0.75,
    "decoder.up4.conv.2.weight": 0.8,
    "decoder.final_layer.1.weight": 0.4,
}


def checkpoint(num_classes: int = NUM_CLASSES) -> dict[str, dict[str, torch.Tensor]]:
    """As the reference saves it: encoder and decoder by their own names, filled from them."""
    parts: dict[str, dict[str, torch.Tensor]] = {"encoder": {}, "decoder": {}}
    for name, shape in NUMBERS["shapes"].items():
        part, own = name.split(".", 1)
        if own.startswith("classifier."):
            shape = [num_classes, *shape[1:]]
        parts[part][own] = torch.from_numpy(_fill(name, tuple(shape)))
    return {"state_dict": parts["encoder"], "decoder_state_dict": parts["decoder"]}


def _fill(name: str, shape: tuple[int, ...]) -> np.ndarray:
    leaf = name.rsplit(".", 1)[-1]
    random = np.random.RandomState(zlib.crc32(name.encode()))
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if leaf == "running_var":
        value = 0.8 + 0.4 * random.rand(*shape)
    elif len(shape) == 4:
        value = _GAINS.get(name, 1.0) * np.sqrt(2 / np.prod(shape[1:])) * random.randn(*shape)
    elif len(shape) == 2:
        value = np.sqrt(1 / shape[1]) * 0.5 * random.randn(*shape)
    elif leaf == "weight":  # of a batch normalisation; the last of a residual block is small
        last = ".bn3." in name or ".res.res.4." in name
        value = 0.3 + 0.03 * random.randn(*shape) if last else 1 + 0.1 * random.randn(*shape)
    else:
        value = 0.1 * random.randn(*shape)
    return value.astype(np.float32)


def evaluation_images() -> torch.Tensor:
    """``(2, 3, 256, 128)``."""
    return images(*NUMBERS["eval"])


def training_images() -> torch.Tensor:
    """``(8, 3, 256, 128)``: two identities of four images each, which have a pattern in common."""
    seed, identities, instances, height, width = NUMBERS["train"]["img"]
    common = images(seed, identities, height, width).numpy().repeat(instances, 0)
    own = images(seed + 1000, identities * instances, height, width).numpy()
    mixed = (common + OWN * own) / np.sqrt(1 + OWN * OWN)
    return torch.from_numpy(mixed.astype(np.float32))


def training_textures() -> torch.Tensor:
    """``(8, 3, 256, 256)`` in (-1, 1): blocks of 32 and 8 pixels, noise."""
    seed, num_images, height, width = NUMBERS["train"]["tex"]
    normal = np.random.RandomState(seed).randn

    def blocks(size: int) -> np.ndarray:
        coarse = normal(num_images, 3, height // size, width // size)
        return np.kron(coarse, np.ones((1, 1, size, size)))

    pixels = blocks(32) + 0.5 * blocks(8)
    pixels = np.tanh(0.7 * (pixels + 0.2 * normal(num_images, 3, height, width)))
    return torch.from_numpy(pixels.astype(np.float32))
