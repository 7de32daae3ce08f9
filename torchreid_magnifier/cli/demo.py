"""``torchreid-magnifier demo``: the main job on embedded data, in a few minutes on a CPU.

Trains, tests, compares, and writes one folder: a table (``results.md``, ``.csv``, ``.json``),
pictures (``search.png``, ``masks.png``, ``rankings.png``, ``losses.png``), the log of torchreid's
engine (``train.log``) and the generated data.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from ..experiments.comparison import GLOBAL, WHOLE, Settings
from ..experiments.demo import run
from .arguments import Parser, add_path


def main(argv: Sequence[str]) -> int:
    """Run the subcommand. Returns the exit status."""
    parser = Parser(
        "demo",
        f"On generated pedestrians: train {WHOLE} in its two stages, and {GLOBAL} "
        "alike; test them on all and on occluded queries; write a table and pictures.",
    )
    what = "images of people, one each, which the network that comes with the package searches "
    what += "first, in seconds; drawn people without"
    add_path(parser, "folder", what, "FOLDER", nargs="?")
    what = "folder for everything that is written (default: %(default)s)"
    add_path(parser, "--out", what, "DIR", default=Path("magnifier-demo"))
    what = "of weights, batches, augmentation (default: 1)"
    parser.add_argument("--seed", type=int, default=1, help=what)
    args = parser.parse_args(argv)
    print(run(args.out, Settings(seed=args.seed), args.folder))
    print(f"\nPictures and numbers are in {args.out}{os.sep}: begin with results.md")
    return 0
