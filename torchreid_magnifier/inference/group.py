"""Who is who: pictures of people whom nobody has named, put together by person."""

import csv
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from ..errors import needing
from .embeddings import Embeddings, require_finite
from .errors import RetrievalError
from .gallery import read_table
from .index import as_float
from .sources import NO_FRAME

METHODS = ("average", "complete", "hdbscan")
Method: TypeAlias = Literal["average", "complete", "hdbscan"]

_CLUSTER = 4  # pictures that HDBSCAN needs of a person
_MOST = 20_000  # pictures whose distances to each other fit into memory: 3 GB


class Agreement(NamedTuple):
    """How far groups are the true people.

    Attributes:
        precision: share of the pairs in one group that are of one person, 0..1.
        recall: share of the pairs of one person that are in one group, 0..1.
        f1: harmonic mean of both.
        ari: adjusted Rand index (Hubert and Arabie, 1985): 1 if they agree, 0 if by chance.
        groups, people: how many there are.
    """

    precision: float
    recall: float
    f1: float
    ari: float
    groups: int
    people: int

    def __str__(self) -> str:
        return (
            f"{self.groups} people by the groups, {self.people} by their names; pairwise F1 "
            f"{100 * self.f1:.1f} % (precision {100 * self.precision:.1f}, recall "
            f"{100 * self.recall:.1f}), adjusted Rand index {self.ari:.3f}"
        )


def group(embeddings: Embeddings, threshold: float, method: Method = "average") -> np.ndarray:
    """Put pictures together by person.

    Args:
        embeddings: of N pictures.
        threshold: cosine similarity from which on two pictures are one person's, see
            ``Calibration.threshold``.
        method: linkage of agglomerative clustering, in which two groups are joined as long as
            their ``average`` or their smallest (``complete``) similarity is at least the threshold;
            or ``hdbscan`` (Campello et al., 2013), which finds thresholds of its own by density and
            needs no matrix of all pairs. What it takes for noise, anybody with fewer than four
            pictures, is a person for each picture.

    Returns:
        Number of the person in each picture, from 0, by first appearance, (N,).

    Raises:
        RetrievalError: scikit-learn is not installed, there are no pictures or too many, or
            embeddings are not finite.
        ValueError: another method.
    """
    with needing("grouping needs scikit-learn", "search", RetrievalError):
        from sklearn.cluster import HDBSCAN, AgglomerativeClustering
    if method not in METHODS:
        raise ValueError(f"expected a method of {', '.join(METHODS)}, found {method!r}")
    count = len(embeddings)
    if not count:
        raise RetrievalError("there are no pictures to group")
    require_finite(embeddings)
    if count == 1:
        return np.zeros(1, int)
    unit = as_float(embeddings.vectors, normalise=True).numpy()
    if method == "hdbscan":
        found = np.full(count, -1)
        if count >= _CLUSTER:
            found = HDBSCAN(_CLUSTER, min_samples=_CLUSTER - 1, copy=True).fit_predict(unit)
        found[found < 0] = found.max() + 1 + np.arange((found < 0).sum())
    else:
        if count > _MOST:
            raise RetrievalError(
                f"{count:,} pictures have too many pairs for the method {method}, which takes "
                f"{_MOST:,} at most: take hdbscan"
            )
        found = AgglomerativeClustering(
            n_clusters=None,
            metric="precomputed",
            linkage=method,
            # It joins below the distance, and the threshold itself is to be joined.
            distance_threshold=float(np.nextafter(1 - threshold, 2)),
        ).fit_predict((1 - unit @ unit.T).clip(0))
    _, first, number = np.unique(found, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[number])


def agreement(found: np.ndarray, people: Sequence[int | str]) -> Agreement:
    """Compare groups (N,) with the true people of the pictures (N,).

    Raises:
        RetrievalError: scikit-learn is not installed.
        ValueError: another number of people.
    """
    with needing("a comparison of groups needs scikit-learn", "search", RetrievalError):
        from sklearn.metrics import adjusted_rand_score
        from sklearn.metrics.cluster import pair_confusion_matrix
    if len(found) != len(people):
        raise ValueError(f"expected a person for each of {len(found)} pictures, got {len(people)}")
    names = np.unique(np.asarray(people), return_inverse=True)[1]
    (_, wrong), (missed, right) = pair_confusion_matrix(names, found).tolist()

    def share(part: int, whole: int) -> float:
        return part / whole if whole else 1.0  # no pairs: none is wrong

    return Agreement(
        share(right, right + wrong),
        share(right, right + missed),
        share(2 * right, 2 * right + wrong + missed),
        float(adjusted_rand_score(names, found)),
        len(np.unique(found)),
        len(np.unique(names)),
    )


def groups_as_csv(embeddings: Embeddings, found: np.ndarray) -> str:
    """Return a table of the groups: path, frame, person."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["path", "frame", "person"])
    writer.writerows(
        [path, frame, person]
        for path, frame, person in zip(embeddings.paths, embeddings.frames, found)
    )
    return text.getvalue()


def check_new_folder(folder: Path) -> None:
    """Check that a folder can be made.

    Raises:
        RetrievalError: it exists, or there is no folder for it.
    """
    if folder.exists():
        raise RetrievalError(f"{folder} exists already: give another name")
    if not folder.absolute().parent.is_dir():
        raise RetrievalError(f"there is no folder {folder.parent} to make {folder.name} in")


def write_folders(embeddings: Embeddings, found: np.ndarray, folder: Path) -> int:
    """Copy the images into a folder for each person; complete or not at all.

    Args:
        embeddings, found: of ``group``.
        folder: which must not exist: ``folder/0001/<row>_<name>``, …

    Returns:
        How many pictures are left out, because they are frames of videos.

    Raises:
        RetrievalError: the folder exists, or an image is no longer there.
        OSError: it cannot be written.
    """
    check_new_folder(folder)
    left_out = 0
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as work:
        made = Path(work, "people")
        for row, (path, frame, person) in enumerate(
            zip(embeddings.paths, embeddings.frames, found)
        ):
            if frame != NO_FRAME:
                left_out += 1
                continue
            target = made / f"{person + 1:04d}" / f"{row:06d}_{Path(str(path)).name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(path, target)
            except FileNotFoundError as error:
                raise RetrievalError(
                    f"{path} is not there: run this where the images were extracted"
                ) from error
        made.mkdir(exist_ok=True)
        os.replace(made, folder)
    return left_out


def read_names(path: Path) -> Callable[[Embeddings], list[str]]:
    """Read who is who, and return a function that gives the true person of each picture.

    Args:
        path: a table with the columns ``path`` and ``person``, see ``gallery.read_table``; or a
            folder that has one for each person, with the pictures in it.

    Raises:
        RetrievalError: it is neither; or, when the function is called, a picture has no person.
        ListError, OSError: the file cannot be read.
    """
    with_table = None if path.is_dir() else read_table(path, "person")

    def people_of(embeddings: Embeddings) -> list[str]:
        if with_table:
            named = with_table(embeddings).people
            assert named is not None  # it has the column
            people = [str(name) for name in named]
        else:
            places = [os.path.relpath(str(name), path).split(os.sep) for name in embeddings.paths]
            people = ["" if at[0] == os.pardir or not at[1:] else at[0] for at in places]
        if lacking := [row for row, name in enumerate(people) if not name]:
            raise RetrievalError(
                f"{path} names nobody for {len(lacking)} of {len(people)} pictures, such as "
                f"{embeddings.place(lacking[0])}"
            )
        return people

    return people_of
