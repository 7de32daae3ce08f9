"""What is printed when labels have been written."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ...annotate.images import Images
from ...annotate.survey import survey_masks
from ...data.masks import MASKS
from .. import FAILED

_LISTED = 5


def report(images: Images, faults: Sequence[str]) -> int:
    """Print what the labels of ``images`` hold and which have none; return the exit status."""
    print(f"labels in {images.companion_root(MASKS)}")
    print(survey_masks(images.paths, images.top))
    for fault in faults[:_LISTED]:
        print(f"has no labels: {fault}", file=sys.stderr)
    if len(faults) > _LISTED:
        print(f"... and {len(faults) - _LISTED} more images", file=sys.stderr)
    return FAILED if faults else 0
