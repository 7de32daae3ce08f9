"""The smallest data that a training takes, and a configuration of such a training."""

from pathlib import Path

import numpy as np
import yaml
from PIL import Image

RUN = {
    "model": {"pretrained": False},
    "data": {"height": 64, "width": 32, "workers": 0},
    "sampler": {"train_sampler": "RandomIdentitySampler"},
    "train": {"max_epoch": 1, "batch_size": 16, "stepsize": [10]},
    "loss": {"name": "triplet", "triplet": {"weight_x": 1.0}},
    "test": {"ranks": [1]},
}
SLIM = {"name": "magnifiernet_r18_g", "options": {"backbone": "slim"}}  # a small network


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


def write_config(path: Path, **changes: dict) -> Path:
    """Write ``RUN`` on the CPU with changes ``section={key: value}``; returns the path."""
    tree = {section: RUN.get(section, {}) | changes.get(section, {}) for section in RUN | changes}
    path.write_text(yaml.safe_dump(tree | {"use_gpu": False}))
    return path
