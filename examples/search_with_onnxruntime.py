"""Who is nearest to a query, by an exported network: onnxruntime, NumPy and Pillow, no torch.

torchreid-magnifier export --weights magnifiernet_osnet_x0_25_market1501 --out network.onnx
python search_with_onnxruntime.py network.onnx query.jpg gallery/*.jpg
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


class Embedder:
    """From pictures to embeddings of length 1, whose products are cosine similarities."""

    def __init__(self, path: str) -> None:
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        metadata = self.session.get_modelmeta().custom_metadata_map
        self.description = json.loads(metadata["torchreid_magnifier.json"])

    def preprocess(self, picture: Image.Image) -> np.ndarray:
        """A picture -> ``(3, height, width)`` float32, as in training."""
        description = self.description
        resized = picture.convert("RGB").resize(
            (description["width"], description["height"]), Image.Resampling.BILINEAR
        )
        pixels = np.asarray(resized, np.float32) / 255
        normalised = (pixels - np.float32(description["mean"])) / np.float32(description["std"])
        return normalised.transpose(2, 0, 1)

    def __call__(self, pictures: list[Image.Image]) -> np.ndarray:
        """N pictures -> ``(N, D)``."""
        images = np.stack([self.preprocess(picture) for picture in pictures])
        (embeddings,) = self.session.run(["embedding"], {"images": images})
        return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


def read(path: str) -> Image.Image:
    """A picture as the package reads it: upright, and deeper greys scaled to 8 bits."""
    with Image.open(path) as opened:
        picture = ImageOps.exif_transpose(opened)
    values = np.asarray(picture)
    if picture.mode.startswith("I") and values.max() > 255:
        return Image.fromarray(np.uint8(np.rint(values / 257)))
    if picture.mode == "F":
        return Image.fromarray(np.uint8(np.rint(values * 255 if values.max() <= 1 else values)))
    return picture


def main(network: str, query: str, *gallery: str) -> None:
    """Prints the gallery, nearest first, with cosine distances."""
    embed = Embedder(network)
    query_embedding = embed([read(query)])[0]
    distances = [1 - (embed([read(path)])[0] @ query_embedding) for path in gallery]
    for i in np.argsort(distances):
        print(f"{distances[i]:.4f}  {gallery[i]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
