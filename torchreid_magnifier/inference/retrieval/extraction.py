"""Pictures -> embeddings, in memory or into a file; a run that was interrupted goes on."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from ...annotate.workers import Workers
from ...data.masks import UNREADABLE
from ...parts import NUM_PARTS
from ..network import Network, Preprocessing
from .embeddings import Embeddings, Metadata, concatenated
from .errors import RetrievalError
from .files import require_writable, write_embeddings
from .pictures import Picture, count_pictures, pictures
from .sources import find_sources
from .unfinished import Unfinished

CHUNK = 512  # pictures whose embeddings are kept at once, at least; what a killed run loses
DTYPES = ("float32", "float16")


class Extraction(NamedTuple):
    """What was written.

    Attributes:
        rows: number of embeddings.
        size: of an embedding, D.
        faults: a line for each picture or video that could not be used, or not wholly.
        continued: pictures that an earlier, interrupted run had done.
    """

    rows: int
    size: int
    faults: list[str]
    continued: int


def extract(
    network: Network,
    sources: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    *,
    batch_size: int = 32,
    workers: int = 4,
    dtype: str = "float32",
    every: int = 1,
    overwrite: bool = False,
) -> Extraction:
    """Writes the embeddings of images and of videos' frames into a file.

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
        OSError: a file cannot be written, such as on a full disk.
    """
    out = Path(out).expanduser()
    if out.exists() and not overwrite:
        raise RetrievalError(f"{out} exists already: give another name, or --overwrite")
    require_writable(out)
    paths = find_sources(sources)
    metadata = Metadata.of(network)
    settings = {
        "model": network.name,
        "sha256 of the weights": network.sha256,
        "size": [metadata.height, metadata.width],
        "mean and std": [metadata.mean, metadata.std],
        "device": network.device.type,
        "batch size": batch_size,
        "dtype": dtype,
        "every": every,
        "number of files": len(paths),
        "digest of the files' names, sizes and times": _digest(paths),
        "version": metadata.version,
    }
    chunk = -(-CHUNK // batch_size)  # in batches: those of any run are the same
    with Unfinished(out, settings, metadata, overwrite) as unfinished:
        done = unfinished.chunks * chunk * batch_size
        total = count_pictures(paths, every)
        batches = _batches(
            network, paths, batch_size=batch_size, workers=workers, every=every, skip=done
        )
        going_on = "going on after an interruption" if done else None
        with tqdm(desc=going_on, total=total, initial=min(done, total), unit="picture") as bar:
            while group := list(islice(_counted(batches, bar), chunk)):
                block = concatenated([_stored(batch.embeddings, dtype) for batch in group])
                unfinished.append(block, [fault for batch in group for fault in batch.faults])
        rows, faults = unfinished.rows(), unfinished.faults()
        if rows:
            write_embeddings(out, unfinished.blocks(), rows, metadata)
        unfinished.remove()
    if not rows:
        raise RetrievalError("\n  ".join(["none of the pictures can be used", *faults]))
    return Extraction(rows, network.model.embedding_size, faults, min(done, total))


def embed(
    network: Network, paths: Sequence[str], *, batch_size: int = 32, workers: int = 4
) -> tuple[Embeddings, list[str]]:
    """As ``extract``, in memory: the embeddings, float32, and the faults.

    Args:
        paths: images and videos, as ``find_sources`` gives them; at least one.
    """
    batches = list(_batches(network, paths, batch_size=batch_size, workers=workers))
    faults = [fault for batch in batches for fault in batch.faults]
    return concatenated([batch.embeddings for batch in batches]), faults


class _Batch(NamedTuple):
    """Some pictures' embeddings, and faults of others. ``pictures``: the number of both."""

    embeddings: Embeddings
    faults: list[str]
    pictures: int


def _batches(
    network: Network,
    paths: Sequence[str],
    *,
    batch_size: int,
    workers: int,
    every: int = 1,
    skip: int = 0,
) -> Iterator[_Batch]:
    """``batch_size`` pictures after the other, faulty ones included; the first ``skip`` left out.

    What a network says of a picture depends, by a hair, on the others in its batch, so a picture
    is in the same batch in any run.
    """
    metadata = Metadata.of(network)
    try:
        network = replace(network, model=network.model.optimize_for_inference())
    except ValueError as error:
        raise RetrievalError(f"{network.weights}: {error}") from error
    load = partial(_load, network.preprocessing)
    wanted = ([picture.kept()] for picture in islice(pictures(paths, every), skip, None))
    with Workers(lambda: load, workers, processes=False, ahead=batch_size + workers) as pool:
        loaded = pool.map(wanted)
        while group := list(islice(loaded, batch_size)):
            yield _embed(network, metadata, group)


_Loaded = tuple[Picture, Tensor | str]  # the network's input, or what is wrong


def _load(preprocessing: Preprocessing, one: Sequence[Picture]) -> _Loaded:
    (picture,) = one
    if picture.fault:
        return picture, picture.fault
    try:
        return picture, preprocessing(picture.read())
    except UNREADABLE as error:
        return picture, f"cannot be read: {error}"


@torch.inference_mode()
def _embed(network: Network, metadata: Metadata, group: Sequence[_Loaded]) -> _Batch:
    good = [(picture, tensor) for picture, tensor in group if isinstance(tensor, Tensor)]
    faults = [f"{picture.place}: {fault}" for picture, fault in group if isinstance(fault, str)]
    vectors = torch.empty(0, network.model.embedding_size)
    labels = None
    if good:
        images = torch.stack([tensor for _, tensor in good]).to(network.device)
        try:
            inspection = network.model.inspect(images)
        except torch.cuda.OutOfMemoryError as error:
            raise RetrievalError(
                f"{network.device} has too little memory for {len(good)} pictures at once: give a "
                "smaller --batch-size"
            ) from error
        vectors, labels = inspection.vector.cpu(), inspection.part_labels
        if not vectors.isfinite().all():
            raise RetrievalError(
                f"the network gives embeddings that are not finite, such as of {good[0][0].place}: "
                f"its weights {network.weights} are of no use"
            )
    visibility = None
    if labels is not None:
        visibility = F.one_hot(labels, NUM_PARTS).float().mean((1, 2)).cpu().numpy()
    elif not good and network.model.has_parts:
        visibility = np.empty((0, NUM_PARTS), np.float32)
    embeddings = Embeddings(
        np.array([picture.place.path for picture, _ in good], dtype=np.str_),
        np.array([picture.place.frame for picture, _ in good], dtype=np.int32),
        vectors.numpy(),
        visibility,
        metadata,
    )
    return _Batch(embeddings, faults, sum(not picture.fault for picture, _ in group))


def _stored(embeddings: Embeddings, dtype: str) -> Embeddings:
    with np.errstate(over="ignore"):  # told below
        vectors = embeddings.vectors.astype(dtype)
    if not np.isfinite(vectors).all():
        raise RetrievalError("the embeddings have values too large for float16: take float32")
    return replace(embeddings, vectors=vectors)


def _counted(batches: Iterable[_Batch], bar: tqdm) -> Iterator[_Batch]:
    for batch in batches:
        yield batch
        bar.update(batch.pictures)


def _digest(paths: Sequence[str]) -> str:
    """Changes if a file is added, renamed or written anew."""
    digest = hashlib.sha256()
    for path in paths:
        status = os.stat(path)
        digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()[:16]
