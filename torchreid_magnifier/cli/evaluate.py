"""``torchreid-magnifier evaluate``: how well trained networks find people of datasets."""

import argparse
from collections.abc import Sequence

from ..distributed.launch import joined_on, printing_once
from ..evaluation.multi_query import POOLINGS
from ..files import check_file, write_atomically
from ..inference.embedding_files import read_embeddings
from ..inference.evaluate import evaluate, reassociate_tracks
from ..inference.explain.rankings import EvaluationSet, read_evaluation_set
from ..inference.report import as_html, as_json, as_text
from .arguments import Parser, add_batch_size, add_count, add_flag, add_path
from .datasets import add_root, check_dataset
from .network_options import add_network_options, chosen_network

_OPTIONS = (
    *("flip", "rerank", "branches", "pooling", "strangers", "draws", "shared_parts"),
    "batch_size",
)


def main(argv: Sequence[str]) -> int:
    """Run the subcommand. Returns the exit status."""
    with printing_once():
        args = _parse(argv)
    if args.tracks:
        print(reassociate_tracks(read_embeddings(args.tracks), args.gap, args.stride))
        return 0
    with joined_on(args.device) as processes:
        images = processes.together(lambda: _images(args), in_turn=True)
        networks = processes.together(lambda: [chosen_network(args, w) for w in args.weights])
        chosen = {name: getattr(args, name) for name in _OPTIONS}
        found = [
            evaluate(network, images[name], name, **chosen, bar=True, processes=processes)
            for network in networks
            for name in args.dataset
        ]
        if not processes.is_main:
            return 0
    print(as_text(found, args.cameras))
    for path, make in ((args.json, as_json), (args.html, as_html)):
        if path:
            write_atomically(path, make(found).encode())
    return 0


def _images(args: argparse.Namespace) -> dict[str, EvaluationSet]:
    for name in args.dataset:
        check_dataset(name)
    for option in ("json", "html"):
        check_file(f"--{option}", getattr(args, option))
    return {name: read_evaluation_set(name, args.root) for name in args.dataset}


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        "evaluate",
        "Measure trained networks on the queries and gallery of datasets: rank-1, 5 "
        "and 10, mAP and mINP, by the cosine distance, one query at a time, without the images of "
        "the query's person by its own camera. Processes that torchrun or 'accelerate launch' "
        "starts share the images out.",
    )
    add_network_options(parser, several=True)
    measured = parser.add_mutually_exclusive_group(required=True)
    measured.add_argument("--dataset", nargs="+", metavar="NAME", help="registered datasets")
    add_path(
        measured,
        "--tracks",
        "embeddings of boxes with tracks: how well people are found again --gap frames later, "
        "among those who are there; nothing else is measured",
    )
    add_count(parser, "--gap", 30, "… frames (default: 30)")
    add_count(parser, "--stride", 1, "… asked with in frames that are multiples of N (default: 1)")
    add_root(parser)
    add_flag(parser, "--flip", "with each image's mirror image too")
    add_flag(parser, "--rerank", "re-ranked too (k-reciprocal)")
    add_flag(parser, "--branches", "each branch by itself too")
    what = "with all images of the query's person by its camera too, pooled so"
    parser.add_argument("--multi-query", dest="pooling", choices=POOLINGS, help=what)
    what = "half of the people out of the gallery, too: who is found at 1, 10 %% of false alarms"
    add_flag(parser, "--open-set", what, dest="strangers")
    add_count(parser, "--draws", 10, "of that half (default: 10)")
    what = "by the body parts that both pictures show too, for people who are partly hidden"
    add_flag(parser, "--parts", what, dest="shared_parts")
    add_flag(parser, "--cameras", "the queries of each camera too")
    add_batch_size(parser, default=64)
    add_path(parser, "--json", "write all numbers there")
    add_path(parser, "--html", "write a page with curves there")
    return parser.parse_args(argv)
