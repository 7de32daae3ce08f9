"""Sidecar files, one beside each image: the search for them and the check before training."""

import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import MagnifierError, listed
from ..images import ImageError, open_image

_BATCH = 64  # images a thread takes at once: a future for each image would cost more than the check
_NO_IMAGE = "unreadable images"

Pathlike = str | os.PathLike[str]
# A folder that may hold sidecar files, and how one is named there after its image.
Place = tuple[str, Callable[[str], str]]


class SidecarError(MagnifierError):
    """Sidecar files that cannot be used, such as part masks or textures."""


class SidecarCheck(NamedTuple):
    """The result of :meth:`SidecarFiles.inspect`.

    Attributes:
        files: image path -> path of its sidecar file, of those that are well, in the order of the
            images.
        problems: kind of problem, one of ``SidecarFiles.kinds``, -> a line for each image with it.
    """

    files: dict[str, str]
    problems: dict[str, list[str]]


class SidecarFiles:
    """Base class: a kind of sidecar file, of which every training image has one.

    Attributes:
        name, names: what one and several are called in messages.
        suffix: what their folder has beyond the name of the image root, where they are written.
        error: what :meth:`check` raises.
        read: reads one from its path, or raises ImageError.
        command: the words of the command that makes them, before its options.
        extra: further options that it needs.
        problems: kinds of problem that :meth:`problem` finds.
    """

    name: str
    names: str
    suffix: str
    error: type[SidecarError]
    read: Callable[[str], np.ndarray]
    command: Sequence[str]
    extra: Sequence[str] = ()
    problems: Sequence[str]

    def places(self, folders: Sequence[Path]) -> Iterator[Place]:
        """Yield where sidecar files may lie.

        Args:
            folders: the folder of the images and its ancestors up to the data root, nearest first.
        """
        raise NotImplementedError

    def problem(self, path: str, image_size: tuple[int, int]) -> tuple[str, str] | None:
        """Return what is wrong with a sidecar file, if anything: the kind, and a line to show.

        Args:
            path: an existing file.
            image_size: width and height of its image.
        """
        raise NotImplementedError

    @property
    def missing(self) -> str:
        """The kind of problem of an image without a sidecar file."""
        return f"images without a {self.name}"

    @property
    def kinds(self) -> tuple[str, ...]:
        """All kinds of problem in the order of a message."""
        return (_NO_IMAGE, self.missing, *self.problems)

    def candidates(self, image_path: str, root: Pathlike | None = None) -> list[str]:
        """Return every path at which an image's file is looked for, in the order of the search.

        Args:
            image_path: path of an image; it need not exist.
            root: data root, the last ancestor folder tried; all ancestors without it, or if the
                image does not lie below it.
        """
        folder, name = os.path.split(image_path)
        return _paths(name, self.places(_ancestors(folder, root)))

    def find(self, image_path: str, root: Pathlike | None = None) -> str | None:
        """Return the first of :meth:`candidates` that is a file, or None."""
        return next(filter(os.path.isfile, self.candidates(image_path, root)), None)

    def inspect(self, image_paths: Iterable[str], root: Pathlike | None = None) -> SidecarCheck:
        """Find the sidecar file of every image and decode both.

        Args:
            image_paths: images; a repeated path is looked at once.
            root: data root, for the search (see :meth:`candidates`).
        """
        images = list(dict.fromkeys(image_paths))
        # Folders are searched once each, not once for each image in them.
        places = {
            folder: [p for p in self.places(_ancestors(folder, root)) if os.path.isdir(p[0])]
            for folder in dict.fromkeys(os.path.dirname(path) for path in images)
        }

        def inspect_batch(start: int) -> list[tuple[str, str]]:
            batch = images[start : start + _BATCH]
            return [self._inspect_one(path, places[os.path.dirname(path)]) for path in batch]

        found = SidecarCheck({}, {})
        with ThreadPoolExecutor() as pool:
            batches = pool.map(inspect_batch, range(0, len(images), _BATCH))
            results = [result for batch in batches for result in batch]
        for image, (kind, line) in zip(images, results, strict=True):
            if kind:
                found.problems.setdefault(kind, []).append(line)
            else:
                found.files[image] = line
        return found

    def _inspect_one(self, image_path: str, places: Iterable[Place]) -> tuple[str, str]:
        """Return ("", path of the sidecar file) if all is well with an image, else (kind, line)."""
        try:
            size = open_image(image_path).size
        except ImageError as error:
            return _NO_IMAGE, error.problem
        paths = _paths(os.path.basename(image_path), places)
        path = next(filter(os.path.isfile, paths), None)
        if path is None:
            return self.missing, image_path
        return self.problem(path, size) or ("", path)

    def check(
        self,
        image_paths: Iterable[str],
        dataset: str = "DATASET",
        root: Pathlike | None = None,
        options: Sequence[str] = (),
    ) -> dict[str, str]:
        """Find the sidecar file of every image and decode both, before training.

        Args:
            image_paths: images; a repeated path is checked once.
            dataset: registered name of the dataset, for the command in the message.
            root: data root, for the search (see :meth:`candidates`) and for the command.
            options: more options that the command needs for these images.

        Returns:
            Image path -> path of its sidecar file, in the order of ``image_paths``.

        Raises:
            SidecarError: ``self.error``, with, for each kind of problem, the number of images, the
                first paths, and the command that makes sidecar files.
        """
        found = self.inspect(image_paths, root)
        if found.problems:
            where = "ROOT" if root is None else os.fspath(root)
            options = ["--dataset", dataset, "--root", where, *options]
            raise self.error(self.report(found, options, root))
        return found.files

    def report(
        self, found: SidecarCheck, options: Sequence[str], root: Pathlike | None = None
    ) -> str:
        """Return the message for images and sidecar files with problems.

        Args:
            options: with which the command makes the sidecar files of these images.
            root: data root, as it was given for the search.
        """
        count = sum(map(len, found.problems.values()))
        total = count + len(found.files)
        lines = [f"{count} of {total} images cannot be used with their {self.names}."]
        for kind in self.kinds:
            if problems := found.problems.get(kind):
                lines.append(listed(kind, problems))
                if kind == self.missing:
                    lines.append("  tried for the first of them:")
                    lines += [f"    {path}" for path in self.candidates(problems[0], root)]
        if set(found.problems) != {_NO_IMAGE}:
            # Without it, those that are there stay as they are.
            replace = ["--overwrite"] if set(self.problems) & set(found.problems) else []
            lines.append(f"{self.names.capitalize()} are made by")
            lines.append("  " + shlex.join([*self.command, *options, *self.extra, *replace]))
        return "\n".join(lines)


def renamed(image_folder: Path, ancestor: Path, name: str) -> str:
    """Return the folder of the images, if ``ancestor``, it or one above, were called ``name``."""
    return str(ancestor.parent / name / image_folder.relative_to(ancestor))


def as_png(image_name: str) -> str:
    """Return the name of a ``.png`` sidecar file."""
    return os.path.splitext(image_name)[0] + ".png"


def _paths(image_name: str, places: Iterable[Place]) -> list[str]:
    return [os.path.join(folder, name_of(image_name)) for folder, name_of in places]


def _ancestors(image_folder: str, root: Pathlike | None) -> list[Path]:
    """Return the folder and those around it up to the data root, or to the top of all."""
    folder = Path(os.path.abspath(image_folder))
    ancestors = [folder, *folder.parents[:-1]]  # the last one is the file system's root: no name
    if root is not None and (top := Path(os.path.abspath(root))) in ancestors:
        return ancestors[: ancestors.index(top) + 1]
    return ancestors
