"""What networks look at, and why they find what they find: numbers, which ``figures`` draws.

:mod:`.pictures` reads images and shows them to a network, :mod:`.activations` tells where its
branches are active, :mod:`.regions` how alike the body regions of an image are, and
:mod:`.rankings` whom it finds and which regions of a gallery image resemble the query's.
"""

from ...errors import MagnifierError


class ExplainError(MagnifierError, RuntimeError):
    """Nothing can be explained: no images, an image that cannot be read, a network without..."""
