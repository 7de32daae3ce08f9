"""The dataset that a command searches in."""

import argparse

from ..inference.explain.rankings import EvaluationSet, read_evaluation_set
from ..registry import dataset_names
from ..training.config import require_known


def add_dataset(parser: argparse.ArgumentParser, purpose: str = "") -> None:
    """Add ``--dataset``, which may be left out where it has a ``purpose``, and ``--root``."""
    help = f"registered dataset {purpose}".rstrip()
    parser.add_argument("--dataset", required=not purpose, metavar="NAME", help=help)
    add_root(parser)


def add_root(parser: argparse.ArgumentParser) -> None:
    """Add ``--root``."""
    parser.add_argument("--root", default="reid-data", help="the folder that holds the datasets")


def check_dataset(name: str) -> None:
    """Check that a dataset is registered.

    Raises:
        ConfigError: it is not.
    """
    require_known("--dataset", [name], dataset_names())


def chosen_dataset(args: argparse.Namespace) -> EvaluationSet:
    """Read the queries and gallery that the options name.

    Raises:
        ConfigError: for a name that is not registered.
    """
    check_dataset(args.dataset)
    return read_evaluation_set(args.dataset, args.root)
