"""Kills ``gallery add`` and ``gallery remove`` at random moments, again and again, until both end.

    python tests/kill/gallery.py [--kills 25] [--seed 0] [--rows 3000]

After each kill the gallery opens; in the end it has every row once, and nobody who was removed is
in its files. Each run is a process of its own, forked when everything is imported.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pymilvus  # noqa: F401  # before the forks, so that the moments fall into the work
from milvus_lite import db  # noqa: F401
from pyarrow import parquet

from torchreid_magnifier.cli import main as command
from torchreid_magnifier.hub import Card
from torchreid_magnifier.inference.embedding_files import read_embeddings, write_embeddings
from torchreid_magnifier.inference.embeddings import Embeddings
from torchreid_magnifier.inference.gallery import open_gallery, with_facts

SIZE, PEOPLE = 64, 10
GONE = "person-4"


def prepare(rows: int) -> None:
    """Write the embeddings that are enrolled."""
    card = Card("people", "made", 64, 32, embedding_size=SIZE, sha256="0" * 64)
    vectors = np.random.default_rng(0).normal(size=(rows, SIZE)).astype(np.float32)
    paths = np.array([f"{row}.jpg" for row in range(rows)])
    made = Embeddings(paths, np.full(rows, -1, np.int32), vectors, None, card)
    made = with_facts(made, [f"person-{row % PEOPLE}" for row in range(rows)])
    write_embeddings("rows.npz", [made], rows, card)


def start(words: list[str]) -> int:
    """Begin a run in a process of its own and return its id."""
    if child := os.fork():
        return child
    with open("log", "a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os._exit(command(["gallery", *words]))


def inspect(store: str) -> list[tuple[str, str]]:
    """Return path and person of every row, in a process of its own."""
    read, write = os.pipe()
    if not (child := os.fork()):
        with closing(open_gallery(store)) as gallery:
            rows = gallery.some(16_000)
        with os.fdopen(write, "w") as out:
            out.write("\n".join(f"{p}\t{q}" for p, q in zip(rows.paths, rows.people)))
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as text:
        found = [tuple(line.split("\t")) for line in text.read().split("\n") if line]
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return sorted(found)  # type: ignore[arg-type]


def kill(words: list[str], store: str, kills: int, chance: random.Random, duration: float) -> int:
    """Run, kill, and look, as often as asked; then run to the end. Returns how many were cut."""
    cut = 0
    for _ in range(kills):
        child = start(words)
        time.sleep(chance.uniform(0, duration))
        os.kill(child, signal.SIGKILL)
        cut += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        if Path(store, "aliases.json").exists() or Path(store).is_file():
            rows = inspect(store)
            assert len(rows) == len({path for path, _ in rows}), "a row is there twice"
    status = os.waitstatus_to_exitcode(os.waitpid(start(words), 0)[1])
    removed = words[0] == "remove" and cut < kills  # by a run that ended before it was killed
    assert status == 0 or (removed and status == 2), Path("log").read_text()[-600:]
    return cut


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=3000)
    args = parser.parse_args()
    chance = random.Random(args.seed)
    for store in ("gallery.db", "gallery.npz"):
        with tempfile.TemporaryDirectory() as work:
            os.chdir(work)
            prepare(args.rows)
            made = read_embeddings("rows.npz")
            everybody = sorted(zip(made.paths.tolist(), made.people.tolist()))
            began = time.monotonic()
            os.waitpid(start(["add", f"whole-{store}", "rows.npz"]), 0)
            duration = time.monotonic() - began
            add = kill(["add", store, "rows.npz"], store, args.kills, chance, duration)
            assert inspect(store) == everybody
            remove = kill(["remove", store, GONE], store, args.kills, chance, duration)
            assert inspect(store) == [row for row in everybody if row[1] != GONE]
            for path in Path(store).rglob("*") if Path(store).is_dir() else [Path(store)]:
                if path.suffix == ".parquet":
                    assert GONE not in str(parquet.read_table(path).to_pylist()), path
                elif path.is_file():
                    texts = (GONE.encode(), GONE.encode("utf-32-le"))  # the second is NumPy's
                    assert not any(text in path.read_bytes() for text in texts), path
            os.chdir("/")
            print(
                f"{store}: {args.kills} kills of add ({add} before its end), as many of remove "
                f"({remove}); {duration:.1f} s undisturbed; the rows are right, {GONE} is gone"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
