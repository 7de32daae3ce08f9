"""Make the file that users load from a checkpoint of training: no classifiers, no optimizer.

A .safetensors file carries its card: what a config.yaml of "train" beside the checkpoint says, and
the facts of --card. The entry for a manifest is printed.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml

from ...files import sha256
from ...hub import WeightsError
from ...hub.pack import pack

HELP = "make the file for an entry from a checkpoint"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``weights pack``."""
    parser.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="such as log/model/model.pth.tar-60"
    )
    parser.add_argument(
        "out", type=Path, metavar="OUT", help="new file: .safetensors, or another for torch.load"
    )
    parser.add_argument(
        "--half", action="store_true", help="numbers of half precision: half the size"
    )
    parser.add_argument(
        "--card",
        type=Path,
        metavar="YAML",
        help="what else is known, by the keys of a manifest's entry: licence, results, …",
    )


def run(args: argparse.Namespace) -> int:
    """Pack, and print what a manifest needs of the file."""
    card = pack(args.checkpoint, args.out, args.half, _facts(args.card))
    entry: dict[str, Any] = {} if card is None else card.to_dict()
    entry |= {
        "file": args.out.name,
        "sha256": sha256(args.out),
        "size": args.out.stat().st_size,
    }
    print(yaml.safe_dump(entry, sort_keys=False, allow_unicode=True, width=100), end="")
    return 0


def _facts(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        facts = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise WeightsError(f"--card: {path} cannot be read ({error})") from error
    if not isinstance(facts, dict):
        raise WeightsError(f"--card: {path}: expected a mapping by the keys of a manifest's entry")
    return facts
