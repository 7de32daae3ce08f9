"""The dataset that a command searches in."""

import argparse

from ..inference.explain.rankings import EvaluationSet, read_evaluation_set
from ..registry import dataset_names
from ..training.config import ConfigError, closest


def add_dataset(parser: argparse.ArgumentParser) -> None:
    """Add ``--dataset`` and ``--root``."""
    parser.add_argument("--dataset", required=True, metavar="NAME", help="registered dataset")
    parser.add_argument("--root", default="reid-data", help="the folder that holds the datasets")


def chosen_dataset(args: argparse.Namespace) -> EvaluationSet:
    """Read the queries and gallery that the options name.

    Raises:
        ConfigError: for a name that is not registered.
    """
    known = dataset_names()
    if args.dataset not in known:
        raise ConfigError(
            f"--dataset: unknown name {args.dataset!r}{closest(args.dataset, known)} "
            f"(all names: {', '.join(sorted(known))})"
        )
    return read_evaluation_set(args.dataset, args.root)
