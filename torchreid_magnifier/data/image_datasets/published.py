"""Published image datasets that torchreid has not.

Sets of occluded people to be found among whole ones have no camera labels, or none that the usual
protocol looks at: the occluded (or partial) images are taken for one camera and the whole ones for
another, as in the code of Gao et al. (https://github.com/hh23333/PVPM) and EANet
(https://github.com/huanghoujing/EANet).
"""

from typing import Any

from ..datasets import DatasetError
from .base import CheckedImageDataset, Sample, Splits

_MARKET_FOLDERS = ("bounding_box_train", "query", "bounding_box_test")
_DUKE = r"(?P<pid>\d+)_c(?P<camid>\d)_f\d+"
_CUHK03NP = r"(?P<pid>\d+)_c(?P<camid>\d)_.+"
_PIT = r"(?P<pid>\d+)_\d+"
_PIT_CAMERA = 0  # each image is rendered on its own: there are no cameras to tell apart
_OCCLUDED_CAMERA, _WHOLE_CAMERA = 0, 1


class OccludedDuke(CheckedImageDataset):
    """Occluded-DukeMTMC (Miao et al., Pose-Guided Feature Alignment, ICCV 2019).

    15,618 training images of 702 identities; 2,210 queries, all occluded, of 519 identities;
    17,661 gallery images of 1,110 identities; 8 cameras. Counted in the lists of images in
    https://github.com/lightas/Occluded-DukeMTMC-Dataset, whose script makes this layout. 1,870
    queries stand in the gallery too, where evaluation passes over them as of the same camera.
    """

    dataset_dir = "Occluded_Duke"
    example = (
        "bounding_box_train/0001_c2_f0046182.jpg",
        "query/0019_c1_f0051230.jpg",
        "bounding_box_test/0002_c1_f0044158.jpg",
    )
    origin = (
        "It is not published as images: convert_duke_to_occduke.py of "
        "https://github.com/lightas/Occluded-DukeMTMC-Dataset makes it from DukeMTMC-reID.zip."
    )

    def read(self) -> Splits:
        return self.splits_in(_MARKET_FOLDERS, _DUKE)


class CUHK03NP(CheckedImageDataset):
    """CUHK03-NP (Zhong et al., Re-ranking with k-reciprocal Encoding, CVPR 2017).

    767 identities to train on, 700 others to test, 2 cameras. Detected: 7,365 training images,
    1,400 queries, 5,332 gallery images; labelled: 7,368, 1,400 and 5,328
    (https://github.com/zhunzhong07/person-re-ranking, ``CUHK03-NP/README.md``).

    Torchreid's ``cuhk03`` has the same protocol, but makes its images from the original ``.mat``
    file and names them otherwise. Labels made for this release, EANet's for one, fit here.

    Args:
        cuhk03_labeled: boxes drawn by hand instead of detected ones, as for torchreid's ``cuhk03``
            (``cuhk03.labeled_images`` in a configuration).
        cuhk03_classic_split: not in this release.
    """

    dataset_dir = "cuhk03-np"
    origin = (
        "The authors' cuhk03-np.zip is linked from "
        "https://github.com/zhunzhong07/person-re-ranking/tree/master/CUHK03-NP."
    )

    def __init__(
        self,
        root: str = "",
        *,
        cuhk03_labeled: bool = False,
        cuhk03_classic_split: bool = False,
        **kwargs: Any,
    ) -> None:
        if cuhk03_classic_split:
            raise DatasetError(
                "cuhk03np has the new protocol only: take cuhk03 for cuhk03_classic_split "
                "(cuhk03.classic_split in a configuration)"
            )
        self.boxes = "labeled" if cuhk03_labeled else "detected"
        self.example = [f"{self.boxes}/{folder}/0200_c2_1931.png" for folder in _MARKET_FOLDERS]
        super().__init__(root, **kwargs)

    def read(self) -> Splits:
        return self.splits_in([f"{self.boxes}/{folder}" for folder in _MARKET_FOLDERS], _CUHK03NP)


class _OccludedAndWhole(CheckedImageDataset):
    """Queries are occluded, gallery images whole people."""

    name = r"(?P<pid>\d+)_.+"
    occluded = "occluded_body_images"
    whole = "whole_body_images"

    def occluded_images(self, folder: str = "") -> list[Sample]:
        return self.images(f"{folder}{self.occluded}", self.name, _OCCLUDED_CAMERA)

    def whole_images(self, folder: str = "") -> list[Sample]:
        return self.images(f"{folder}{self.whole}", self.name, _WHOLE_CAMERA)

    def read(self) -> Splits:
        self.require(self.occluded, self.whole)
        return Splits([], self.occluded_images(), self.whole_images())


class OccludedREID(_OccludedAndWhole):
    """Occluded-REID (Zhuo et al., Occluded Person Re-identification, ICME 2018): testing only.

    200 identities, each with 5 occluded images, the queries, and 5 whole ones, the gallery
    (https://github.com/tinajia2012/ICME2018_Occluded-Person-Reidentification_datasets).
    """

    dataset_dir = "Occluded_REID"
    example = ("occluded_body_images/001/001_01.tif", "whole_body_images/001/001_01.tif")
    origin = (
        "Occluded_REID.zip is in https://github.com/tinajia2012/"
        "ICME2018_Occluded-Person-Reidentification_datasets, with its terms of use."
    )


class PartialREID(_OccludedAndWhole):
    """Partial-REID (Zheng et al., Partial Person Re-identification, ICCV 2015): testing only.

    60 identities, each with 5 partial images, the queries, and 5 whole ones, the gallery. The
    release has the occluded images that the partial ones were cut from, too: they are not used
    here, as in EANet, though some report on them in place of the partial ones.
    """

    dataset_dir = "Partial-REID_Dataset"
    occluded = "partial_body_images"
    example = ("partial_body_images/001_001.jpg", "whole_body_images/001_001.jpg")
    origin = (
        "It was published as Partial-REID_Dataset.rar by Sun Yat-sen University "
        "(http://isee.sysu.edu.cn/files/resource/Partial-REID_Dataset.rar)."
    )


class PDukeMTMCreID(_OccludedAndWhole):
    """P-DukeMTMC-reID (Zhuo et al., Occluded Person Re-identification, ICME 2018).

    24,143 images of 1,299 identities of DukeMTMC-reID
    (https://github.com/tinajia2012/ICME2018_Occluded-Person-Reidentification_datasets): occluded
    and whole images to train on, and of other identities occluded queries and a whole gallery.
    """

    dataset_dir = "P-DukeMTMC-reid"
    example = (
        "train/occluded_body_images/0001/0001_c2_f0046182.jpg",
        "train/whole_body_images/0001/0001_c2_f0046302.jpg",
        "test/occluded_body_images/0002/0002_c1_f0044158.jpg",
        "test/whole_body_images/0002/0002_c1_f0044278.jpg",
    )
    origin = (
        "P-DukeMTMC-reid.zip is in https://github.com/tinajia2012/"
        "ICME2018_Occluded-Person-Reidentification_datasets, with its terms of use."
    )

    def read(self) -> Splits:
        kinds = (self.occluded, self.whole)
        self.require(*(f"{part}/{kind}" for part in ("train", "test") for kind in kinds))
        return Splits(
            self.occluded_images("train/") + self.whole_images("train/"),
            self.occluded_images("test/"),
            self.whole_images("test/"),
        )


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
        return Splits(self.images("images", _PIT, _PIT_CAMERA), [], [])
