"""The smallest data that a training takes."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_noise(root: Path) -> None:
    """Write noise in Market-1501's layout with masks: 4 identities to train on, 2 to search for."""
    images = root / "market1501" / "Market-1501-v15.09.15"
    generator = np.random.default_rng(0)
    for folder, pids, cameras in (
        ("bounding_box_train", (1, 2, 3, 4), (1, 2, 3, 4)),
        ("query", (5, 6), (1,)),
        ("bounding_box_test", (5, 6), (2, 3)),
    ):
        for pid in pids:
            colour = generator.integers(0, 255, 3)
            for camera in cameras:
                name = f"{folder}/{pid:04d}_c{camera}s1_{camera:06d}_00"
                noise = generator.integers(0, 60, (64, 32, 3)) + colour
                masks = images.with_name(images.name + "_ps_label")
                for path, pixels in (
                    (images / f"{name}.jpg", noise.clip(0, 255)),
                    (masks / f"{name}.png", generator.integers(0, 8, (64, 32))),
                ):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(pixels.astype(np.uint8)).save(path)
