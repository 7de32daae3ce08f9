"""The base class of the errors that this package raises on purpose."""


class MagnifierError(Exception):
    """Something that the caller or the user can mend: its text says what was expected and found.

    Each room derives its own class where a caller may want to tell them apart. The command prints
    the text of any of them, without a traceback, and ends with ``exit_status``.
    """

    exit_status = 2  # what was given is wrong; 1 for what went wrong on the way
