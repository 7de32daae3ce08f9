"""Pictures -> embeddings, in memory or into a file; a run that was interrupted goes on."""

import glob
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..files import locked, write_atomically
from ..hub import Card
from ..images import ImageError
from ..parts import NUM_PARTS
from ..workers import Workers
from .embedding_files import require_writable, write_embeddings
from .embeddings import Embeddings, card_of, concatenated
from .errors import RetrievalError
from .open import Network, Preprocessing
from .sources import Picture, count_pictures, find_sources, pictures

CHUNK = 512  # pictures whose embeddings are kept at once, at least; what a killed run loses


class Extraction(NamedTuple):
    """Counts of what was written.

    Attributes:
        rows: number of embeddings.
        size: of an embedding, D.
        problems: a line for each picture or video that could not be used, or not wholly.
        continued: pictures that an earlier, interrupted run had done.
    """

    rows: int
    size: int
    problems: list[str]
    continued: int


def extract(
    network: Network,
    sources: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    batch_size: int = 32,
    workers: int = 4,
    dtype: str = "float32",
    every: int = 1,
    overwrite: bool = False,
) -> Extraction:
    """Write the embeddings of images and of videos' frames into a file.

    The rows are in the order of ``sources``, those of a folder sorted by name. What is finished
    is kept in ``<out>.partial/``: after an interruption the same call goes on there and gives the
    same file as one that was not interrupted.

    Args:
        network: from ``open_network``.
        sources: images, folders, patterns and videos (see ``find_sources``). Pictures are scaled
            to the network's size as a whole: nobody is searched in them.
        out: a new file, ``.npz`` or ``.parquet``.
        batch_size: pictures that the network sees at once.
        workers: threads that read pictures.
        dtype: of the embeddings in the file, ``float32`` or ``float16``.
        every: of a video, each frame whose number is a multiple of it.
        overwrite: replace ``out``, and an unfinished run with other settings.

    Raises:
        RetrievalError: ``out`` exists or cannot be written; nothing is there by a name of
            ``sources``; there is an unfinished run with other settings; no picture could be read;
            the network gives values that are not finite; or a GPU has too little memory.
        LockedError: another run is writing the same file.
        OSError: a file cannot be written, such as on a full disk.
    """
    out = Path(out).expanduser()
    if out.exists() and not overwrite:
        raise RetrievalError(f"{out} exists already: give another name, or --overwrite")
    require_writable(out)
    paths = find_sources(sources)
    card = card_of(network)
    settings = {
        "model": network.card.model,
        "sha256 of the weights": network.card.sha256,
        "size": [card.height, card.width],
        "mean and std": [card.mean, card.std],
        "device": network.device.type,
        "batch size": batch_size,
        "dtype": dtype,
        "every": every,
        "number of files": len(paths),
        "digest of the files' names, sizes and times": _digest(paths),
        "version": card.version,
    }
    chunk = -(-CHUNK // batch_size)  # in batches: those of any run are the same
    folder = out.with_name(out.name + ".partial")
    folder.mkdir(exist_ok=True)
    with locked(folder / ".lock"):
        for left in out.parent.glob(f".{glob.escape(out.name)}.*.partial"):  # by a killed run
            left.unlink()
        unfinished = _Unfinished(folder, settings, card, overwrite)
        done = unfinished.chunks * chunk * batch_size
        total = count_pictures(paths, every)
        batches = _batches(network, paths, batch_size, workers, every, skip=done)
        going_on = "going on after an interruption" if done else None
        with tqdm(desc=going_on, total=total, initial=min(done, total), unit="picture") as bar:
            while True:
                group = []
                for batch in islice(batches, chunk):
                    group.append(batch)
                    bar.update(batch.pictures)
                if not group:
                    break
                block = concatenated([_stored(batch.embeddings, dtype) for batch in group])
                unfinished.append(block, [problem for batch in group for problem in batch.problems])
        rows, problems = unfinished.rows(), unfinished.problems()
        if rows:
            write_embeddings(out, unfinished.blocks(), rows, card)
    shutil.rmtree(folder)
    if not rows:
        raise RetrievalError("\n  ".join(["none of the pictures can be used", *problems]))
    return Extraction(rows, network.model.embedding_size, problems, min(done, total))


def embed(
    network: Network,
    paths: Sequence[str],
    *,
    batch_size: int = 32,
    workers: int = 4,
    bar: bool = False,
) -> tuple[Embeddings, list[str]]:
    """Return the float32 embeddings of images and videos, and a line for each that is broken.

    Args:
        network: from ``open_network``.
        paths: as ``find_sources`` gives them; at least one.
        batch_size, workers: as for ``extract``.
        bar: show how far it is.
    """
    batches = []
    with tqdm(total=len(paths), unit="picture", disable=None if bar else True) as shown:
        for batch in _batches(network, paths, batch_size, workers):
            batches.append(batch)
            shown.update(batch.pictures)
    problems = [problem for batch in batches for problem in batch.problems]
    return concatenated([batch.embeddings for batch in batches]), problems


class _Batch(NamedTuple):
    """Some pictures' embeddings, and problems of others. ``pictures``: the number of both."""

    embeddings: Embeddings
    problems: list[str]
    pictures: int


def _batches(
    network: Network,
    paths: Sequence[str],
    batch_size: int,
    workers: int,
    every: int = 1,
    skip: int = 0,
) -> Iterator[_Batch]:
    """``batch_size`` pictures after the other, broken ones included; the first ``skip`` left out.

    What a network says of a picture depends, by a hair, on the others in its batch, so a picture
    is in the same batch in any run.
    """
    card = card_of(network)
    try:
        network = replace(network, model=network.model.optimize_for_inference())
    except ValueError as error:
        raise RetrievalError(f"{network.card.name}: {error}") from error
    load = partial(_load, network.preprocessing)
    wanted = ([picture.kept()] for picture in islice(pictures(paths, every), skip, None))
    with Workers(lambda: load, workers, processes=False, ahead=batch_size + workers) as pool:
        loaded = pool.map(wanted)
        while group := list(islice(loaded, batch_size)):
            yield _embed(network, card, group)


_Loaded = tuple[Picture, Tensor | str]  # the network's input, or what is wrong


def _load(preprocessing: Preprocessing, one: Sequence[Picture]) -> _Loaded:
    (picture,) = one
    if picture.problem:
        return picture, f"{picture.place}: {picture.problem}"
    try:
        return picture, preprocessing(picture.read())
    except ImageError as error:
        return picture, str(error)


@torch.inference_mode()
def _embed(network: Network, card: Card, group: Sequence[_Loaded]) -> _Batch:
    good = [(picture.place, tensor) for picture, tensor in group if isinstance(tensor, Tensor)]
    problems = [found for _, found in group if isinstance(found, str)]
    vectors = np.empty((0, network.model.embedding_size), np.float32)
    visibility = np.empty((0, NUM_PARTS), np.float32) if network.model.has_parts else None
    if good:
        images = torch.stack([tensor for _, tensor in good]).to(network.device)
        try:
            seen = network.model.inspect(images)
        except torch.cuda.OutOfMemoryError as error:
            raise RetrievalError(
                f"{network.device} has too little memory for {len(good)} pictures at once: give a "
                "smaller --batch-size"
            ) from error
        vectors = seen.vector.cpu().numpy()
        if seen.visibility is not None:
            visibility = seen.visibility.cpu().numpy()
        if not np.isfinite(vectors).all():
            raise RetrievalError(
                f"the network gives embeddings that are not finite, such as of {good[0][0]}: "
                f"its weights {network.card.name} are of no use"
            )
    embeddings = Embeddings(
        np.array([place.path for place, _ in good], dtype=np.str_),
        np.array([place.frame for place, _ in good], dtype=np.int32),
        vectors,
        visibility,
        card,
    )
    return _Batch(embeddings, problems, sum(not picture.problem for picture, _ in group))


def _stored(embeddings: Embeddings, dtype: str) -> Embeddings:
    with np.errstate(over="ignore"):  # an error below
        vectors = embeddings.vectors.astype(dtype)
    if not np.isfinite(vectors).all():
        raise RetrievalError("the embeddings have values too large for float16: take float32")
    return replace(embeddings, vectors=vectors)


def _digest(paths: Sequence[str]) -> str:
    """Changes if a file is added, renamed or written anew."""
    digest = hashlib.sha256()
    for path in paths:
        status = os.stat(path)
        digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()[:16]


class _Unfinished:
    """Chunks of embeddings in a folder, until there are all.

    Args:
        folder: where they are.
        settings: what makes the chunks what they are, as JSON can hold it. A run goes on only with
            the same.
        card: of the network.
        start_anew: throw away chunks of other settings instead of refusing to go on.

    Raises:
        RetrievalError: there are chunks of other settings.
    """

    def __init__(
        self, folder: Path, settings: dict[str, Any], card: Card, start_anew: bool
    ) -> None:
        self.chunks = 0  # how many there are
        self._folder, self._card = folder, card
        path = folder / "settings.json"
        text = json.dumps(settings, indent=1)
        try:
            before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        except ValueError as error:
            raise RetrievalError(f"{path} is damaged: delete the folder") from error
        if before not in (None, json.loads(text)):
            if not start_anew:
                changes = "; ".join(
                    f"{key} {before.get(key)}, now {value}"
                    for key, value in json.loads(text).items()
                    if before.get(key) != value
                )
                raise RetrievalError(
                    f"{folder} holds an unfinished run with other settings ({changes}): give the "
                    "same to go on, or --overwrite to start anew"
                )
            for chunk in folder.glob("*.npz"):
                chunk.unlink()
        write_atomically(path, text.encode())
        while self._path(self.chunks).exists():
            self.chunks += 1

    def append(self, block: Embeddings, problems: Sequence[str]) -> None:
        """Keep one more chunk, and what was wrong with pictures of it."""
        columns: dict[str, Any] = dict(block.columns())
        data = io.BytesIO()
        np.savez(data, problems=np.array(problems, dtype=np.str_), **columns)
        write_atomically(self._path(self.chunks), data.getvalue())
        self.chunks += 1

    def rows(self) -> int:
        """Return the number of embeddings of all chunks."""
        return sum(len(columns["frames"]) for columns in self._read("frames"))

    def problems(self) -> list[str]:
        """Return what was wrong with pictures, of all chunks."""
        return [str(one) for columns in self._read("problems") for one in columns["problems"]]

    def blocks(self) -> Iterator[Embeddings]:
        """Yield the chunks' embeddings, one after the other."""
        for columns in self._read():
            yield Embeddings.from_columns(columns, self._card)

    def _path(self, chunk: int) -> Path:
        return self._folder / f"{chunk:06d}.npz"

    def _read(self, *names: str) -> Iterator[dict[str, np.ndarray]]:
        for path in map(self._path, range(self.chunks)):
            try:
                with np.load(path, allow_pickle=False) as file:
                    yield {name: file[name] for name in names or file.files}
            except (OSError, ValueError, KeyError, EOFError) as error:
                raise RetrievalError(
                    f"{path} cannot be read ({error}): delete {self._folder} and start anew"
                ) from error
