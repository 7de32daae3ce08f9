"""``torchreid-magnifier evaluate``: how well a trained network finds people of a dataset."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ..files import write_atomically
from ..inference.evaluate import Measures, evaluate
from .arguments import Parser, positive
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
    parser.add_argument(
        "--batch-size", type=positive, default=64, metavar="N", help="images at once (default: 64)"
    )
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


def table(found: dict[str, Measures]) -> str:
    """Return the measures as lines of text, in percent."""
    ranks = [f"rank-{rank}" for rank in next(iter(found.values())).cmc]
    lines = [f"{'':12}" + "".join(f"{name:>9}" for name in (*ranks, "mAP", "mINP"))]
    for name, measures in found.items():
        numbers = (*measures.cmc.values(), measures.mAP, measures.mINP)
        lines.append(f"{name:12}" + "".join(f"{number:9.1f}" for number in numbers))
    return "\n".join(lines)
