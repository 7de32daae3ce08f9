"""Images a second of an exported network: onnxruntime, the torch.export program, and eager torch.

All three embed the same batches in this process, in turns (eager, program, onnxruntime, eager, …),
with the same number of threads. Writes ``<out>.json`` with every measurement, and prints a Markdown
table of medians with the smallest and largest. Seconds are those of the clock, and, because other
programs slow the clock's down, those that the processor spent on this process.

    python benchmarks/export.py magnifiernet_r18 --height 128 --width 64 --out speed_r18
"""

import argparse
import json
import time
from pathlib import Path

import onnxruntime
import torch
from measuring.machine import describe as describe_machine
from measuring.machine import spread

from torchreid_magnifier.hub.card import Card
from torchreid_magnifier.inference.export import onnx_file, pt2_file
from torchreid_magnifier.inference.export.program import trace
from torchreid_magnifier.inference.export.settings import Run, Settings
from torchreid_magnifier.inference.open import Network
from torchreid_magnifier.models import build, list_models


def runners(name: str, height: int, width: int) -> dict[str, Run]:
    """The three, with random weights: their values do not change the time."""
    torch.manual_seed(0)
    model = build(name, num_classes=1, loss="triplet").eval()
    network = Network(model, Card("random", name, height, width))
    program = trace(model, height, width)

    @torch.no_grad()
    def eager(images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"embedding": model(images)}

    exported = {
        name: form.runner(form.contents(program, network.card, Settings()), network.card)
        for name, form in (("torch.export", pt2_file), ("onnxruntime", onnx_file))
    }
    return {"eager": eager, **exported}


CLOCKS = {"clock": time.perf_counter, "processor": time.process_time}


def measure(runs: dict[str, Run], images: torch.Tensor, turns: int, seconds: float) -> dict:
    """Images a second, by clock, runner and turn; each runs about so many seconds in a turn."""
    batches = {}
    for name, run in runs.items():
        run(images)  # the first is slower
        start = time.perf_counter()
        run(images)
        batches[name] = max(1, round(seconds / (time.perf_counter() - start)))
    found: dict[str, dict[str, list[float]]] = {
        clock: {name: [] for name in runs} for clock in CLOCKS
    }
    for _ in range(turns):
        for name, run in runs.items():
            starts = {clock: now() for clock, now in CLOCKS.items()}
            for _ in range(batches[name]):
                run(images)
            for clock, now in CLOCKS.items():
                rate = batches[name] * len(images) / (now() - starts[clock])
                found[clock][name].append(rate)
    return found


def main() -> None:
    """Measures, writes and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=list_models(), metavar="MODEL")
    parser.add_argument("--height", type=int, required=True)
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each, in each turn")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", required=True, help="file to write, without .json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)  # onnxruntime is given as many
    machine = describe_machine() | {"onnxruntime": onnxruntime.__version__}
    runs = runners(args.model, args.height, args.width)
    results = {}
    print(f"| batch | seconds | {' | '.join(runs)} |", "|---|---|" + "---|" * len(runs), sep="\n")
    for size in args.batches:
        images = torch.randn(size, 3, args.height, args.width)
        results[size] = measure(runs, images, args.turns, args.seconds)
        for clock, rates in results[size].items():
            cells = [spread(r) for r in rates.values()]
            print(f"| {size} | {clock} | {' | '.join(cells)} |", flush=True)
    report = {"settings": vars(args), "machine": machine, "images_per_second": results}
    Path(f"{args.out}.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
