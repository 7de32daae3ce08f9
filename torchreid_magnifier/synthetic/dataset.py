"""The synthetic pedestrians as torchreid datasets."""

import os
from typing import Any

from ..data.datasets import ImageDataset
from .generate import generate, generate_textures
from .plan import Entry


class SyntheticPedestrians(ImageDataset):
    """Drawn people with exact part labels; made on first use, nothing is downloaded.

    48 identities to train on (480 images), 40 others to test (200 queries, of which 80 are heavily
    occluded, 280 gallery images and 40 distractors), 5 cameras, images of 128 x 64 pixels.

    Args:
        root: folder that holds, or will hold, ``synthetic_pedestrians/``.
        **kwargs: as for every torchreid dataset.

    Raises:
        OSError: the disk is full, or the folder holds something else.
    """

    _junk_pids = [0, -1]
    occluded_only = False  # of the queries
    dataset_dir = "synthetic_pedestrians"

    def __init__(self, root: str = "", **kwargs: Any) -> None:
        self.root = os.path.abspath(os.path.expanduser(root))
        self.dataset_dir = os.path.join(self.root, self.dataset_dir)
        entries = generate(self.dataset_dir)
        queries = [e for e in entries if e.subset == "query"]
        super().__init__(
            [self._sample(e, e.pid - 1) for e in entries if e.subset == "train"],
            [self._sample(e, e.pid) for e in queries if e.occluded or not self.occluded_only],
            [self._sample(e, e.pid) for e in entries if e.subset == "gallery"],
            **kwargs,
        )

    def make_textures(self) -> None:
        """Draw everybody's texture, once: what ``with_textures`` asks for."""
        generate_textures(self.dataset_dir, generate(self.dataset_dir))

    def _sample(self, entry: Entry, pid: int) -> tuple[str, int, int]:
        return os.path.join(self.dataset_dir, *entry.image.split("/")), pid, entry.camid


class SyntheticPedestriansOccluded(SyntheticPedestrians):
    """The same people, with the heavily occluded queries only."""

    occluded_only = True
