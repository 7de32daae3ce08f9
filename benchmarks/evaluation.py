"""Measures the evaluation of this package beside torchreid's Python code, in turns.

    python benchmarks/evaluation.py --out evaluation

writes ``evaluation.json``, ``evaluation.md`` and ``evaluation.png``. It takes about 40 minutes on
two CPU cores, nearly all of them torchreid's, and 12 GiB of memory; ``--rerank`` and ``--turns``
take fewer.

The embeddings are made, in Market-1501's numbers: 750 people by six cameras, 3,368 queries, and a
gallery of 15,913 with 2,793 distractors (torchreid drops the 3,819 junk images when it reads the
dataset). In 64 dimensions a picture is a person + a camera + noise; a distractor is a person of its
own. A random projection brings them into 4096 dimensions, as many as ``magnifiernet`` has.

Both rank the same matrix of distances, sorting included. Re-ranking, with the distances that it
needs and this package's ranking of what it gives, is measured in a process for each, whose peak of
memory is the highest that Linux saw.
"""

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch

with warnings.catch_warnings():  # that its Cython is absent is what is measured
    warnings.simplefilter("ignore", UserWarning)
    import torchreid
from measuring.machine import GIB, describe, free_memory, peak_memory, resident_memory, spread

from torchreid_magnifier.evaluation import PairwiseDistances, RerankedDistances, evaluate_rank

QUERIES, GALLERY, PEOPLE, DISTRACTORS, CAMERAS = 3368, 15913, 750, 2793, 6
LATENT, SIZE = 64, 4096
CUHK03 = (988, 988, 100)  # queries, gallery, people of its first split
GROWTH_QUERIES = 500
GALLERIES = (2000, 4000, 8000, 16000, 32000, 64000)
PAIR_BYTES = 30  # of torchreid's re-ranking for each pair of images; 25 were measured
TORCHREID, OURS = "torchreid", "ours"


def main() -> None:
    """Measure everything and write it down."""
    args = _parse()
    torch.set_num_threads(args.threads)
    if args.child:
        print(json.dumps(rerank(args.child, int(args.size))))
        return
    say(f"about {args.turns * 3.5 * (1 + sum(r**2 for r in args.rerank)):.0f} minutes on two cores")
    begun = time.monotonic()
    report: dict[str, Any] = {
        "command": " ".join(["python", *sys.argv]),
        "date": datetime.date.today().isoformat(),
        "machine": describe(),
        "threads": args.threads,
        "turns": args.turns,
        "evaluation": [of_matrix(args.turns), of_embeddings(args.turns), of_cuhk03(args.turns)],
        "growth": growth(args.turns),
        "rerank": [rerank_both(round(GALLERY * share), args) for share in args.rerank],
    }
    report["minutes"] = (time.monotonic() - begun) / 60
    args.out.with_suffix(".json").write_text(json.dumps(report, indent=1))
    args.out.with_suffix(".md").write_text(markdown(report))
    draw(report["growth"], args.out.with_suffix(".png"))
    print(markdown(report))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default: all cores")
    parser.add_argument(
        "--rerank",
        type=float,
        nargs="*",
        default=[0.25, 0.5, 1],
        metavar="SHARE",
        help="shares of Market-1501 that are re-ranked (default: %(default)s)",
    )
    parser.add_argument("--out", type=Path, default=Path("evaluation"), help="without suffix")
    # What a process of its own does.
    parser.add_argument("--child", choices=(TORCHREID, OURS), help=argparse.SUPPRESS)
    parser.add_argument("--size", help=argparse.SUPPRESS)
    return parser.parse_args()


def say(line: str) -> None:
    """Tell how far it is."""
    print(time.strftime("%H:%M:%S"), line, file=sys.stderr, flush=True)


# ------------------------------------------------------------------ made embeddings


class Made(NamedTuple):
    """Embeddings (Q, D) and (G, D), and pids and camids as ``evaluate_rank`` takes them."""

    query: torch.Tensor
    gallery: torch.Tensor
    labels: tuple[np.ndarray, ...]


def made(queries: int, gallery: int, people: int, distractors: int, size: int = LATENT) -> Made:
    """Of the size given, brought there by a projection if it is not ``LATENT``."""
    generator = np.random.default_rng(0)
    normal = generator.standard_normal
    of_people, of_cameras = normal((people + 1, LATENT)), 0.4 * normal((CAMERAS, LATENT))
    projection = normal((LATENT, size), np.float32) / LATENT**0.5

    def images(pids: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
        camids = generator.integers(0, CAMERAS, len(pids))
        who = np.where(pids[:, None] > 0, of_people[pids], normal((len(pids), LATENT)))
        found = (who + of_cameras[camids] + 0.8 * normal(who.shape)).astype(np.float32)
        return torch.from_numpy(found if size == LATENT else found @ projection), camids

    q_pids = generator.integers(1, people + 1, queries)
    g_pids = generator.integers(1, people + 1, gallery)
    g_pids[generator.permutation(gallery)[:distractors]] = 0
    (query, q_camids), (others, g_camids) = images(q_pids), images(g_pids)
    return Made(query, others, (q_pids, g_pids, q_camids, g_camids))


# ------------------------------------------------------------------ ranking


def in_turns(turns: int, calls: dict[str, Callable[[], Any]]) -> dict[str, Any]:
    """Seconds of each call, turn by turn, and how far their results (CMC, mAP) are apart."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(turns):
        found = {}
        for name, call in calls.items():
            begun, elapsed, count = time.perf_counter(), 0.0, 0
            while elapsed < 0.5:  # of short ones the mean of several
                np.random.seed(0)  # CUHK03's metric draws
                found[name] = call()
                count, elapsed = count + 1, time.perf_counter() - begun
            seconds[name].append(elapsed / count)
    (cmc, mean_ap), (our_cmc, our_ap) = found[TORCHREID], found[OURS]
    return {
        **seconds,
        "ratio": [theirs / own for theirs, own in zip(seconds[TORCHREID], seconds[OURS])],
        "rank-1": float(cmc[0]),
        "mAP": float(mean_ap),
        "CMC differs by": float(np.abs(cmc - our_cmc).max()),
        "mAP differs by": float(abs(mean_ap - our_ap)),
    }


def of_matrix(turns: int) -> dict[str, Any]:
    """Market-1501's size, its distances given."""
    say("Market-1501's metric")
    data = made(QUERIES, GALLERY, PEOPLE, DISTRACTORS)
    what = f"Market-1501's metric, {QUERIES:,} x {GALLERY:,} distances"
    return {"what": what, **in_turns(turns, ranking(data))}


def of_embeddings(turns: int) -> dict[str, Any]:
    """The same with the computation of distances."""
    say("the same, from embeddings")
    data = made(QUERIES, GALLERY, PEOPLE, DISTRACTORS, SIZE)

    def torchreids() -> Any:
        matrix = torchreid.metrics.compute_distance_matrix(data.query, data.gallery).numpy()
        return torchreid.metrics.evaluate_rank(matrix, *data.labels, use_cython=False)

    calls = {
        TORCHREID: torchreids,
        OURS: lambda: evaluate_rank(PairwiseDistances(data.query, data.gallery), *data.labels),
    }
    what = f"Market-1501's metric, from embeddings of {SIZE} numbers"
    return {"what": what, **in_turns(turns, calls)}


def of_cuhk03(turns: int) -> dict[str, Any]:
    """CUHK03's metric at the size of its first split."""
    say("CUHK03's metric")
    data = made(*CUHK03, distractors=0)
    what = "CUHK03's metric, {:,} x {:,} distances".format(*CUHK03)
    return {"what": what, **in_turns(turns, ranking(data, use_metric_cuhk03=True))}


def growth(turns: int) -> list[dict[str, Any]]:
    """Market-1501's metric over growing galleries."""
    found = []
    for size in GALLERIES:
        say(f"gallery of {size:,}")
        data = made(GROWTH_QUERIES, size, size // 20, size // 6)
        found.append({"gallery": size, **in_turns(turns, ranking(data))})
    return found


def ranking(data: Made, **options: Any) -> dict[str, Callable[[], Any]]:
    """Both evaluations of one matrix of distances."""
    matrix = PairwiseDistances(data.query, data.gallery)[:]
    theirs = torchreid.metrics.evaluate_rank
    return {
        TORCHREID: lambda: theirs(matrix, *data.labels, use_cython=False, **options),
        OURS: lambda: evaluate_rank(matrix, *data.labels, **options),
    }


# ------------------------------------------------------------------ re-ranking


def rerank_both(gallery: int, args: argparse.Namespace) -> dict[str, Any]:
    """Re-ranking in processes of their own, in turns."""
    share = gallery / GALLERY
    found: dict[str, Any] = {"queries": round(QUERIES * share), "gallery": gallery}
    needed = (found["queries"] + gallery) ** 2 * PAIR_BYTES
    if needed > (free := free_memory()):
        found["left out"] = f"torchreid may need {needed / GIB:.0f} GiB, {free / GIB:.0f} are free"
        return found
    found |= {TORCHREID: [], OURS: []}
    for turn in range(args.turns):
        for name in (TORCHREID, OURS):
            say(f"re-ranking of {gallery:,}, turn {turn + 1}, {name}")
            words = ["--child", name, "--size", str(gallery), "--threads", str(args.threads)]
            command = [sys.executable, __file__, *words]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
            found[name].append(json.loads(done.stdout))
    return found


def rerank(name: str, gallery: int) -> dict[str, float]:
    """One re-ranking: seconds, and bytes of memory beyond that of the embeddings, and in all."""
    share = gallery / GALLERY
    sizes = (round(n * share) for n in (QUERIES, GALLERY, PEOPLE, DISTRACTORS))
    data = made(*sizes, size=SIZE)
    _forget_peak()
    before, begun = resident_memory(), time.perf_counter()
    if name == OURS:
        distances: Any = RerankedDistances(data.query, data.gallery)
    else:
        pairs = [(data.query, data.gallery), (data.query,) * 2, (data.gallery,) * 2]
        matrix_of = torchreid.metrics.compute_distance_matrix
        distances = torchreid.utils.re_ranking(*(matrix_of(*pair).numpy() for pair in pairs))
    cmc, mean_ap = evaluate_rank(distances, *data.labels)
    seconds, peak = time.perf_counter() - begun, peak_memory()
    return {
        "seconds": seconds,
        "memory": peak - before,
        "peak": peak,
        "rank-1": float(cmc[0]),
        "mAP": float(mean_ap),
    }


def _forget_peak() -> None:
    """Let the next peak of memory be counted from now on."""
    Path("/proc/self/clear_refs").write_text("5")


# ------------------------------------------------------------------ tables and picture


def markdown(report: dict[str, Any]) -> str:
    """The results."""
    machine = report["machine"]
    lines = [
        f"## {machine['processor']}, {report['threads']} threads, commit {machine['commit']}",
        "",
        f"`{report['command']}`",
        "",
        f"{report['date']}, {report['minutes']:.0f} minutes, torch {machine['torch']}, numpy "
        f"{np.__version__}, load before {machine['load']:.1f}. Medians of {report['turns']} turns "
        "(smallest to largest).",
        "",
        "| | torchreid, s | ours, s | times as fast | rank-1, mAP | CMC, mAP differ by |",
        "|---|---|---|---|---|---|",
    ]
    rows = report["evaluation"] + [
        {"what": f"{GROWTH_QUERIES} x {r['gallery']:,}", **r} for r in report["growth"]
    ]
    for row in rows:
        lines.append(
            f"| {row['what']} | {spread(row[TORCHREID], 2)} | {spread(row[OURS], 3)} "
            f"| {spread(row['ratio'])} | {row['rank-1']:.1%}, {row['mAP']:.1%} "
            f"| {row['CMC differs by']:.0e}, {row['mAP differs by']:.0e} |"
        )
    lines += [
        "",
        "Re-ranking, with distances before and this package's ranking after it; memory at its "
        "peak, beyond that of the embeddings:",
        "",
        "| | torchreid, s | ours, s | torchreid, GiB | ours, GiB | mAP, torchreid and ours |",
        "|---|---|---|---|---|---|",
    ]
    for row in report["rerank"]:
        size = f"{row['queries']:,} x {row['gallery']:,}"
        if "left out" in row:
            lines.append(f"| {size} | not run: {row['left out']} |")
            continue
        of = {
            key: [[turn[key] for turn in row[name]] for name in (TORCHREID, OURS)]
            for key in ("seconds", "memory", "mAP")
        }
        cells = [spread(seconds) for seconds in of["seconds"]]
        cells += [f"{statistics.median(memory) / GIB:.2f}" for memory in of["memory"]]
        cells += [" ".join(f"{turns[0]:.4%}" for turns in of["mAP"])]
        lines.append(f"| {' | '.join([size, *cells])} |")
    return "\n".join(lines) + "\n"


def draw(points: list[dict[str, Any]], path: Path) -> None:
    """Time over the gallery's size, both axes logarithmic."""
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    sizes = [point["gallery"] for point in points]
    for name, colour in ((TORCHREID, "tab:gray"), (OURS, "tab:blue")):
        turns = [[1000 * s / GROWTH_QUERIES for s in point[name]] for point in points]
        axes.plot(sizes, [statistics.median(t) for t in turns], "o-", color=colour, label=name)
        axes.fill_between(
            sizes, list(map(min, turns)), list(map(max, turns)), color=colour, alpha=0.2
        )
    axes.set(xscale="log", yscale="log", xlabel="images in the gallery", ylabel="ms for a query")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    axes.set_title("CMC and mAP by Market-1501's metric, sorting included")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
