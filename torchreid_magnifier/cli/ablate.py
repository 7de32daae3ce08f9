"""``torchreid-magnifier ablate``: the paper's ablations, over several seeds, in one command.

Trains every cell of the grids (see ``ablation``) and writes one folder: ``results.md`` and
``results.csv``, a plot for each grid, and all runs under ``runs/``.
"""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from ..experiments import ablation_grids
from ..experiments.ablation import ablate, check_options
from ..training.checks import check_used
from ..training.config import ConfigError
from .arguments import Parser, add_path
from .train import add_options, parse, read_configs

_DESCRIPTION = """\
Train and test variants of a network alike, each with several seeds, and write tables and plots
as its paper has them.

Interrupted, it goes on when the same command is given again. What is finished is not run again, and
cells that are the same training share it. The tables have the grids, cells and seeds of the last
command. Checkpoints are saved as test.eval_freq says and none is deleted: mind the disk."""


def main(argv: Sequence[str]) -> int:
    """Run the subcommand. Returns the exit status."""
    args = _parse(argv)
    check_options(args.options[::2])
    grids = ablation_grids.choose(args.grids, args.cells)
    stages = read_configs(args.stages, args)
    check_used(stages, args.options[::2])
    command = shlex.join(["torchreid-magnifier", "ablate", *argv])
    ablate(grids, stages, _seeds(args.seeds), args.out, command)
    print(f"Tables and plots are in {args.out}: begin with results.md")
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        "ablate",
        _DESCRIPTION,
        epilog=f"grids and their cells:\n{ablation_grids.describe()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("grids", nargs="+", metavar="GRID", help="what to compare: see below")
    parser.add_argument(
        "--stages",
        nargs="+",
        required=True,
        metavar="YAML",
        help="configurations of the successive stages of the whole network, as for train; cells "
        "without the semantic diversity loss take the loss triplet in all of them",
    )
    parser.add_argument("--cells", nargs="+", default=[], metavar="CELL", help="only these cells")
    parser.add_argument(
        "--seeds", nargs="+", default=["1", "2", "3"], metavar="N", help="default: 1 2 3"
    )
    what = "folder for everything that is written (default: %(default)s)"
    add_path(parser, "--out", what, "DIR", default=Path("ablation"))
    add_options(parser)
    return parse(parser, argv)


def _seeds(words: Sequence[str]) -> list[int]:
    wrong = [word for word in words if not word.isdecimal()]
    if wrong:
        raise ConfigError(f"--seeds takes whole numbers, found {wrong[0]!r}")
    return list(dict.fromkeys(map(int, words)))
