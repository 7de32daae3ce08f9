"""Who is nearest to a query, by an exported network: onnxruntime, NumPy and Pillow, no torch.

The file brings pictures of any size to the network's and normalises them itself.

torchreid-magnifier export --pictures --out network.onnx
python search_with_onnxruntime.py network.onnx query.jpg gallery/*.jpg
"""

import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


class Embedder:
    """From pictures to embeddings of length 1, whose products are cosine similarities."""

    def __init__(self, path: str) -> None:
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """N RGB pictures of one size, uint8 ``(N, height, width, 3)`` -> ``(N, D)``."""
        (embeddings,) = self.session.run(["embedding"], {"pictures": pictures})
        return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


def read(path: str) -> np.ndarray:
    """A picture as the package reads it: upright, and deeper greys scaled to 8 bits."""
    with Image.open(path) as opened:
        picture = ImageOps.exif_transpose(opened)
    values = np.asarray(picture)
    if picture.mode.startswith("I") and values.max() > 255:
        picture = Image.fromarray(np.uint8(np.rint(values / 257)))
    elif picture.mode == "F":
        values = values * 255 if values.max() <= 1 else values
        picture = Image.fromarray(np.uint8(np.rint(values)))
    return np.asarray(picture.convert("RGB"))


def main(network: str, query: str, *gallery: str) -> None:
    """Print the gallery, nearest first, with cosine similarities."""
    embed = Embedder(network)
    asked = embed(read(query)[None])[0]
    similarities = [embed(read(path)[None])[0] @ asked for path in gallery]
    for i in np.argsort(similarities)[::-1]:
        print(f"{similarities[i]:.4f}  {gallery[i]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
