"""``torchreid-magnifier train``: torchreid's scripts/main.py, and several stages."""

import argparse
import sys
from collections.abc import Sequence
from itertools import takewhile

from yacs.config import CfgNode

from ..distributed.launch import joined, printing_once
from ..training.checks import check_used
from ..training.config import DEFAULTS, ConfigError, read_config
from ..training.run import link_stages, plan, run
from .arguments import Parser, add_flag


def main(argv: Sequence[str]) -> int:
    """Run the subcommand. Returns the exit status."""
    try:
        with printing_once():
            args = _parse(argv)
            cfgs = read_stages(args)
    except ConfigError as error:  # found by all processes alike
        with printing_once():
            print(f"torchreid-magnifier train: error: {error}", file=sys.stderr)
        return error.exit_status
    with joined(any(cfg.use_gpu for cfg in cfgs)) as processes:
        stages = processes.from_main(lambda: plan(cfgs, processes=processes))
        check_used(cfgs, args.options[::2])
        run(
            stages,
            processes=processes,
            compiled=args.compile,
            gradient_checkpointing=args.gradient_checkpointing,
        )
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        "train",
        "Train and test as torchreid's scripts/main.py does, with the same YAML files "
        "and options (image data only). A run goes on from the newest checkpoint in its "
        "data.save_dir; torchreid saves one when it evaluates (test.eval_freq) and at the end. "
        "The numbers of its last test are in results.json there: rank-1 and mAP as shares, the "
        "epochs of training, and the minutes if they were trained in one go.",
    )
    files = parser.add_mutually_exclusive_group()
    files.add_argument("--config-file", metavar="YAML", help="configuration of a single run")
    files.add_argument(
        "--stages",
        nargs="+",
        metavar="YAML",
        help="configurations of successive stages: each starts from the weights that the one "
        "before it ended with; with 'data.save_dir D' given, stage i writes into D/stage<i>",
    )
    add_options(parser)
    ways = parser.add_mutually_exclusive_group()
    add_flag(
        ways,
        "--compile",
        "have torch.compile translate the model first, which takes minutes; the results change by "
        "rounding only",
    )
    add_flag(
        ways,
        "--gradient-checkpointing",
        "compute the backbone's early stages twice instead of keeping them: about a quarter less "
        "memory for a step that takes 7 %% longer; the results stay the same",
    )
    return parse(parser, argv)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what changes the configurations of all stages alike."""
    parser.add_argument("-s", "--sources", nargs="+", metavar="NAME", help="source datasets")
    parser.add_argument("-t", "--targets", nargs="+", metavar="NAME", help="target datasets")
    parser.add_argument("--transforms", nargs="+", metavar="NAME", help="data augmentation")
    parser.add_argument("--root", help="the folder that holds the datasets")
    what = "any option, such as: data.workers 8; with --stages it applies to every stage"
    parser.add_argument("options", nargs="*", metavar="key value", help=what)


def parse(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """Parse ``argv``, with the ``key value`` pairs anywhere, all of them in ``options``."""
    args = parser.parse_intermixed_args(argv)
    # An argument that takes several values also takes the 'key value' pairs behind it: give back.
    for name, values in list(vars(args).items()):
        if name == "options" or not isinstance(values, list):
            continue
        own = list(takewhile(lambda word: not _is_key(word), values))
        args.options = values[len(own) :] + args.options
        setattr(args, name, own)
    return args


def _is_key(word: str) -> bool:
    section, dot, _ = word.partition(".")
    return word == "use_gpu" or (
        bool(dot) and section in DEFAULTS and not word.endswith((".yaml", ".yml"))
    )


def read_stages(args: argparse.Namespace) -> list[CfgNode]:
    """Return one configuration for each stage; a plain run is one stage."""
    stages = read_configs(args.stages or [args.config_file], args)
    if args.stages:
        link_stages(stages, args.options[::2])
    return stages


def read_configs(paths: Sequence[str | None], args: argparse.Namespace) -> list[CfgNode]:
    """Return the files, or torchreid's defaults for None, each with the command line's options."""
    data = {key: getattr(args, key) for key in ("root", "sources", "targets", "transforms")}
    return [read_config(path, args.options, **data) for path in paths]
