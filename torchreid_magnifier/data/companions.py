"""Files that belong to images, one each: the search for them and the check before training."""

import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from ..errors import MagnifierError
from .faults import listed

# What Pillow raises on files that are not images, are cut short or lie about their contents.
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)

_BATCH = 64  # images a thread takes at once: a future for each image would cost more than the check
_NO_IMAGE = "unreadable images"

# A folder that may hold companions, and how one is named there after its image.
Place = tuple[str, Callable[[str], str]]


class CompanionError(MagnifierError, RuntimeError):
    """Companions that cannot be used, such as part masks or textures."""


class CompanionCheck(NamedTuple):
    """What :meth:`CompanionFiles.inspect` found.

    Attributes:
        files: image path -> companion path of those that are well, in the order of the images.
        faults: kind of fault, one of ``CompanionFiles.kinds``, -> a line for each image with it.
    """

    files: dict[str, str]
    faults: dict[str, list[str]]


class CompanionFiles:
    """Base class: a kind of companion, of which every training image has one.

    Attributes:
        name, names: what one and several are called in messages.
        suffix: what their folder has beyond the name of the image root, where they are written.
        error: what :meth:`check` raises.
        command: the words of the command that makes them, before its options.
        extra: further options that it needs.
        faults: kinds of fault that :meth:`fault` tells.
    """

    name: str
    names: str
    suffix: str
    error: type[CompanionError]
    command: Sequence[str]
    extra: Sequence[str] = ()
    faults: Sequence[str]

    def places(self, folders: Sequence[Path]) -> Iterator[Place]:
        """Where companions may lie.

        Args:
            folders: the folder of the images and its ancestors up to the data root, nearest first.
        """
        raise NotImplementedError

    def fault(self, path: str, image_size: tuple[int, int]) -> tuple[str, str] | None:
        """What is wrong with a companion, if anything: the kind, and a line to show.

        Args:
            path: of the companion, an existing file.
            image_size: width and height of its image.
        """
        raise NotImplementedError

    @property
    def missing(self) -> str:
        """The kind of fault of an image without a companion."""
        return f"images without a {self.name}"

    @property
    def kinds(self) -> tuple[str, ...]:
        """All kinds of fault in the order of a message."""
        return (_NO_IMAGE, self.missing, *self.faults)

    def candidates(self, image_path: str, root: str | os.PathLike | None = None) -> list[str]:
        """Every path at which the companion of an image is looked for, in the order of the search.

        Args:
            image_path: path of an image; it need not exist.
            root: data root, the last ancestor folder tried; all ancestors without it, or if the
                image does not lie below it.
        """
        folder, name = os.path.split(image_path)
        return _paths(name, self.places(_ancestors(folder, root)))

    def find(self, image_path: str, root: str | os.PathLike | None = None) -> str | None:
        """The first of :meth:`candidates` that is a file, or None."""
        return next(filter(os.path.isfile, self.candidates(image_path, root)), None)

    def inspect(
        self, image_paths: Iterable[str], root: str | os.PathLike | None = None
    ) -> CompanionCheck:
        """Finds the companion of every image and decodes both.

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

        found = CompanionCheck({}, {})
        with ThreadPoolExecutor() as pool:
            batches = pool.map(inspect_batch, range(0, len(images), _BATCH))
            results = [result for batch in batches for result in batch]
        for image, (kind, line) in zip(images, results, strict=True):
            if kind:
                found.faults.setdefault(kind, []).append(line)
            else:
                found.files[image] = line
        return found

    def _inspect_one(self, image_path: str, places: Iterable[Place]) -> tuple[str, str]:
        """("", companion path) if all is well with an image, else (kind, line to show)."""
        try:
            with Image.open(image_path) as image:
                image.load()  # a file cut short has a good header
                size = image.size
        except UNREADABLE as error:
            return _NO_IMAGE, f"{image_path}: {error}"
        paths = _paths(os.path.basename(image_path), places)
        path = next(filter(os.path.isfile, paths), None)
        if path is None:
            return self.missing, image_path
        return self.fault(path, size) or ("", path)

    def check(
        self,
        image_paths: Iterable[str],
        dataset: str = "DATASET",
        root: str | os.PathLike | None = None,
        options: Sequence[str] = (),
    ) -> dict[str, str]:
        """Finds the companion of every image and decodes both: a fault shows before training.

        Args:
            image_paths: images; a repeated path is checked once.
            dataset: registered name of the dataset, for the command in the message.
            root: data root, for the search (see :meth:`candidates`) and for the command.
            options: more options that the command needs for these images.

        Returns:
            Image path -> companion path, in the order of ``image_paths``.

        Raises:
            CompanionError: ``self.error``, with, for each kind of fault, the number of images, the
                first paths, and the command that makes companions.
        """
        found = self.inspect(image_paths, root)
        if found.faults:
            where = "ROOT" if root is None else os.fspath(root)
            options = ["--dataset", dataset, "--root", where, *options]
            raise self.error(self.report(found, options, root))
        return found.files

    def report(
        self, found: CompanionCheck, options: Sequence[str], root: str | os.PathLike | None = None
    ) -> str:
        """The message for faulty images and companions.

        Args:
            options: with which the command makes the companions of these images.
            root: data root, as it was given for the search.
        """
        count = sum(map(len, found.faults.values()))
        total = count + len(found.files)
        lines = [f"{count} of {total} images cannot be used with their {self.names}."]
        for kind in self.kinds:
            if faults := found.faults.get(kind):
                lines.append(listed(kind, faults))
                if kind == self.missing:
                    lines.append("  tried for the first of them:")
                    lines += [f"    {path}" for path in self.candidates(faults[0], root)]
        if set(found.faults) != {_NO_IMAGE}:
            # Without it, those that are there stay as they are.
            replace = ["--overwrite"] if set(self.faults) & set(found.faults) else []
            lines.append(f"{self.names.capitalize()} are made by")
            lines.append("  " + shlex.join([*self.command, *options, *self.extra, *replace]))
        return "\n".join(lines)


def renamed(image_folder: Path, ancestor: Path, name: str) -> str:
    """The folder of the images, if ``ancestor``, it or one above it, were called ``name``."""
    return str(ancestor.parent / name / image_folder.relative_to(ancestor))


def as_png(image_name: str) -> str:
    """The name of a ``.png`` companion."""
    return os.path.splitext(image_name)[0] + ".png"


def _paths(image_name: str, places: Iterable[Place]) -> list[str]:
    return [os.path.join(folder, companion_name(image_name)) for folder, companion_name in places]


def _ancestors(image_folder: str, root: str | os.PathLike | None) -> list[Path]:
    """The folder and those around it up to the data root, or to the top of the file system."""
    folder = Path(os.path.abspath(image_folder))
    ancestors = [folder, *folder.parents[:-1]]  # the last one is the file system's root: no name
    if root is not None and (top := Path(os.path.abspath(root))) in ancestors:
        return ancestors[: ancestors.index(top) + 1]
    return ancestors
