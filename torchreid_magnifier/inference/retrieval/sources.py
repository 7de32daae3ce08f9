"""From what a user names (files, folders, patterns) to the images and videos meant."""

import glob
import os
from collections.abc import Iterator, Sequence

from ...data.folders import files_below
from ...data.image_datasets.base import IMAGE_ENDINGS
from .errors import RetrievalError

VIDEO_ENDINGS = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm"),
    *(".mpg", ".mpeg", ".ts", ".wmv", ".flv"),
)


def is_video(path: str) -> bool:
    """Whether a file is a video, by its ending."""
    return path.lower().endswith(VIDEO_ENDINGS)


def find_sources(sources: Sequence[str | os.PathLike]) -> list[str]:
    """The image and video files that are meant, in the order of ``sources``.

    A file must be an image or a video by its ending. Of a folder, and of what a pattern (``*``,
    ``?``, ``[...]``, ``**``) matches, those files are taken that are; in a folder and all below
    it, sorted by name. A file that is meant twice is taken once, where it is found first.

    Raises:
        RetrievalError: nothing is there by a name, a folder or a pattern has no image and no
            video, a file is neither, or the name of a file is not text.
    """
    found: dict[str, str] = {}
    for source in sources:
        for path in _meant(os.fspath(source)):
            found.setdefault(os.path.abspath(path), path)
    for path in found.values():
        try:
            path.encode()
        except UnicodeEncodeError as error:
            raise RetrievalError(
                f"the name of the file {os.fsencode(path)!r} is not in UTF-8: rename it"
            ) from error
    return list(found.values())


def _meant(source: str) -> list[str]:
    source = os.path.expanduser(source)
    endings = (*IMAGE_ENDINGS, *VIDEO_ENDINGS)
    if os.path.isfile(source):
        if not source.lower().endswith(endings):
            raise RetrievalError(
                f"{source}: expected an image ({', '.join(IMAGE_ENDINGS)}), a video "
                f"({', '.join(VIDEO_ENDINGS)}) or a folder, by its ending"
            )
        return [source]
    if os.path.isdir(source):
        paths = list(_in_folder(source))
    elif any(letter in source for letter in "*?["):
        paths = []
        for match in sorted(glob.glob(source, recursive=True)):
            if os.path.isdir(match):
                paths += _in_folder(match)
            elif match.lower().endswith(endings):
                paths.append(match)
    else:
        raise RetrievalError(f"there is no file or folder {source}")
    if not paths:
        where = "in it or below" if os.path.isdir(source) else "where this pattern leads"
        raise RetrievalError(f"{source}: expected images or videos {where}, found none")
    return paths


def _in_folder(folder: str) -> Iterator[str]:
    for parent, names in files_below(folder, (*IMAGE_ENDINGS, *VIDEO_ENDINGS)):
        yield from (os.path.join(parent, name) for name in names)
