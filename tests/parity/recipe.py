"""Weights and inputs for the parity test, from names and seeds alone.

``official_128x64.npz`` and ``.json`` hold what MagnifierNet's reference implementation
(https://github.com/NIRVANALAN/magnifiernet_reid, CUHK03-L configuration, 751 identities) gave for
them: outputs in evaluation and training, losses, gradient norms, the names and shapes of its state
dict. No trained weights and no photographs are involved.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parent
ARRAYS = {
    name.removesuffix("_128x64").replace("_128x64_", "_"): torch.from_numpy(array)
    for name, array in np.load(FOLDER / "official_128x64.npz").items()
}
NUMBERS = json.loads((FOLDER / "official_128x64.json").read_text())
NUM_CLASSES = NUMBERS["num_classes"]
PIDS = torch.tensor(NUMBERS["pids"])
ERASED = NUMBERS["erase"]  # the regions that SAB's random draw was fixed to

# Chosen once so that every part is the most likely one somewhere.
_MASK_BIAS = [2.74, -6.68, 6.2, -4.83, -1.87, 0.04, 4.72, -0.55]


def state_dict() -> dict[str, torch.Tensor]:
    """A state dict by the reference's names, filled from them."""
    return {
        name: torch.from_numpy(_fill(name, tuple(shape)))
        for name, shape in NUMBERS["shapes"].items()
    }


def _fill(name: str, shape: tuple[int, ...]) -> np.ndarray:
    leaf = name.rsplit(".", 1)[-1]
    normal = np.random.RandomState(zlib.crc32(name.encode())).randn
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if name == "base.seg_module.conv.bias":
        value = np.array(_MASK_BIAS)
    elif leaf == "running_mean":
        value = 0.1 * normal(*shape)
    elif leaf == "running_var":
        value = 0.8 + 0.4 * np.random.RandomState(zlib.crc32(name.encode())).rand(*shape)
    elif name.startswith("base.part.lstm."):
        value = (1 / 32 if len(shape) == 2 else 0.1) * normal(*shape)
    elif len(shape) == 1 and leaf == "weight":  # of a batch normalisation
        value = (0.3 + 0.03 * normal(*shape)) if ".bn3." in name else 1 + 0.1 * normal(*shape)
    elif len(shape) == 1:
        value = 0.1 * normal(*shape)
    elif name == "base.seg_module.deconv.weight":
        value = np.sqrt(2 / (shape[0] * 9 / 4)) * normal(*shape)
    elif len(shape) == 4:
        value = np.sqrt(2 / np.prod(shape[1:])) * normal(*shape)
    else:
        value = np.sqrt(1 / shape[1]) * 0.5 * normal(*shape)
    return value.astype(np.float32)


def images(seed: int, num_images: int, height: int, width: int) -> torch.Tensor:
    """``(N, 3, H, W)``: a colour an image, blocks of 64 and 16 pixels, noise."""
    normal = np.random.RandomState(seed).randn

    def blocks(size: int) -> np.ndarray:
        coarse = normal(num_images, 3, height // size, width // size)
        return np.kron(coarse, np.ones((1, 1, size, size)))

    pixels = 0.7 * normal(num_images, 3, 1, 1) + blocks(64)
    pixels = pixels + 0.7 * blocks(16) + 0.3 * normal(num_images, 3, height, width)
    return torch.from_numpy(pixels.astype(np.float32))


def labels(seed: int, num_images: int, height: int, width: int) -> torch.Tensor:
    """``(N, H, W)``, 0..7: blocks of 4 pixels, every seventh pixel another label."""
    random = np.random.RandomState(seed)
    coarse = random.randint(0, 8, (num_images, height // 4, width // 4))
    label_map = np.kron(coarse, np.ones((1, 4, 4), np.int64)).astype(np.int64)
    noisy = random.rand(num_images, height, width) < 1 / 7
    label_map[noisy] = random.randint(0, 8, int(noisy.sum()))
    return torch.from_numpy(label_map)


def evaluation_images() -> torch.Tensor:
    return images(*NUMBERS["eval"]["128x64"])


def training_batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Images ``(8, 3, 128, 64)`` and their labels at an eighth of the size."""
    sizes = NUMBERS["train"]["128x64"]
    return images(*sizes["img"]), labels(*sizes["seg"])


def region_features(signed: bool) -> torch.Tensor:
    """``(16, 8, 1024)``, for the SD loss alone."""
    random = np.random.RandomState(42 if signed else 41)
    if signed:
        shared = random.randn(16, 1024)
        regions = [0.3 * shared + random.randn(16, 1024) for _ in range(8)]
    else:
        regions = [np.abs(random.randn(16, 1024)) for _ in range(8)]
    return torch.from_numpy(np.stack(regions, 1).astype(np.float32))


def segmentation() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits ``(4, 8, 48, 24)`` and labels, for the mask loss alone."""
    logits = 2 * np.random.RandomState(43).randn(4, 8, 48, 24)
    return torch.from_numpy(logits.astype(np.float32)), labels(44, 4, 48, 24)


def identification() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits ``(8, 751)`` and features ``(8, 2048)``, for the identity losses alone."""
    random = np.random.RandomState(45)
    logits, features = 3 * random.randn(8, 751), random.randn(8, 2048)
    return torch.from_numpy(logits.astype(np.float32)), torch.from_numpy(
        features.astype(np.float32)
    )
