"""``torchreid-magnifier evaluate``: how well a trained network finds people of a dataset."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ..files import write_atomically
from ..inference.evaluate import evaluate, table
from .arguments import Parser, add_batch_size
from .datasets import add_dataset, chosen_dataset
from .network_options import add_network_options, chosen_network


def main(argv: Sequence[str]) -> int:
    """Run the subcommand. Returns the exit status."""
    parser = Parser(
        prog="torchreid-magnifier evaluate",
        description="Measure a trained network on the queries and gallery of a dataset: rank-1, 5 "
        "and 10, mAP and mINP, by the cosine distance, one query at a time, without the images of "
        "the query's person by its own camera.",
    )
    add_network_options(parser)
    add_dataset(parser)
    parser.add_argument("--flip", action="store_true", help="with each image's mirror image too")
    parser.add_argument("--rerank", action="store_true", help="re-ranked too (k-reciprocal)")
    parser.add_argument("--branches", action="store_true", help="each branch by itself too")
    add_batch_size(parser, default=64)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there as well")
    args = parser.parse_args(argv)
    images = chosen_dataset(args)
    found = evaluate(
        chosen_network(args),
        images,
        flip=args.flip,
        rerank=args.rerank,
        branches=args.branches,
        batch_size=args.batch_size,
        bar=True,
    )
    print(f"{args.dataset}: {len(images.query)} queries, {len(images.gallery)} gallery images")
    print(table(found))
    if args.json:
        numbers = {name: asdict(measures) for name, measures in found.items()}
        write_atomically(args.json, (json.dumps(numbers, indent=2) + "\n").encode())
    return 0
