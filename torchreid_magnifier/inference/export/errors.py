"""What can go wrong in an export."""


class ExportError(RuntimeError):
    """A network that cannot be exported, or a file that is no export of this package."""


class ParityError(ExportError):
    """An exported network that does not answer as the network itself does."""
