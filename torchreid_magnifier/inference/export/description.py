"""What an exported file says of itself: whose network it is, and what it takes and gives."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ...parts import PARTS
from ..network import Network, Preprocessing
from .program import EMBEDDING, LABELS

# Its place in a file: a key of ONNX's metadata_props, an extra file of torch.export's archive.
KEY = "torchreid_magnifier.json"


@dataclass(frozen=True)
class Description:
    """A network's description, which its exported file carries as JSON (``KEY``).

    Attributes:
        version: of the package that exported it.
        model: model name, such as ``magnifiernet_r18``.
        weights: name of the weights, or of the checkpoint's file.
        sha256: of the weights' file.
        height, width: of the images, in pixels; a picture is resized to them whatever its shape.
        channels: their order in the input.
        resize: how, as torchvision's ``Resize`` does it with a PIL image.
        mean, std: of the channels, for values 0..1.
        embedding_size: D.
        distance: that embeddings are compared by.
        parts: names of the part labels 0, 1, …; none if the network predicts no labels.
    """

    version: str
    model: str
    weights: str
    sha256: str
    height: int
    width: int
    channels: str
    resize: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    embedding_size: int
    distance: str
    parts: tuple[str, ...]

    @property
    def preprocessing(self) -> Preprocessing:
        """From a picture to the exported network's input."""
        return Preprocessing(self.height, self.width, self.mean, self.std)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what the exported network gives, in this order."""
        return (EMBEDDING, LABELS) if self.parts else (EMBEDDING,)

    def to_json(self) -> str:
        """As it stands in a file."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Description":
        """Back from a file.

        Raises:
            ValueError, TypeError: it is no such JSON.
        """
        told = json.loads(text)
        lists = {key: tuple(told[key]) for key in ("mean", "std", "parts")}
        return cls(**{field.name: told[field.name] for field in fields(cls)} | lists)


def describe(network: Network) -> Description:
    """The description of a network."""
    from ... import __version__

    model = network.model
    return Description(
        version=__version__,
        model=network.name,
        weights=Path(network.weights).name,  # no folders of the machine that exports
        sha256=network.sha256,
        height=network.preprocessing.height,
        width=network.preprocessing.width,
        channels="RGB",
        resize="bilinear, antialiased",
        mean=network.preprocessing.mean,
        std=network.preprocessing.std,
        embedding_size=model.embedding_size,
        distance="cosine",
        parts=PARTS if model.has_parts else (),
    )
