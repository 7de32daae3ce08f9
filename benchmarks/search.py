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
"""

import argparse
import json
import os
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
from torchreid_magnifier.inference.embedding_files import read_embeddings, write_embeddings
from torchreid_magnifier.inference.embeddings import Embeddings
from torchreid_magnifier.inference.index import KINDS, ExactIndex, FaissIndex
from torchreid_magnifier.inference.search import recall, search

SIZE, LATENT = 4096, 64
LOOKS = 200
INDEXES = ("exact", *KINDS)
PICTURES = 10  # of each person
QUERIES = 100
BLOCK = 5000  # rows that are made at once
PROJECTION = np.random.default_rng(0).standard_normal((LATENT, SIZE), np.float32)
CARD = Card("made", "made", 384, 192, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), sha256="0" * 64)
# Bytes in memory for each row, at least; exact search reads its gallery from the file.
ROW = {"exact": 0, "flat": 4 * SIZE, "ivf": 4 * SIZE + 8, "hnsw": 4 * SIZE + 4 * 2 * 32}
LIMIT = 8 * GIB
OUT_OF_MEMORY = 3


def main() -> None:
    """Measure everything that fits."""
    args = _parse()
    if args.measure:
        print(json.dumps(measure(Path(args.measure[0]), *args.measure[1:], args.threads)))
        return
    if args.fill:
        fill(args.fill, args.threads)
        return
    results, left_out = [], []
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for rows in args.rows:
            for dtype in ("float32", "float16"):
                name = f"{rows:,} x {dtype}"
                if rows * SIZE * np.dtype(dtype).itemsize > args.disk * GIB:
                    left_out.append(f"{name}: more than {args.disk:g} GiB on disk")
                    continue
                path = Path(folder) / "gallery.npz"
                write_embeddings(path, made(rows, dtype), rows, CARD)
                # FAISS holds float32 of either.
                kinds = ("exact",) if dtype == "float16" and rows < 10**6 else args.indexes
                for kind in kinds:
                    if rows * ROW[kind] > args.memory * GIB:
                        left_out.append(f"{name}, {kind}: more than {args.memory:g} GiB of memory")
                        continue
                    words = ["--measure", str(path), str(rows), kind, dtype]
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
    parser.add_argument("--threads", type=int, default=1)
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
    return subprocess.run(command, stdout=subprocess.PIPE, **options)


# ------------------------------------------------------------------ made embeddings


def made(rows: int, dtype: str) -> Iterator[Embeddings]:
    """A gallery, block by block."""
    for start in range(0, rows, BLOCK):
        people = np.arange(start, min(start + BLOCK, rows)) // PICTURES
        yield _embeddings(_pictures(people, noise=start).astype(dtype))


def queries(rows: int) -> Embeddings:
    """Further pictures of some people of a gallery."""
    return _embeddings(_pictures(_asked(rows), noise=10**9))


def _asked(rows: int) -> np.ndarray:
    return np.linspace(0, rows // PICTURES - 1, QUERIES).astype(np.int64)


def _pictures(people: np.ndarray, noise: int) -> np.ndarray:
    """One picture of each: float32 (N, SIZE), of length 1."""
    vectors = _normal(0, noise, len(people))
    distinct, which = np.unique(people, return_inverse=True)
    own = np.concatenate([_normal(1, int(p), 1) + _normal(2, int(p) % LOOKS, 1) for p in distinct])
    vectors = (vectors + own[which]) @ PROJECTION
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _normal(kind: int, seed: int, rows: int) -> np.ndarray:
    return np.random.default_rng([kind, seed]).standard_normal((rows, LATENT), np.float32)


def _embeddings(vectors: np.ndarray) -> Embeddings:
    rows = len(vectors)
    return Embeddings(np.full(rows, "made"), np.full(rows, -1, np.int32), vectors, None, CARD)


# ------------------------------------------------------------------ in a process of its own


def measure(path: Path, rows: str, kind: str, dtype: str, threads: int) -> dict[str, Any]:
    """One configuration."""
    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)
    gallery, asked = read_embeddings(path), queries(int(rows))
    one = _embeddings(asked.vectors[:1])
    exact = ExactIndex(gallery.vectors, "cosine")
    with _Memory() as memory:
        start = time.process_time()
        index = exact if kind == "exact" else FaissIndex.build(kind, gallery.vectors, "cosine")
        built = time.process_time() - start
        times = [median_time(lambda q=q: search(q, gallery, index=index)) for q in (one, asked)]
    found, nearest = search(asked, gallery, index=index), search(asked, gallery, index=exact)
    return {
        "rows": int(rows),
        "index": kind,
        "dtype": dtype,
        "build": built,
        "1 query": times[0],
        "100 queries": times[1],
        "memory": memory.own,
        "mapped": memory.mapped,
        "recall@10": recall(found, nearest),
        "same": bool(np.array_equal(found.rows, nearest.rows)),
        "right person": float(np.mean(found.rows // PICTURES == _asked(int(rows))[:, None])),
        "load": os.getloadavg()[0],
    }


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
    most = LIMIT // ROW["flat"]
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
    block = np.lib.stride_tricks.as_strided(  # the same row again and again takes no memory
        _pictures(np.arange(1), noise=1), (rows, SIZE), (0, 4)
    )
    try:
        index = FaissIndex.build("flat", block, "cosine")
        index.nearest(queries(1000).vectors, 10)
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
