"""PIT: people painted with textures, from which SAN's generator of textures learns."""

from .base import CheckedImageDataset, Splits

_NAME = r"(?P<pid>\d+)_\d+"
_CAMERA = 0  # each image is rendered on its own: there are no cameras to tell apart


class PaintedTextures(CheckedImageDataset):
    """PIT, Paired-Image-Texture (Jin et al., Semantics-Aligned Representation Learning for Person
    Re-identification, AAAI 2020): training only.

    929 textures of a person's whole surface, each rendered in 10 images; an identity is a texture.
    ``pit_textures`` trains ``san_pg``, which then makes textures for images of real people.

    The archive's own layout is described nowhere; this one is this package's. The texture of
    ``images/0001_03.jpg`` is ``textures/0001.png`` (see ``data.textures``).
    """

    dataset_dir = "pit"
    only_to_train = True
    example = (
        "images/0001_03.jpg (the texture 0001, rendering 03)",
        "textures/0001.png",
    )
    origin = (
        "PIT is linked from https://github.com/microsoft/"
        "Semantics-Aligned-Representation-Learning-for-Person-Re-identification; "
        "docs/guides/textures.md says how to name its files."
    )

    def read(self) -> Splits:
        self.require("images", "textures")
        return Splits(self.images("images", _NAME, _CAMERA), [], [])
