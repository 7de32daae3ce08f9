"""Sets of occluded people to be found among whole ones.

They have no camera labels, or none that the usual protocol looks at: the occluded (or partial)
images are taken for one camera and the whole ones for another, as in the code of Gao et al.
(https://github.com/hh23333/PVPM) and EANet (https://github.com/huanghoujing/EANet).
"""

from .base import CheckedImageDataset, Sample, Splits

_OCCLUDED_CAMERA, _WHOLE_CAMERA = 0, 1


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
