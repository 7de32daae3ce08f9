"""Label maps and textures for images that have none: made, imported, looked through.

:mod:`.parsers` find people's poses or parts in images, :mod:`.poses` is what a pose is and
:mod:`.drawing` draws its label map; :mod:`.importers` take the label files of other programs;
:mod:`.textures` has a network draw textures. :mod:`.images` knows which images and where their
sidecar files go, :mod:`.writing` writes them there, and :mod:`.survey` counts what label
maps hold.
"""

from ..errors import MagnifierError


class ParsingError(MagnifierError):
    """Sidecar files cannot be made: no images, keypoints that do not fit, a missing detector."""
