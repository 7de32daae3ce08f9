"""Measures how fast one worker loads training images with their part labels, beside images alone.

    python benchmarks/loading.py --root reid-data --out loading

Images alone are torchreid's own dataset, with the transforms that its ``build_transforms`` makes;
with labels they are the same dataset's ``_masks`` version: the same files, with the same random
numbers. One process loads the same images in turns; times are of the processor, so that other
programs disturb them little. Files are in the system's cache by then: reading from a disk is not
in the times. Takes about a minute on one core, and half a minute more to make pedestrians without
``--root``.

Writes the numbers as JSON and a table as Markdown, which is printed too.
"""

import argparse
import contextlib
import importlib
import io
import json
import statistics
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import torch
import torchreid
from measuring.machine import describe, spread
from tqdm import tqdm

import torchreid_magnifier
from torchreid_magnifier.data.sidecars import SidecarError

SIZES = ((384, 192), (256, 128), (128, 64))
TRANSFORMS = (
    ("random_flip",),
    ("random_flip", "random_crop"),
    ("random_flip", "random_crop", "random_erase"),
)
MADE = "synthetic_pedestrians"


def main() -> None:
    """Measure, write and print."""
    args = _parse()
    torch.set_num_threads(1)
    torchreid_magnifier.register()
    with tempfile.TemporaryDirectory() as made:
        try:
            results = [
                measure(args.root or made, args, size, transforms)
                for size in tqdm(args.sizes, unit="size", disable=None)
                for transforms in TRANSFORMS
            ]
        except (SidecarError, OSError, RuntimeError, ValueError) as error:  # torchreid's too
            sys.exit(f"loading.py: error: {error}")
    report = {
        "command": " ".join(["python", *sys.argv]),
        "date": date.today().isoformat(),
        "machine": describe(),
        "dataset": args.dataset,
        "sidecars": args.sidecars,
        "results": results,
    }
    text = markdown(report)
    args.out.with_suffix(".json").write_text(json.dumps(report, indent=1))
    args.out.with_suffix(".md").write_text(text)
    print(text)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", help="torchreid's data root; generated pedestrians without it")
    parser.add_argument("--dataset", help=f"default: market1501, or {MADE} without --root")
    parser.add_argument(
        "--sidecars", choices=("masks", "textures"), default="masks", help="beside the images"
    )
    parser.add_argument("--images", type=int, default=150, help="in each turn")
    parser.add_argument("--turns", type=int, default=11)
    parser.add_argument(
        "--sizes",
        nargs="+",
        type=_size,
        default=SIZES,
        metavar="HxW",
        help="default: 384x192 256x128 128x64; textures must not be smaller",
    )
    parser.add_argument("--out", type=Path, default=Path("loading"), help="without its ending")
    args = parser.parse_args()
    if args.root and not Path(args.root).is_dir():
        parser.error(f"--root: there is no folder {args.root}")
    if args.images < 1 or args.turns < 1:
        parser.error("--images and --turns must be at least 1")
    args.dataset = args.dataset or ("market1501" if args.root else MADE)
    return args


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected HxW, such as 256x128, found {text!r}")
    return int(height), int(width)


def measure(
    root: str, args: argparse.Namespace, size: tuple[int, int], transforms: tuple[str, ...]
) -> dict[str, Any]:
    """Processor time of an image, seconds, turn by turn: alone, and with its sidecar file."""
    alone, both = (
        _dataset(name, root, size, transforms)
        for name in (args.dataset, f"{args.dataset}_{args.sidecars}")
    )
    step = max(len(alone) // args.images, 1)
    indices = range(0, len(alone), step)[: args.images]
    times: dict[str, list[float]] = {"alone": [], "both": []}
    for turn in range(args.turns + 1):
        order = (("alone", alone), ("both", both))
        for name, dataset in order if turn % 2 else reversed(order):
            torchreid.utils.set_random_seed(turn)
            begun = time.process_time()
            for index in indices:
                dataset[index]
            times[name].append((time.process_time() - begun) / len(indices))
    # The first turn fills caches.
    return {"size": size, "transforms": transforms} | {k: v[1:] for k, v in times.items()}


def markdown(report: dict[str, Any]) -> str:
    """The table, and what it was measured on."""
    machine, sidecars = report["machine"], report["sidecars"]
    lines = [
        f"{report['dataset']}, commit {machine['commit']}, {report['date']}, "
        f"{machine['processor']}, one core, Python {machine['python']}, torch {machine['torch']}. "
        f"Load of the machine before: {machine['load']:.1f}. Medians (smallest to largest) of "
        f"{len(report['results'][0]['alone'])} turns; `{report['command']}`",
        "",
        "| size | transforms | images a second, torchreid's images alone "
        f"| with {sidecars} | times the processor time of an image alone |",
        "|---|---|---|---|---|",
    ]
    for result in report["results"]:
        alone, both = result["alone"], result["both"]
        ratios = [mine / other for mine, other in zip(both, alone, strict=True)]
        cells = [
            "x".join(map(str, result["size"])),
            " ".join(result["transforms"]),
            f"{1 / statistics.median(alone):.0f}",
            f"{1 / statistics.median(both):.0f}",
            spread(ratios, 2),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _dataset(name: str, root: str, size: tuple[int, int], transforms: tuple[str, ...]) -> Any:
    """A dataset to train on, as torchreid's data manager makes it."""
    data = torchreid.data.__name__
    with contextlib.redirect_stdout(io.StringIO()):
        build = importlib.import_module(f"{data}.transforms").build_transforms
        transform, _ = build(*size, list(transforms))
        init = importlib.import_module(f"{data}.datasets").init_image_dataset
        return init(name, root=root, transform=transform, mode="train")


if __name__ == "__main__":
    main()
