"""How far exported networks are from the networks themselves: every architecture, both formats.

Random weights of one seed, drawn pedestrians. Writes one line of a Markdown table for each as it
goes; names that differ in training alone (the regions that SAB keeps, SAN's losses) are one line.

    python benchmarks/export_parity.py --height 384 --width 192 magnifiernet magnifiernet_g
"""

import argparse
import io

import torch

from torchreid_magnifier.hub.card import Card
from torchreid_magnifier.inference.export.parity import Parity, compare, pedestrians
from torchreid_magnifier.inference.export.program import trace
from torchreid_magnifier.inference.export.settings import Settings
from torchreid_magnifier.inference.export.writing import FORMATS
from torchreid_magnifier.inference.open import Network
from torchreid_magnifier.models import build, list_models


def measure(name: str, height: int, width: int, batches: list[int]) -> str:
    """One line of the table."""
    torch.manual_seed(0)
    model = build(name, num_classes=751, loss="triplet").eval()
    checkpoint = io.BytesIO()
    torch.save(model.state_dict(), checkpoint)
    network = Network(model, Card("random", name, height, width))
    program = trace(model, height, width)
    cells = [f"`{name}`", str(model.embedding_size), f"{checkpoint.tell() / 1e6:.1f}"]
    for form in FORMATS.values():
        files = form.contents(program, network.card, Settings())
        run = form.runner(files, network.card)
        found = compare(model, run, pedestrians(network.preprocessing, batches))
        found.require()
        size = sum(map(len, files.values())) / 1e6
        cells += [f"{found.deviation:.1e}", labels(found), f"{size:.1f}"]
    return f"| {' | '.join(cells)} |"


def labels(found: Parity) -> str:
    """How many part labels differ."""
    return f"{found.other_labels} of {found.labels}" if found.labels else "-"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", choices=list_models(), metavar="MODEL")
    parser.add_argument("--height", type=int, default=128)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 3, 8])
    args = parser.parse_args()
    formats = " | ".join(f"{suffix}: embedding | labels that differ | MB" for suffix in FORMATS)
    print(f"| model | D | checkpoint, MB | {formats} |", "|---|---|---|" + "---|" * 6, sep="\n")
    for name in args.models:
        print(measure(name, args.height, args.width, args.batches), flush=True)


if __name__ == "__main__":
    main()
