"""Measures the search of this package: time, memory, and what approximate indexes find.

    python benchmarks/search.py --out search.json

Prints Markdown tables and writes the numbers as JSON. Every configuration is measured in a process
of its own; those that would need more than ``--memory`` or ``--disk`` are left out, and listed.
Times are of the processor (with one thread, what a clock shows on a machine that is not busy), so
that other programs disturb them little; reading from a disk is not in them.

The embeddings are made, of the size of ``magnifiernet``'s: in 64 dimensions a look (one of 200) + a
person + noise, three random vectors, brought into 4096 dimensions by a random projection and scaled
to length 1. Ten pictures of a person have a cosine of about 2/3 with each other, 1/3 with those of
other people of the same look, and 0 with the rest, each give or take 0.1. Queries are further
pictures of some of the people.

    python benchmarks/search.py --like gallery.npz --indexes exact flat hnsw milvus-flat milvus-hnsw

makes them like a real gallery's, of ``extract`` over Market-1501's ``bounding_box_test``: a mean, a
person (normal, with the covariance of its people's means) + noise (with that of the pictures around
these), all of the embeddings scaled to length 1. So spectrum and similarities are the real ones'.
Milvus is the embedded one, through ``MilvusGallery``, in a file of its own.
"""

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from measuring.machine import GIB, describe

from torchreid_magnifier.hub import Card
from torchreid_magnifier.inference import index as faiss_index
from torchreid_magnifier.inference.embedding_files import read_embeddings, write_embeddings
from torchreid_magnifier.inference.embeddings import Embeddings
from torchreid_magnifier.inference.gallery import MilvusGallery
from torchreid_magnifier.inference.index import KINDS, ExactIndex, FaissIndex
from torchreid_magnifier.inference.search import recall, search

SIZE, LATENT = 4096, 64
LOOKS = 200
MILVUS = ("milvus-flat", "milvus-hnsw", "milvus-ivf_flat")
INDEXES = ("exact", *KINDS, *MILVUS)
PICTURES = 10  # of each person
QUERIES = 100
BLOCK = 5000  # rows that are made at once
LIMIT = 8 * GIB
OUT_OF_MEMORY = 3


def row_bytes(kind: str, size: int) -> int:
    """Bytes in memory for each row, at least; exact search reads its gallery from the file."""
    graph = 4 * 2 * 32 if kind.endswith("hnsw") else 8
    return 0 if kind == "exact" else 4 * size + graph


def main() -> None:
    """Measure everything that fits."""
    args = _parse()
    if args.hnsw:
        faiss_index._NEIGHBOURS, faiss_index._BUILD_BREADTH = args.hnsw
    if args.measure:
        maker = Maker(args.like)
        print(json.dumps(measure(maker, Path(args.measure[0]), *args.measure[1:], args.threads)))
        return
    if args.fill:
        fill(args.fill, args.threads)
        return
    results, left_out = [], []
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        maker = Maker(args.like and learnt(args.like, Path(folder) / "like.npz"))
        for rows in args.rows:
            for dtype in args.dtypes:
                name = f"{rows:,} x {dtype}"
                if rows * maker.size * np.dtype(dtype).itemsize > args.disk * GIB:
                    left_out.append(f"{name}: more than {args.disk:g} GiB on disk")
                    continue
                path = Path(folder) / "gallery.npz"
                write_embeddings(path, maker.gallery(rows, dtype), rows, maker.card)
                # FAISS holds float32 of either.
                kinds = ("exact",) if dtype == "float16" and rows < 10**6 else args.indexes
                for kind in kinds:
                    if rows * row_bytes(kind, maker.size) > args.memory * GIB:
                        left_out.append(f"{name}, {kind}: more than {args.memory:g} GiB of memory")
                        continue
                    words = ["--measure", str(path), str(rows), kind, dtype]
                    words += ["--like", str(maker.path)] if maker.path else []
                    try:
                        done = _process(args, words, timeout=args.limit)
                    except subprocess.TimeoutExpired:
                        left_out.append(f"{name}, {kind}: more than {args.limit:g} s")
                        continue
                    done.check_returncode()
                    results.append(json.loads(done.stdout))
                    print(results[-1], file=sys.stderr)
    filled = largest_flat(args) if args.fit else None
    numbers = {
        "machine": describe(),
        "threads": args.threads,
        "results": results,
        "not run": left_out,
        "fit": filled,
    }
    args.out.write_text(json.dumps(numbers, indent=1))
    print(table(results))
    print(*(f"Not run: {line}." for line in left_out), sep="\n")
    print(filled)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="*", default=[10**4, 10**5, 10**6])
    parser.add_argument("--indexes", nargs="+", choices=INDEXES, default=INDEXES)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "float16"])
    parser.add_argument("--like", type=Path, metavar="FILE", help="a real gallery of extract")
    parser.add_argument("--threads", type=int, default=1)
    what = "of FAISS's hnsw, in place of the package's: neighbours, breadth of building"
    parser.add_argument("--hnsw", type=int, nargs=2, metavar="N", help=what)
    parser.add_argument("--memory", type=float, default=12, help="GiB that an index may take")
    parser.add_argument("--disk", type=float, default=10, help="GiB that a gallery may take")
    parser.add_argument("--limit", type=float, default=3600, help="seconds for a configuration")
    parser.add_argument("--fit", action="store_true", help="find what fits into 8 GiB, by running")
    parser.add_argument("--out", type=Path, default=Path("search.json"))
    parser.add_argument("--folder", type=Path, default=Path("."), help="for the galleries")
    # What a process of its own does.
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--fill", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def _process(args: argparse.Namespace, words: list[str], **options: Any) -> Any:
    command = [sys.executable, __file__, "--threads", str(args.threads), *words]
    command += ["--hnsw", *map(str, args.hnsw)] if args.hnsw else []
    return subprocess.run(command, stdout=subprocess.PIPE, **options)


# ------------------------------------------------------------------ made embeddings


def learnt(gallery: Path, path: Path) -> Path:
    """Write what a `Maker` needs of a real gallery: its mean and two roots of covariances."""
    real = read_embeddings(gallery)
    names = [re.search(r"(\d{4})_c\d", str(name)) for name in real.paths]
    pids = np.array([-1 if name is None else int(name[1]) for name in names])
    rows = pids > 0  # 0000 and -1 are nobody's
    vectors = real.vectors[rows].astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    _, which, counts = np.unique(pids[rows], return_inverse=True, return_counts=True)
    means = np.zeros((len(counts), vectors.shape[1]))
    np.add.at(means, which, vectors)
    means /= counts[:, None]
    rest = vectors - means[which]
    within = rest.T @ rest / (len(rest) - len(counts))
    between = np.cov(means.T) - within * (1 / counts).mean()  # the means' own noise is in them
    roots = [_root(between), _root(within)]
    np.savez(path, mean=means.mean(0).astype(np.float32), roots=np.array(roots, np.float32))
    return path


def _root(covariance: np.ndarray) -> np.ndarray:
    values, directions = np.linalg.eigh(covariance)
    return np.sqrt(values.clip(0))[:, None] * directions.T


class Maker:
    """Makes galleries and queries, of a plain kind or like a real gallery's.

    Args:
        path: that `learnt` wrote; None for the plain kind.
    """

    def __init__(self, path: Path | None) -> None:
        self.path, self.size = path, SIZE
        if path is None:
            projection = np.random.default_rng(0).standard_normal((LATENT, SIZE), np.float32)
            self._mean, self._latent = np.float32(0), LATENT
            self._roots = [projection, projection]
        else:
            with np.load(path) as like:
                self._mean, self._roots = like["mean"], list(like["roots"])
            self._latent = self.size = len(self._mean)
        made = ("made", "made", 384, 192, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        self.card = Card(*made, embedding_size=self.size, sha256="0" * 64)

    def gallery(self, rows: int, dtype: str) -> Iterator[Embeddings]:
        """A gallery, block by block."""
        for start in range(0, rows, BLOCK):
            people = np.arange(start, min(start + BLOCK, rows)) // PICTURES
            yield self.embeddings(self._pictures(people, noise=start).astype(dtype), start)

    def queries(self, rows: int) -> Embeddings:
        """Further pictures of some people of a gallery."""
        return self.embeddings(self._pictures(asked_people(rows), noise=10**9))

    def embeddings(self, vectors: np.ndarray, first: int = 0) -> Embeddings:
        """Vectors with places, of which no two are the same."""
        frames = np.arange(first, first + len(vectors), dtype=np.int32)
        return Embeddings(np.full(len(vectors), "made"), frames, vectors, None, self.card)

    def _pictures(self, people: np.ndarray, noise: int) -> np.ndarray:
        """One picture of each: float32 (N, size), of length 1."""
        distinct, which = np.unique(people, return_inverse=True)
        own = np.concatenate([self._normal(1, int(p), 1) for p in distinct])
        if self.path is None:
            own += np.concatenate([self._normal(2, int(p) % LOOKS, 1) for p in distinct])
        vectors = self._normal(0, noise, len(people)) @ self._roots[1]
        vectors += (self._mean + own @ self._roots[0])[which]
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def _normal(self, kind: int, seed: int, rows: int) -> np.ndarray:
        return np.random.default_rng([kind, seed]).standard_normal((rows, self._latent), np.float32)


def asked_people(rows: int) -> np.ndarray:
    """The people of the queries."""
    return np.linspace(0, rows // PICTURES - 1, QUERIES).astype(np.int64)


# ------------------------------------------------------------------ in a process of its own


def measure(
    maker: Maker, path: Path, rows: str, kind: str, dtype: str, threads: int
) -> dict[str, Any]:
    """One configuration."""
    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)
    gallery, asked = read_embeddings(path), maker.queries(int(rows))
    one = maker.embeddings(asked.vectors[:1])
    exact = ExactIndex(gallery.vectors, "cosine")
    with _Memory() as memory, tempfile.TemporaryDirectory(dir=path.parent) as folder:
        start = time.process_time()
        if kind in MILVUS:
            store = MilvusGallery(f"{folder}/g.db", maker.card, kind.partition("-")[2].upper())
            for block in maker.gallery(int(rows), dtype):
                store.add(block)
            settle()
            making = time.process_time()
            for _ in maker.gallery(int(rows), dtype):
                pass
            start += time.process_time() - making  # is not part of building

            def ask(queries: Embeddings) -> np.ndarray:
                near = store.nearest(queries, 10)
                found = search(queries, near).rows
                return np.where(found < 0, -1, near.frames[found])

        else:
            index = exact if kind == "exact" else FaissIndex.build(kind, gallery.vectors, "cosine")

            def ask(queries: Embeddings) -> np.ndarray:
                return search(queries, gallery, index=index).rows

        built = time.process_time() - start
        times = [median_time(lambda q=q: ask(q)) for q in (one, asked)]
        disk = sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file())
        found, nearest = ask(asked), search(asked, gallery, index=exact)
        if kind in MILVUS:
            store.close()
    return {
        "rows": int(rows),
        "index": kind,
        "dtype": dtype,
        "build": built,
        "1 query": times[0],
        "100 queries": times[1],
        "memory": memory.own,
        "mapped": memory.mapped,
        "disk": disk,
        "recall@10": recall(nearest._replace(rows=found), nearest),
        "same": bool(np.array_equal(found, nearest.rows)),
        "right person": float(np.mean(found // PICTURES == asked_people(int(rows))[:, None])),
        "load": os.getloadavg()[0],
    }


def settle() -> None:
    """Wait for work in the background, such as the indexes of Milvus, which builds them beside."""
    quiet = 0
    while quiet < 5:
        before = time.process_time()
        time.sleep(2)
        quiet = quiet + 1 if time.process_time() - before < 0.1 else 0


def median_time(call: Callable[[], object]) -> float:
    """Processor seconds: the median of five runs, or of fewer long ones, after one more."""
    call()
    times: list[float] = []
    while len(times) < 5 and sum(times) < 60:
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return statistics.median(times)


class _Memory:
    """Looks every 10 ms how much memory this process has: its own, and pages of mapped files."""

    def __enter__(self) -> "_Memory":
        self.own = self.mapped = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.01):
            lines = Path("/proc/self/status").read_text().splitlines()
            values = dict(line.split(":", 1) for line in lines)
            self.own = max(self.own, int(values["RssAnon"].split()[0]) * 1024)
            self.mapped = max(self.mapped, int(values["RssFile"].split()[0]) * 1024)


# ------------------------------------------------------------------ what fits


def largest_flat(args: argparse.Namespace) -> str:
    """Runs flat under a limit of 8 GiB with nearly as many rows as would fill it."""
    most = LIMIT // row_bytes("flat", SIZE)
    tried = {}
    for share in (0.8, 0.85, 0.9):
        rows = int(most * share) // 1000 * 1000
        tried[rows] = _process(args, ["--fill", str(rows)]).returncode
    lines = [f"{rows:,} rows: {'fit' if code == 0 else 'too many'}" for rows, code in tried.items()]
    return f"flat in 8 GiB, by its bytes {most:,} rows. " + "; ".join(lines)


def fill(rows: int, threads: int) -> None:
    """Builds flat over as many rows under the limit and asks it once; ends with 3 if it cannot."""
    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
    maker = Maker(None)
    block = np.lib.stride_tricks.as_strided(  # the same row again and again takes no memory
        maker._pictures(np.arange(1), noise=1), (rows, SIZE), (0, 4)
    )
    try:
        index = FaissIndex.build("flat", block, "cosine")
        index.nearest(maker.queries(1000).vectors, 10)
    except (MemoryError, RuntimeError) as error:
        print(error, file=sys.stderr)
        sys.exit(OUT_OF_MEMORY)


# ------------------------------------------------------------------ tables


def table(results: list[dict[str, Any]]) -> str:
    """The results in Markdown."""
    lines = [
        "| rows | index | gallery | build | 1 query | 100 queries | own memory | recall@10 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        cells = [
            f"{r['rows']:,}",
            r["index"],
            r["dtype"],
            "" if r["index"] == "exact" else f"{r['build']:.1f} s",
            f"{r['1 query']:.3f} s",
            f"{r['100 queries']:.3f} s",
            f"{r['memory'] / GIB:.2f} GiB",
            "the same" if r["same"] else f"{r['recall@10']:.3f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
