"""A dataset class for images that a test makes."""

from collections.abc import Iterator
from pathlib import Path

from torchreid import data as torchreid_data

SPLITS = ("train", "query", "gallery")
PIDS, VIEWS = 4, 4
WIDTH, HEIGHT = 8, 16


class TinyPeople(torchreid_data.ImageDataset):
    """4 identities x 4 views in each split, files ``<pid>_<camid>_<view>.png``."""

    folder = "tiny"

    def __init__(self, root="", **kwargs):
        self.root = root
        # As in torchreid's own classes, options of other datasets come along.
        for option in ("split_id", "cuhk03_labeled", "cuhk03_classic_split", "market1501_500k"):
            kwargs.pop(option, None)
        splits = []
        for split in SPLITS:
            paths = sorted(Path(root, self.folder, "images", split).glob("*.png"))
            splits.append([(str(path), *map(int, path.stem.split("_")[:2])) for path in paths])
        super().__init__(*splits, **kwargs)


class MorePeople(TinyPeople):
    folder = "more"


def places(root: Path, suffix: str) -> Iterator[tuple[Path, Path]]:
    """Where each image is, and what belongs to it in ``images<suffix>``; their folders are made."""
    for folder in ("tiny", "more"):
        for split in SPLITS:
            images = root / folder / "images" / split
            sidecars = root / folder / f"images{suffix}" / split
            images.mkdir(parents=True)
            sidecars.mkdir(parents=True)
            for pid in range(PIDS):
                for view in range(VIEWS):
                    name = f"{pid}_{view % 2}_{view}.png"
                    yield images / name, sidecars / name
