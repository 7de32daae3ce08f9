"""The files of a kind in a folder and all folders below it."""

import os
from collections.abc import Iterator

from .masks import MASKS
from .textures import TextureFiles

_COMPANIONS = (MASKS.suffix, TextureFiles.suffix)


def files_below(
    root: str | os.PathLike[str], endings: tuple[str, ...]
) -> Iterator[tuple[str, list[str]]]:
    """Each folder that has such files, and their sorted names; upper folders first.

    Folders of part labels and textures are passed by, and hidden files, which some systems put
    beside others.

    Args:
        endings: of the names, in lower case; files may have them in upper case.

    Raises:
        OSError: a folder cannot be read.
    """
    for parent, folders, names in os.walk(os.fspath(root), onerror=_fail):
        folders[:] = sorted(name for name in folders if not name.endswith(_COMPANIONS))
        found = [n for n in names if n.lower().endswith(endings) and not n.startswith(".")]
        if found:
            yield parent, sorted(found)


def _fail(error: OSError) -> None:
    raise error
