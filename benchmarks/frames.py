"""Frames a second at 20 people: ``network.embed``, a loop over crops, and the ``reid`` package.

    pip install reid  # compared if it is there
    python benchmarks/frames.py [--model magnifiernet_osnet_x0_25] [--device cpu] [--people 20]

All have the same network of random weights. ``reid`` takes any module, crops with Pillow one after
the other, and feeds them as one batch. The times are processor seconds on the CPU with one thread,
the clock's on a GPU.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from measuring.machine import describe
from PIL import Image
from torch import Tensor

from torchreid_magnifier.hub.card import Card
from torchreid_magnifier.inference.open import Network
from torchreid_magnifier.models import build

REPEATS = 7


def scene(people: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a smooth frame of 1920x1080 and boxes of people, 120 to 420 pixels tall."""
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (108, 192, 3)).astype(np.uint8)
    frame = np.array(Image.fromarray(noise).resize((1920, 1080), Image.Resampling.BICUBIC))
    tall = generator.integers(120, 420, people)
    left, top = generator.integers(0, 1700, people), generator.integers(0, 660, people)
    return frame, np.stack([left, top, left + tall * 2 // 5, top + tall], 1)


@torch.inference_mode()
def crop_by_crop(network: Network, frame: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Embed as a loop without batches does it."""
    found: list[Tensor] = []
    for left, top, right, bottom in boxes:
        crop = Image.fromarray(frame[top:bottom, left:right, ::-1])
        image = network.preprocessing(crop)[None].to(network.device)
        found.append(F.normalize(network.model(image), dim=1))
    return torch.cat(found).cpu().numpy()


def contestants(
    network: Network, frame: np.ndarray, boxes: np.ndarray
) -> dict[str, Callable[[], np.ndarray]]:
    """Return what embeds the boxes of a BGR frame, by name."""
    found: dict[str, Callable[[], np.ndarray]] = {
        "network.embed": lambda: network.embed(frame, boxes, order="bgr").vectors,
        "loop over crops": lambda: crop_by_crop(network, frame, boxes),
    }
    try:
        import reid
        import supervision
        from reid.preprocessing import ReIDPreprocessing
    except ImportError:
        return found
    size = network.preprocessing.height, network.preprocessing.width
    mean, std = network.preprocessing.mean, network.preprocessing.std
    prepared = ReIDPreprocessing(input_size=size, mean=mean, std=std)
    other = reid.ReIDModel(network.model, network.device, prepared)
    detections = supervision.Detections(xyxy=boxes.astype(np.float32))

    def by_reid() -> np.ndarray:
        vectors = other.extract_embeddings(detections, frame)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    return {**found, "reid": by_reid}


def measure(call: Callable[[], np.ndarray], clock: Callable[[], float]) -> float:
    """Return seconds: the median of some runs after one more."""
    call()
    times = []
    for _ in range(REPEATS):
        start = clock()
        call()
        times.append(clock() - start)
    return statistics.median(times)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="magnifiernet_osnet_x0_25")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--people", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = build(args.model, num_classes=1, loss="triplet").eval().to(args.device)
    network = Network(model, Card("made", args.model, 256, 128))
    frame, boxes = scene(args.people)
    clock = time.process_time if args.device == "cpu" else time.perf_counter
    print(describe("cpu" if args.device == "cpu" else "cuda"))
    print(
        "| | frames a second | against the loop | cosine with the loop, least |\n|---|---|---|---|"
    )
    calls = contestants(network, frame, boxes)
    expected = calls["loop over crops"]()
    seconds = {name: measure(call, clock) for name, call in calls.items()}
    for name, call in calls.items():
        least = (call() * expected).sum(1).min()
        factor = seconds["loop over crops"] / seconds[name]
        print(f"| {name} | {1 / seconds[name]:.2f} | {factor:.2f} | {least:.5f} |")


if __name__ == "__main__":
    main()
