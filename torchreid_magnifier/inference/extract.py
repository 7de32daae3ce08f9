"""Pictures -> embeddings, in memory or into a file; a run that was interrupted goes on."""

import glob
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import count, groupby, islice, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..distributed.processes import ALONE, Processes
from ..files import locked, write_atomically
from ..hub import Card
from ..images import ImageError
from ..parts import NUM_PARTS
from ..workers import Workers
from .detections import Detections
from .embedding_files import require_writable, write_embeddings
from .embeddings import Embeddings, card_of, concatenated
from .errors import RetrievalError
from .frames import normalised, resized
from .open import Network, Preprocessing
from .sources import Picture, count_pictures, find_sources, pictures
from .tracklets import combined

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

    def __str__(self) -> str:
        before = f" ({self.continued} pictures by an interrupted run)" if self.continued else ""
        return f"{self.rows} embeddings of {self.size} values, not L2-normalised{before}"


def extract(
    network: Network,
    sources: Sequence[str | os.PathLike[str]] | Detections,
    out: str | os.PathLike[str],
    *,
    batch_size: int = 32,
    workers: int = 4,
    dtype: str = "float32",
    every: int = 1,
    tracklets: bool = False,
    parts: bool = False,
    overwrite: bool = False,
    processes: Processes = ALONE,
) -> Extraction:
    """Write the embeddings of images, of videos' frames, or of people in them into a file.

    The rows are in the order of ``sources``, those of a folder sorted by name. What is finished
    is kept in ``<out>.partial/``: after an interruption the same call goes on there and gives the
    same file as one that was not interrupted, whatever the number of processes.

    Args:
        network: from ``open_network``.
        sources: images, folders, patterns and videos (see ``find_sources``). Pictures are scaled
            to the network's size as a whole: nobody is searched in them. Or boxes of people, from
            ``read_detections``, which become crops as in ``Network.embed``.
        out: a new file, ``.npz`` or ``.parquet``.
        batch_size: pictures that the network sees at once.
        workers: threads that read pictures.
        dtype: of the embeddings in the file, ``float32`` or ``float16``.
        every: of a video, each frame whose number is a multiple of it; not of ``Detections``.
        tracklets: write one embedding for each track of ``Detections``, see ``tracklets``.
        parts: keep the features of body parts too, for distances over those that two pictures
            show; not of tracklets.
        overwrite: replace ``out``, and an unfinished run with other settings.
        processes: that share the pictures out, on one file system; the main one writes ``out`` and
            knows the counts.

    Raises:
        RetrievalError: ``out`` exists or cannot be written; nothing is there by a name of
            ``sources``; there is an unfinished run with other settings; no picture could be read;
            a frame with boxes is missing; there are no tracks for ``tracklets``; the network gives
            values that are not finite; or a GPU has too little memory.
        ImageError: a frame with boxes is broken.
        FailedElsewhere: another process has failed, and says why.
        LockedError: another run is writing the same file.
        OSError: a file cannot be written, such as on a full disk.
    """
    out = Path(out).expanduser()
    card = card_of(network)
    found = processes.from_main(
        lambda: sources if isinstance(sources, Detections) else find_sources(sources)
    )
    boxed = isinstance(found, Detections)
    per_chunk = -(-CHUNK // batch_size)  # in batches: those of any run are the same
    size = per_chunk * batch_size
    chunks = _Chunks(out.with_name(out.name + ".partial"), card)

    def begin() -> tuple[frozenset[int], int]:
        if tracklets and not (isinstance(found, Detections) and found.has_tracks):
            raise RetrievalError(
                "tracklets need boxes with tracks: give the file of a tracker, or leave tracklets "
                "out"
            )
        if tracklets and parts:
            raise RetrievalError("tracklets have no features of parts: leave one of both out")
        if out.exists() and not overwrite:
            raise RetrievalError(f"{out} exists already: give another name, or --overwrite")
        require_writable(out)
        chunks.folder.mkdir(exist_ok=True)
        lock.enter_context(locked(chunks.folder / ".lock"))
        for left in out.parent.glob(f".{glob.escape(out.name)}.*.partial"):  # by a killed run
            left.unlink()
        paths = found.paths if isinstance(found, Detections) else found
        settings = {
            "model": network.card.model,
            "sha256 of the weights": network.card.sha256,
            "numbers": network.card.quantised or "floating point",
            "size": [card.height, card.width],
            "mean and std": [card.mean, card.std],
            "device": network.device.type,
            "batch size": batch_size,
            "dtype": dtype,
            "every": every,
            "features of parts": parts,
            "number of files": len(paths),
            "digest of the files' names, sizes and times": _digest(paths),
            "digest of the boxes": found.digest() if isinstance(found, Detections) else None,
            "version": card.version,
        }
        chunks.settle(settings, overwrite)
        return chunks.numbers(), len(found) if boxed else count_pictures(paths, every)

    def share() -> None:
        given = found.pictures() if isinstance(found, Detections) else pictures(found, every)
        mine = _share(given, size, processes, done)
        batches = _batches(network, mine, batch_size, workers, parts)
        numbers = (number for number in count() if number not in done)
        bar = tqdm(
            desc="going on after an interruption" if done else None,
            total=total,
            initial=continued,
            unit="picture",
            disable=not processes.is_main,
        )
        with bar:
            for number in islice(numbers, processes.rank, None, processes.count):
                group = []
                for batch in islice(batches, per_chunk):
                    group.append(batch)
                    _advance(bar, batch, processes)
                if not group:
                    break
                block = concatenated([_stored(batch.embeddings, dtype) for batch in group])
                problems = [problem for batch in group for problem in batch.problems]
                chunks.write(number, block, problems)

    def finish() -> Extraction:
        rows, problems = chunks.rows(), chunks.problems()
        if rows and tracklets:
            made = chunks.tracklets()
            rows = len(made)
            write_embeddings(out, [made], rows, card)
        elif rows:
            write_embeddings(out, chunks.blocks(), rows, card)
        return Extraction(rows, network.model.embedding_size, problems, continued)

    with ExitStack() as lock:
        done, total = processes.from_main(begin)
        continued = sum(min(size, max(total - number * size, 0)) for number in done)
        processes.together(share)
        written = processes.from_main(finish)
    if processes.is_main:
        shutil.rmtree(chunks.folder)
        if not written.rows:
            raise RetrievalError.none_usable(written.problems)
    return written


def embed(
    network: Network,
    paths: Sequence[str],
    *,
    batch_size: int = 32,
    workers: int = 4,
    bar: bool = False,
    parts: bool = False,
    processes: Processes = ALONE,
) -> tuple[Embeddings, list[str]]:
    """Return the float32 embeddings of images and videos, and a line for each that is broken.

    Args:
        network: from ``open_network``.
        paths: as ``find_sources`` gives them; at least one.
        batch_size, workers, parts: as for ``extract``.
        bar: show how far it is.
        processes: that share the pictures out; each has all embeddings in the end.

    Raises:
        RetrievalError: the network gives values that are not finite, or a GPU has too little
            memory.
        FailedElsewhere: another process has failed, and says why.
    """
    batches = []

    def share() -> None:
        mine = _share(pictures(paths), batch_size, processes)
        hidden = None if bar and processes.is_main else True
        with tqdm(total=len(paths), unit="picture", disable=hidden) as shown:
            for batch in _batches(network, mine, batch_size, workers, parts):
                batches.append(batch)
                _advance(shown, batch, processes)

    processes.together(share)
    turns = zip_longest(*processes.gather(batches))
    ordered = [batch for turn in turns for batch in turn if batch is not None]
    problems = [problem for batch in ordered for problem in batch.problems]
    return concatenated([batch.embeddings for batch in ordered]), problems


def _share(
    given: Iterable[Picture],
    size: int,
    processes: Processes,
    done: frozenset[int] = frozenset(),
) -> Iterator[Picture]:
    """This process's pictures: of chunks of ``size`` that are not ``done``, one after the other.

    Those of others are neither read nor decoded.
    """
    turn = 0
    for number, group in groupby(enumerate(given), key=lambda one: one[0] // size):
        if number not in done:
            if turn % processes.count == processes.rank:
                yield from (picture for _, picture in group)
            turn += 1


class _Batch(NamedTuple):
    """Some pictures' embeddings, and problems of others. ``pictures``: the number of both."""

    embeddings: Embeddings
    problems: list[str]
    pictures: int


def _advance(bar: Any, batch: _Batch, processes: Processes) -> None:
    """Show how far all processes are, as if they were equally fast."""
    step = batch.pictures * processes.count
    bar.update(step if processes.count == 1 else min(step, max(bar.total - bar.n, 0)))


def _batches(
    network: Network,
    wanted: Iterable[Picture],
    batch_size: int,
    workers: int,
    parts: bool = False,
) -> Iterator[_Batch]:
    """``batch_size`` pictures after the other, broken ones included.

    What a network says of a picture depends, by a hair, on the others in its batch, so a picture
    is in the same batch in any run.
    """
    card = card_of(network)
    if parts and not network.model.has_regions:
        raise RetrievalError(
            f"{network.card.name}: its model {network.card.model} has no features of body parts: "
            "take one with the Semantic Fusion Branch, or leave the parts out"
        )
    try:
        network = replace(network, model=network.model.optimize_for_inference())
    except ValueError as error:
        raise RetrievalError(f"{network.card.name}: {error}") from error
    load = partial(_load, network.preprocessing)
    with Workers(lambda: load, workers, processes=False, ahead=batch_size + workers) as pool:
        loaded = pool.map([picture.kept()] for picture in wanted)
        while group := list(islice(loaded, batch_size)):
            yield _embed(network, card, group, parts)


_Loaded = tuple[Picture, Tensor | str]  # the network's input, or what is wrong


def _load(preprocessing: Preprocessing, one: Sequence[Picture]) -> _Loaded:
    (picture,) = one
    if picture.problem:
        return picture, f"{picture.place}: {picture.problem}"
    if picture.place.box is not None:  # as Network.embed has it; that it cannot be read is an error
        crop = resized(picture.crop(), (preprocessing.height, preprocessing.width))
        return picture, normalised(crop, preprocessing.mean, preprocessing.std)
    try:
        return picture, preprocessing(picture.read())
    except ImageError as error:
        return picture, str(error)


@torch.inference_mode()
def _embed(network: Network, card: Card, group: Sequence[_Loaded], parts: bool) -> _Batch:
    good = [(picture, tensor) for picture, tensor in group if isinstance(tensor, Tensor)]
    places = [picture.place for picture, _ in good]
    problems = [found for _, found in group if isinstance(found, str)]
    vectors = np.empty((0, network.model.embedding_size), np.float32)
    visibility = np.empty((0, NUM_PARTS), np.float32) if network.model.has_parts else None
    regions = np.empty((0, 0), np.float16) if parts else None
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
        if parts and seen.regions is not None:
            regions = seen.regions.flatten(1).half().cpu().numpy()
        if not np.isfinite(vectors).all():
            raise RetrievalError(
                f"the network gives embeddings that are not finite, such as of {places[0]}: "
                f"its weights {network.card.name} are of no use"
            )
    embeddings = Embeddings(
        np.array([place.path for place in places], dtype=np.str_),
        np.array([place.frame for place in places], dtype=np.int32),
        vectors,
        visibility,
        card,
        regions=regions if good else None,
    )
    if any(place.box is not None for place in places):
        embeddings = replace(
            embeddings,
            boxes=np.array([place.box for place in places], np.float32),
            tracks=np.array([place.track for place in places], np.int32),
            scores=np.array([picture.score for picture, _ in good], np.float32),
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


class _Chunks:
    """Chunks of embeddings in a folder, until there are all.

    Args:
        folder: where they are.
        card: of the network.
    """

    def __init__(self, folder: Path, card: Card) -> None:
        self.folder, self._card = folder, card

    def settle(self, settings: dict[str, Any], start_anew: bool) -> None:
        """See that the chunks that are there are of these settings.

        Args:
            settings: what makes the chunks what they are, as JSON can hold it.
            start_anew: throw away chunks of other settings instead of refusing to go on.

        Raises:
            RetrievalError: there are chunks of other settings.
        """
        path = self.folder / "settings.json"
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
                    f"{self.folder} holds an unfinished run with other settings ({changes}): give "
                    "the same to go on, or --overwrite to start anew"
                )
            for chunk in self._paths():
                chunk.unlink()
        write_atomically(path, text.encode())

    def numbers(self) -> frozenset[int]:
        """Return which chunks are there."""
        return frozenset(int(path.stem) for path in self._paths())

    def write(self, number: int, block: Embeddings, problems: Sequence[str]) -> None:
        """Keep one more chunk, and what was wrong with pictures of it."""
        columns: dict[str, Any] = dict(block.columns())
        data = io.BytesIO()
        np.savez(data, problems=np.array(problems, dtype=np.str_), **columns)
        write_atomically(self.folder / f"{number:06d}.npz", data.getvalue())

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

    def tracklets(self) -> Embeddings:
        """Return one embedding for each track; the crops' are read twice, a chunk at a time."""
        facts = [replace(block, vectors=block.vectors[:, :0]) for block in self.blocks()]
        return combined(
            lambda: (columns["embeddings"] for columns in self._read("embeddings")),
            concatenated(facts),
        )

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*.npz"))

    def _read(self, *names: str) -> Iterator[dict[str, np.ndarray]]:
        for path in self._paths():
            try:
                with np.load(path, allow_pickle=False) as file:
                    yield {name: file[name] for name in names or file.files}
            except (OSError, ValueError, KeyError, EOFError) as error:
                raise RetrievalError(
                    f"{path} cannot be read ({error}): delete {self.folder} and start anew"
                ) from error
