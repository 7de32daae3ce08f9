"""``torchreid-magnifier ablate``: the paper's ablations, over several seeds, in one command.

Trains every cell of the grids (see ``ablation``) and writes one folder: ``results.md`` and
``results.csv``, a plot for each grid, and all runs under ``runs/``.
"""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from ..experiments import ablation_grids, ablation_report
from ..experiments.ablation import Ablation, check_options
from ..training.config import ConfigError
from .arguments import Parser
from .train import add_options, parse, read_configs

_DESCRIPTION = """\
Train and test variants of a network alike, each with several seeds, and write tables and plots
as its paper has them.

Interrupted, it goes on when the same command is given again. What is finished is not run again, and
cells that are the same training share it. The tables have the grids, cells and seeds of the last
command. Checkpoints are saved as test.eval_freq says and none is deleted: mind the disk."""


def main(argv: Sequence[str]) -> int:
    """Run the subcommand. Returns the exit status."""
    _run(_parse(argv), shlex.join(["torchreid-magnifier", "ablate", *argv]))
    return 0


def _run(args: argparse.Namespace, command: str) -> None:
    check_options(args.options[::2])
    grids = ablation_grids.choose(args.grids, args.cells)
    stages = read_configs(args.stages, args)
    out = args.out
    out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / ".lock", timeout=0):
            ablation = Ablation(grids, stages, _seeds(args.seeds), out)
            if len(ablation.results) < len(ablation.runs):
                ablation.read_data()

            def write() -> None:
                ablation_report.write(ablation, command)

            write()
            ablation.run(on_finished=write)
    except Timeout as error:
        raise ConfigError(
            f"another ablation is writing into {out}: wait until it has ended, or give another "
            "--out"
        ) from error
    print(f"Tables and plots are in {out}: begin with results.md")


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog="torchreid-magnifier ablate",
        description=_DESCRIPTION,
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
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("ablation"),
        metavar="DIR",
        help="folder for everything that is written (default: %(default)s)",
    )
    add_options(parser)
    return parse(parser, argv)


def _seeds(words: Sequence[str]) -> list[int]:
    wrong = [word for word in words if not word.isdecimal()]
    if wrong:
        raise ConfigError(f"--seeds takes whole numbers, found {wrong[0]!r}")
    return list(dict.fromkeys(map(int, words)))
