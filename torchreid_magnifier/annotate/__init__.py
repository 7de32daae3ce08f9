"""Part labels for images that have none: poses from keypoint files or a detector, drawn as bodies.

:mod:`.poses` is what a pose is, :mod:`.drawing` draws its label map, :mod:`.keypoints`,
:mod:`.keypointrcnn` and :mod:`.vitpose` are the parsers (they find the poses of images),
:mod:`.person_mask` cuts a drawing to the person's outline, :mod:`.images` knows which images and
where their labels go, :mod:`.companion_folder` writes them there, :mod:`.workers` has batches
worked on side by side, and :mod:`.make` and :mod:`.survey` are the work and the report of
``torchreid-magnifier masks``.
"""

from ..errors import MagnifierError


class ParsingError(MagnifierError, RuntimeError):
    """Part labels cannot be made: no images, keypoints that do not fit, a missing detector, ..."""
