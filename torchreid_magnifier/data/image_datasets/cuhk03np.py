"""CUHK03 in the new protocol, as the images that its authors published."""

from typing import Any

from .base import CheckedImageDataset, DatasetError, Splits

_NAME = r"(?P<pid>\d+)_c(?P<camid>\d)_.+"
_FOLDERS = ("bounding_box_train", "query", "bounding_box_test")


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
        self.example = [f"{self.boxes}/{folder}/0200_c2_1931.png" for folder in _FOLDERS]
        super().__init__(root, **kwargs)

    def read(self) -> Splits:
        return self.splits_in([f"{self.boxes}/{folder}" for folder in _FOLDERS], _NAME)
