"""``torchreid-magnifier weights``: trained weights by name."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import yaml

from ..files import sha256
from ..hub import WeightsError, entries, fetch, find, zoo
from ..hub.card import OWN_MANIFESTS
from ..hub.download import cached_path, places, remembered
from ..hub.pack import pack, read_facts
from ..hub.table import table
from . import FAILED
from .arguments import Action, add_flag, add_path, run_action


def main(argv: Sequence[str]) -> int:
    """Run the subcommand. Returns the exit status: 1 if weights are damaged or not to be had."""
    description = (
        "Trained weights by name: of this package, and of the manifests that the environment "
        "variable TORCHREID_MAGNIFIER_MANIFESTS names."
    )
    actions: dict[str, Action] = {
        "list": ("print which weights there are", _list_options, _list),
        "download": ("get the files of weights, and print their paths", _names_options, _download),
        "verify": ("check the files that are here", _verify_options, _verify),
        "pack": ("make the file for an entry from a checkpoint", _pack_options, _pack),
    }
    return run_action("weights", description, actions, argv)


def _list_options(parser: argparse.ArgumentParser) -> None:
    add_flag(parser, "--zoo", "those of torchreid's model zoo instead")


def _list(args: argparse.Namespace) -> int:
    """Print a table of all weights: what they are, how good, and whether their files are here."""
    nothing = f"There are no weights. The environment variable {OWN_MANIFESTS} names manifests."
    known = zoo() if args.zoo else entries()
    print(table(known.values()) if known else nothing)
    if not args.zoo:
        note = f"and {len(zoo())} of torchreid's zoo: torchreid-magnifier weights list --zoo"
        print(note, file=sys.stderr)
    return 0


def _names_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", metavar="NAME", help="as 'weights list' prints it")


def _download(args: argparse.Namespace) -> int:
    """Get the files of weights, and print their paths. Files that are here already are verified."""
    status = 0
    for card in [find(name) for name in args.names]:  # each name is checked before a download
        try:
            print(fetch(card))
        except WeightsError as error:
            print(f"torchreid-magnifier weights download: error: {error}", file=sys.stderr)
            status = FAILED
    return status


def _verify_options(parser: argparse.ArgumentParser) -> None:
    what = "as 'weights list' prints it (default: all)"
    parser.add_argument("names", nargs="*", metavar="NAME", help=what)


def _verify(args: argparse.Namespace) -> int:
    """Compare the files that are here with the sizes and hashes of the manifests."""
    status = 0
    cached = (card for card in zoo().values() if cached_path(card).exists())
    for card in [find(name) for name in args.names] or [*entries().values(), *cached]:
        card = remembered(card)
        here = [path for path in places(card) if path.exists()]
        for path in here:
            problem = card.problem_of(path)
            print(f"{card.name}: {path}: {problem or 'intact'}")
            if problem:
                status = FAILED
        if not here:
            print(f"{card.name}: not here")
            if args.names:
                status = FAILED
    return status


def _pack_options(parser: argparse.ArgumentParser) -> None:
    add_path(parser, "checkpoint", "such as log/model/model.pth.tar-60", "CHECKPOINT")
    add_path(parser, "out", "new file: .safetensors, or another for torch.load", "OUT")
    add_flag(parser, "--half", "numbers of half precision: half the size")
    what = "what else is known, by the keys of a manifest's entry: licence, results, …"
    add_path(parser, "--card", what, "YAML")


def _pack(args: argparse.Namespace) -> int:
    """Make the file that users load from a checkpoint of training: no classifiers, no optimizer.

    A .safetensors file carries its card: what a config.yaml of "train" beside the checkpoint says,
    and the facts of --card. The entry for a manifest is printed.
    """
    facts = read_facts(args.card) if args.card else {}
    card = pack(args.checkpoint, args.out, args.half, facts)
    entry: dict[str, Any] = {} if card is None else card.to_dict()
    entry |= {"file": args.out.name, "sha256": sha256(args.out), "size": args.out.stat().st_size}
    print(yaml.safe_dump(entry, sort_keys=False, allow_unicode=True, width=100), end="")
    return 0
