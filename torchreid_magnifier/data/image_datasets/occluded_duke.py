"""Occluded-Duke: DukeMTMC-reID, split anew so that every query is occluded."""

from .base import CheckedImageDataset, Splits

_NAME = r"(?P<pid>\d+)_c(?P<camid>\d)_f\d+"


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
        return self.splits_in(("bounding_box_train", "query", "bounding_box_test"), _NAME)
