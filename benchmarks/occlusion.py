"""Distances over shared parts where queries are partly hidden, on the whole of Market-1501.

    torchreid-magnifier extract M/query M/bounding_box_test --parts --out test.npz
    python benchmarks/occlusion.py test.npz [--kind erased] [--every N]

with M the folder ``Market-1501-v15.09.15``. A rectangle is drawn over each query, by the recipe of
Random Erasing (Zhong et al., AAAI 2020): a share of the picture drawn evenly, here 25 to 50 %, and
a ratio of height to width of 0.3 to 1 / 0.3, at a place where it fits. It is filled with noise
(``erased``, the paper's RE-R) or with a piece of another query (``patch``, as in torchreid's
RandomPatch of Zhou et al., TPAMI 2021). The draws of a picture depend on its name alone. A file of
embeddings whose queries are hidden already is measured as it is with ``--kind none``.
"""

import argparse
import tempfile
import zlib
from pathlib import Path

import numpy as np
import torch
from decide import People, read, show
from PIL import Image

from torchreid_magnifier import open_network
from torchreid_magnifier.evaluation import PairwiseDistances, PartFeatures, SharedPartDistances
from torchreid_magnifier.images import read_image
from torchreid_magnifier.inference.embeddings import Embeddings
from torchreid_magnifier.inference.evaluate import measure
from torchreid_magnifier.inference.extract import embed

AREA, RATIO = (0.25, 0.5), 0.3
SHARES = (0.25, 0.5, 0.75)


def rectangle(chance: np.random.Generator, height: int, width: int) -> tuple[slice, slice]:
    """Draw a rectangle that fits into a picture."""
    while True:
        area = chance.uniform(*AREA) * height * width
        ratio = np.exp(chance.uniform(np.log(RATIO), -np.log(RATIO)))
        tall, wide = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if tall < height and wide < width:
            top, left = chance.integers(height - tall), chance.integers(width - wide)
            return slice(top, top + tall), slice(left, left + wide)


def hide(path: str, others: list[str], kind: str) -> Image.Image:
    """Return a picture with a rectangle over it."""
    chance = np.random.default_rng([0, zlib.crc32(Path(path).name.encode())])
    image = read_image(path).copy()
    rows, columns = rectangle(chance, *image.shape[:2])
    shape = image[rows, columns].shape
    if kind == "erased":
        image[rows, columns] = chance.integers(0, 256, shape)
    else:
        other = Image.open(others[chance.integers(len(others))]).convert("RGB")
        pixels = np.asarray(other.resize(image.shape[1::-1]))
        top = chance.integers(image.shape[0] - shape[0] + 1)
        left = chance.integers(image.shape[1] - shape[1] + 1)
        image[rows, columns] = pixels[top : top + shape[0], left : left + shape[1]]
    return Image.fromarray(image)


def hidden(people: People, kind: str) -> Embeddings:
    """Embed the pictures with a rectangle over each."""
    paths = people.embeddings.paths.tolist()
    with tempfile.TemporaryDirectory() as work:
        written = []
        for number, path in enumerate(paths):
            written.append(str(Path(work, f"{number:06d}.png")))
            hide(path, paths, kind).save(written[-1])
        found, problems = embed(open_network(), written, batch_size=64, workers=1, parts=True)
    assert not problems, problems
    return found


def compare(name: str, query: Embeddings, asked: People, gallery: People) -> None:
    """Print the measures of embeddings, and over shared parts."""
    labels = [values for key in ("pids", "camids") for values in _both(asked, gallery, key)]
    ours, theirs = (torch.from_numpy(np.array(e.vectors)) for e in (query, gallery.embeddings))
    show(f"{name}: embedding", measure(PairwiseDistances(ours, theirs, "cosine"), *labels))
    sides: list[PartFeatures] = [query.parts("queries"), gallery.embeddings.parts("the gallery")]
    for share in SHARES:
        found = measure(SharedPartDistances(*sides, share), *labels)
        show(f"{name}: shared parts, {share:g}", found)


def _both(asked: People, gallery: People, key: str) -> list[np.ndarray]:
    return [getattr(side, key) for side in (asked, gallery)]


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("test", type=Path)
    parser.add_argument("--kind", choices=("none", "erased", "patch"), default="erased")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="query")
    args = parser.parse_args()
    test = read(args.test)
    gallery = test.of(np.flatnonzero(~test.asked))
    asked = test.of(np.flatnonzero(test.asked)[:: args.every])
    query = asked.embeddings if args.kind == "none" else hidden(asked, args.kind)
    print(f"{len(asked.pids)} queries, {len(gallery.pids)} gallery images")
    compare(args.kind, query, asked, gallery)


if __name__ == "__main__":
    main()
