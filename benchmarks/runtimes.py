"""Accuracy against time and size: a network in several runtimes, beside public ones.

    python benchmarks/runtimes.py --root reid-data --calibration TRAINING_IMAGES \\
           --openvino intel/person-reidentification-retail-02*/FP16/*.xml \\
           --zoo osnet_x0_25_msmt17_combineall --out benchmarks/results/runtimes

Rank-1 and mAP are of the whole test of ``--dataset``, by the cosine distance, one query at a time.
Time is that of one uint8 picture of the network's size on one thread, its normalisation included,
decoding and resizing not: seconds of the processor, since other programs slow the clock's down; all
take turns in one process. Size is that of the files.

Embeddings are kept in ``--work``, a folder for one ``--weights``, so that a run that was
interrupted goes on; ``--rows`` takes some of the rows, and those of others that ``<out>.json`` has
stay. Intel's networks take blue, green and red from 0 to 255.
"""

import argparse
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter
from measuring.machine import describe, spread
from PIL import Image
from tqdm import tqdm

from torchreid_magnifier.evaluation import PairwiseDistances
from torchreid_magnifier.figures import save
from torchreid_magnifier.hub import DEFAULT
from torchreid_magnifier.hub.card import Card
from torchreid_magnifier.images import open_image
from torchreid_magnifier.inference.evaluate import measure
from torchreid_magnifier.inference.explain.rankings import EvaluationSet, read_evaluation_set
from torchreid_magnifier.inference.export import Settings, export_network
from torchreid_magnifier.inference.export.openvino_file import compile_model
from torchreid_magnifier.inference.open import Network, open_network
from torchreid_magnifier.models import build

BATCH = 16  # of the pictures whose embeddings are compared
INTEL = "Intel's, not published"

Embed = Callable[[np.ndarray], np.ndarray]  # uint8 (N, height, width, 3) in RGB -> (N, D)


class Row(NamedTuple):
    """A line of the table.

    Attributes:
        network, runtime, precision: in words.
        trained: what on, in words.
        height, width: of its pictures.
        size: of its files, in bytes.
        make: number of pictures at once -> what embeds them.
        part: of the embedding that is compared.
        same: name of a row whose embeddings are these up to rounding, by the check of an export.
    """

    network: str
    runtime: str
    precision: str
    trained: str
    height: int
    width: int
    size: int
    make: Callable[[int], Embed]
    part: slice = slice(None)
    same: str = ""

    @property
    def name(self) -> str:
        return f"{self.network}, {self.runtime} {self.precision}"


def of_network(network: Network, precision: str = "float32") -> Callable[[int], Embed]:
    """What embeds pictures by an open network."""
    model, card = network.model, network.card
    model.precision = precision
    model = model.optimize_for_inference()
    return embedding(card, lambda images: model(images).float().numpy())


def of_bfloat16(path: Path, card: Card) -> Callable[[int], Embed]:
    """What embeds pictures by an exported network of OpenVINO, in bfloat16."""
    import openvino

    run = compile_model(openvino.Core().read_model(path), "bf16")
    return embedding(card, lambda images: run(images.numpy())["embedding"].copy())


def embedding(card: Card, run: Callable[[torch.Tensor], np.ndarray]) -> Callable[[int], Embed]:
    """What embeds pictures by a function of normalised images."""
    std = torch.tensor(card.std).view(1, 3, 1, 1)
    mean = torch.tensor(card.mean).view(1, 3, 1, 1)

    @torch.inference_mode()
    def embed(pictures: np.ndarray) -> np.ndarray:
        images = torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous().float()
        return run(images.div_(255).sub_(mean).div_(std))

    return lambda batch: embed


def of_intel(path: Path, batch: int) -> Embed:
    """What embeds pictures by a network of OpenVINO's model zoo."""
    import openvino

    model = openvino.Core().read_model(path)
    model.reshape([batch, *list(model.input(0).shape)[1:]])
    run = compile_model(model)

    def embed(pictures: np.ndarray) -> np.ndarray:
        given = np.zeros((batch, *pictures.shape[1:]), np.uint8)
        given[: len(pictures)] = pictures
        images = np.ascontiguousarray(given[..., ::-1].transpose(0, 3, 1, 2), dtype=np.float32)
        return run(images)[0].reshape(batch, -1)[: len(pictures)].copy()

    return embed


def rows_of(args: argparse.Namespace) -> Iterator[Row]:
    """All rows; those of the exported network make its files in ``--work``."""
    for path in args.openvino:
        name, size = re.sub(r".*-(\d+)$", r"\1", path.stem), path.stat().st_size
        size += path.with_suffix(".bin").stat().st_size
        network = f"person-reidentification-retail-{name}"
        yield Row(network, "OpenVINO", "float32", INTEL, 256, 128, size, partial(of_intel, path))
    for given in args.zoo:
        source, _, model = given.partition("=")
        network = open_network(source, *((model, 256, 128) if model else ()))
        card = network.card
        name, size = model or source, Path(source).stat().st_size if model else card.size or 0
        trained = card.dataset or Path(source).stem
        place = (card.height, card.width)
        yield Row(name, "torch", "float32", trained, *place, size, of_network(network))
    if args.weights:
        yield from rows_of_ours(args)


def rows_of_ours(args: argparse.Namespace) -> Iterator[Row]:
    """The rows of this package's network."""
    network = open_network(args.weights)
    card = network.card
    name, trained = card.model, card.dataset.removesuffix("_masks")
    place, size = (card.height, card.width), card.size or 0
    first = Row(name, "torch", "float32", trained, *place, size, of_network(network))
    yield first
    half = of_network(open_network(args.weights), "bfloat16")
    yield Row(name, "torch", "bfloat16", trained, *place, size, half)
    calibration = sorted(map(str, args.calibration.glob("*.jpg")))[:: args.every]
    for runtime, suffix, precisions in (
        ("onnxruntime", ".onnx", ("float32", "int8")),
        ("OpenVINO", ".xml", ("float32", "bfloat16", "int8")),
    ):
        for precision in precisions:
            if not re.search(args.rows, f"{name}, {runtime} {precision}"):
                continue
            written = precision.replace("bfloat16", "float32")
            path = args.work / f"{card.sha256[:8]}-{written}{suffix}"
            if not path.exists():
                export_network(network, path, Settings(written), calibration=calibration)
            files = [path, path.with_suffix(".bin")] if suffix == ".xml" else [path]
            total = sum(file.stat().st_size for file in files)
            exact = precision == written
            exported = of_network(open_network(path)) if exact else of_bfloat16(path, card)
            same = first.name if precision == "float32" else ""
            yield Row(name, runtime, precision, trained, *place, total, exported, same=same)
    alone, part = globally(network)
    short, path = f"{name}, global branch alone", args.work / f"{card.sha256[:8]}-global.onnx"
    if re.search(args.rows, f"{short}, onnxruntime float32"):
        if not path.exists():
            export_network(alone, path)
        exported, total = of_network(open_network(path)), path.stat().st_size
        facts = (short, "onnxruntime", "float32", trained, *place, total)
        yield Row(*facts, exported, part, first.name)


def globally(network: Network) -> tuple[Network, slice]:
    """The network's global branch by itself, and its place in the embedding."""
    card = network.card
    off = {"mask": False, "adversarial": False, "fusion": None}
    model = build(card.model, 1, "triplet", **{**card.options, **off}).eval()
    left = model.load_state_dict(network.model.state_dict(), strict=False)
    assert not left.missing_keys, left
    with torch.no_grad():
        part = network.model.inspect(torch.zeros(1, 3, card.height, card.width)).branches["global"]
    facts = {"embedding_size": model.embedding_size, "parts": (), "name": "global"}
    return Network(model, replace(card, **facts)), part


# ---------------------------------------------------------------------- accuracy


def embeddings(row: Row, images: EvaluationSet, file: Path) -> np.ndarray:
    """The embeddings of all pictures, from a file that is filled as they come."""
    embed, paths = row.make(BATCH), images.paths
    found = np.lib.format.open_memmap(file, mode="r+") if file.exists() else None
    for start in tqdm(range(0, len(paths), BATCH), desc=row.name, mininterval=10):
        if found is not None and not np.isnan(found[start]).any():
            continue
        pictures = [open_image(path) for path in paths[start : start + BATCH]]
        size = (row.width, row.height)
        made = embed(np.stack([p.resize(size, Image.Resampling.BILINEAR) for p in pictures]))
        if found is None:
            shape = (len(paths), made.shape[1])
            found = np.lib.format.open_memmap(file, "w+", np.float32, shape)
            found[:] = np.nan
        found[start : start + len(made)] = made
    assert found is not None
    return found


def accuracy(row: Row, images: EvaluationSet, work: Path, dataset: str) -> dict[str, float]:
    """Rank-1 and mAP, in percent."""
    key = re.sub(r"\W+", "_", f"{dataset}_{row.same or row.name}")
    file = work / f"{key}.npy"
    found = np.load(file) if row.same else embeddings(row, images, file)
    vectors, count = torch.from_numpy(np.array(found[:, row.part])), len(images.query)
    distances = PairwiseDistances(vectors[:count], vectors[count:], "cosine")
    measures = measure(distances, *images.labels())
    return {"rank1": measures.cmc[1], "mAP": measures.mAP, "D": vectors.shape[1]}


# ---------------------------------------------------------------------- time


def milliseconds(rows: list[Row], turns: int, seconds: float) -> dict[str, dict[str, list[float]]]:
    """Milliseconds a picture, by row and clock, of each turn."""
    chance = np.random.default_rng(0)
    runs: dict[str, tuple[Embed, np.ndarray, int]] = {}
    for row in rows:
        embed, shape = row.make(1), (1, row.height, row.width, 3)
        picture = chance.integers(0, 256, shape, np.uint8)
        embed(picture)
        begun = time.process_time()
        embed(picture)
        calls = max(3, round(seconds / (time.process_time() - begun)))
        runs[row.name] = embed, picture, calls
    found: dict[str, dict[str, list[float]]] = {
        name: {"processor": [], "clock": []} for name in runs
    }
    for _ in tqdm(range(turns), desc="turns"):
        for name, (embed, picture, calls) in runs.items():
            clock, processor = time.perf_counter(), time.process_time()
            for _ in range(calls):
                embed(picture)
            found[name]["processor"].append(1000 * (time.process_time() - processor) / calls)
            found[name]["clock"].append(1000 * (time.perf_counter() - clock) / calls)
    return found


# ---------------------------------------------------------------------- what comes of it


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| network | runtime | numbers | trained on | rank-1 | mAP | ms | MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        accuracies = [f"{row[key]:.1f}" if key in row else "" for key in ("rank1", "mAP")]
        times = spread(row["ms"]["processor"]) if "ms" in row else ""
        names = (row["network"], row["runtime"], row["precision"], row["trained"])
        lines.append(f"| {' | '.join([*names, *accuracies, times])} | {row['MB']:.1f} |")
    return "\n".join(lines)


def picture(rows: list[dict[str, Any]]) -> Figure:
    """mAP against milliseconds and against megabytes."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    panels: Any = figure.subplots(1, 2, sharey=True)
    rows = [row for row in rows if "ms" in row and "mAP" in row]
    for axes, label, value in (
        (panels[0], "milliseconds a picture, one core", lambda r: np.median(r["ms"]["processor"])),
        (panels[1], "megabytes", lambda r: r["MB"]),
    ):
        near: list[tuple[float, float, list[str]]] = []  # ours, whose names would cover each other
        last = 0.0
        for row in sorted(rows, key=value):
            at, height = float(value(row)), row["mAP"]
            ours = row["network"].startswith("magnifiernet")
            colour = "#0077bb" if ours else "#555555"
            axes.plot(at, height, "o" if ours else "s", color=colour, ms=6)
            name = row["network"].replace("person-reidentification-retail-", "")
            if not ours or "global" in name:
                name = "global branch,\nonnxruntime" if ours else name
                place = (0, -24) if ours else (6, 3)
                axes.annotate(name, (at, height), place, textcoords="offset points", fontsize=7.5)
                continue
            name = f"{row['runtime']} {row['precision']}"
            if at < 1.15 * last:
                near[-1][2].append(name)
            else:
                near.append((at, height, [name]))
            last = at
        above = axes is panels[0]
        for at, height, names in near:
            text = "\n".join(names) if names[1:] else names[0].replace(" ", "\n")
            side = "right" if above and at == near[0][0] else "center"  # beside the next ones' list
            place = {"textcoords": "offset points", "ha": side, "fontsize": 7.5}
            place["va"] = "bottom" if above else "top"
            axes.annotate(text, (at, height), (0, 7 if above else -7), **place)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(ScalarFormatter())
        axes.set_xlabel(label, fontsize=9)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("mAP, whole Market-1501 test, percent", fontsize=9)
    figure.suptitle("This package's network (blue) and public ones (grey)", fontsize=11)
    return figure


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="market1501")
    parser.add_argument("--root", default="reid-data")
    parser.add_argument("--weights", default=DEFAULT, help="this package's network; '' for none")
    parser.add_argument("--openvino", type=Path, nargs="*", default=[], metavar="XML")
    parser.add_argument("--zoo", nargs="*", default=[], metavar="NAME", help="or FILE=MODEL")
    parser.add_argument("--calibration", type=Path, required=True, help="folder of training images")
    parser.add_argument("--every", type=int, default=50, help="of them, each Nth (default: 50)")
    parser.add_argument("--rows", default="", metavar="PATTERN", help="only names that match it")
    parser.add_argument("--only", choices=("accuracy", "time"))
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each, in each turn")
    parser.add_argument("--work", type=Path, default=Path("runtimes-work"))
    parser.add_argument("--out", required=True, help="file to write, without .json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.work.mkdir(exist_ok=True, parents=True)
    file = Path(f"{args.out}.json")
    report = json.loads(file.read_text()) if file.exists() else {"rows": {}}
    rows = [row for row in rows_of(args) if re.search(args.rows, row.name)]
    for row in rows:
        known = report["rows"].setdefault(row.name, {})
        facts = ("network", "runtime", "precision", "trained")
        known |= {key: getattr(row, key) for key in facts} | {"MB": row.size / 1e6}
    if args.only != "time":
        images = read_evaluation_set(args.dataset, args.root)
        report["pictures"] = len(images.paths)
        for row in rows:
            report["rows"][row.name] |= accuracy(row, images, args.work, args.dataset)
            file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if args.only != "accuracy":
        for name, taken in milliseconds(rows, args.turns, args.seconds).items():
            report["rows"][name]["ms"] = taken
        report["machine"] = describe()
    file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(table(list(report["rows"].values())))
    save(picture(list(report["rows"].values())), Path(f"{args.out}.png"))


if __name__ == "__main__":
    main()
