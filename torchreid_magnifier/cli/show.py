"""``torchreid-magnifier show``: pictures of what networks see, find, and have learnt."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ..figures import PICTURE_ENDINGS, check_picture, save
from ..hub import DEFAULT
from ..inference.explain.sheets import (
    WHY,
    activations_sheet,
    parts_sheet,
    rankings_sheet,
    regions_sheet,
)
from ..inference.open import Network, named, short_name
from ..inference.sources import at_random, find_sources
from ..training.config import ConfigError
from .arguments import Parser, add_batch_size, add_flag, add_path, up_to
from .datasets import add_dataset, chosen_dataset
from .network_options import add_details, add_network_options, chosen_network

_MOST = 8  # networks in one picture of activations


def main(argv: Sequence[str]) -> int:
    """Run the subcommand."""
    args = _parser().parse_args(argv)
    check_picture(args.out)
    figure, line = args.draw(args)
    save(figure, args.out)
    print(f"{args.out}: {line}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser("show", "Pictures of what networks see, find, and have learnt.")
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")

    def kind(name: str, draw: Any, help: str, description: str) -> argparse.ArgumentParser:
        added = kinds.add_parser(name, help=help, description=description)
        added.set_defaults(draw=draw)
        what = f"the picture: {', '.join(PICTURE_ENDINGS)} (default: %(default)s)"
        add_path(added, "--out", what, default=Path(f"{name}.png"))
        add_batch_size(added)
        return added

    masks = kind(
        "masks",
        _masks,
        "the body parts that a network predicts, over images",
        "Draw images beside the body parts that a network predicts, and the true ones where they "
        "lie.",
    )
    _add_images(masks, 24)
    add_network_options(masks)

    activations = kind(
        "activations",
        _activations,
        "where the branches of a network, or several networks, are active in images",
        "Draw where a network is active in images: each branch, and all together, as Fig. 2 of the "
        "paper. Of several networks, such as the variants of an ablation, all branches together "
        "are drawn, a column each. A map says places within an image, not strengths between "
        "images: each has its own scale.",
    )
    _add_images(activations, 8)
    # An option of several values would take images for its own.
    _add_networks(activations, _MOST, "one network, or several to compare", once=True)
    what = "instead of the branches: the Semantic Fusion Branch within each body region"
    add_flag(activations, "--regions", what)

    rankings = kind(
        "rankings",
        _rankings,
        "what one or two networks find in a dataset, and why",
        "Draw what one or two networks find for queries of a dataset, as Fig. 3 of the paper, and "
        "why. Images of the query's person by the query's own camera are left out, as in "
        "torchreid's evaluation. Below each image found is why. regions: its parts in the colour "
        "of how much they resemble the query's, compared with the same part of the other gallery "
        "images, by the features of the Semantic Fusion Branch. activations: where the network is "
        "active in it.",
    )
    _add_networks(rankings, 2, "one network, or two to compare")
    add_dataset(rankings)
    which = rankings.add_mutually_exclusive_group()
    what = "so many queries, drawn at random, each of another person (default: 5)"
    which.add_argument("--queries", type=up_to(50), default=5, metavar="N", help=what)
    which.add_argument(
        "--query", nargs="+", metavar="IMAGE", help="these queries: paths or names of files"
    )
    what = "draw from the queries whose nearest image is right for one network only"
    add_flag(rankings, "--differing", what)
    rankings.add_argument("--seed", type=int, default=1, help="of this choice (default: 1)")
    what = "images found to show (default: 10, of two networks 5 each)"
    rankings.add_argument("--top", type=up_to(50), metavar="K", help=what)
    what = "what is below each image (default: regions, if the networks have them)"
    rankings.add_argument("--why", choices=WHY, help=what)

    regions = kind(
        "regions",
        _regions,
        "how alike the features of body regions are, before and after the SD loss",
        "Draw how alike the features of two body regions are, as the mean over a dataset's test "
        "images. The Semantic Diversity loss of stage 2 is to make them less alike: give the "
        "network before and the network after it. Regions that an image lacks are left out of the "
        "means.",
    )
    _add_networks(regions, 2, "one network, or two: before and after")
    add_dataset(regions)
    return parser


def _masks(args: argparse.Namespace) -> tuple[Figure, str]:
    paths = _chosen_images(args)
    return parts_sheet(chosen_network(args), short_name(args.weights), paths, args.batch_size)


def _activations(args: argparse.Namespace) -> tuple[Figure, str]:
    paths = _chosen_images(args)
    if args.regions and len(args.weights or [DEFAULT]) > 1:
        raise ConfigError("--regions shows one network: give one --weights")
    return activations_sheet(_chosen_networks(args), paths, args.regions, args.batch_size)


def _rankings(args: argparse.Namespace) -> tuple[Figure, str]:
    if args.differing and len(args.weights or [DEFAULT]) != 2:
        raise ConfigError("--differing compares two networks: give two --weights")
    if args.differing and args.query:
        raise ConfigError("--differing draws queries at random: leave out --query")
    networks, images = _chosen_networks(args), chosen_dataset(args)
    return rankings_sheet(
        networks,
        args.dataset,
        images,
        named=images.named(args.query or ()),
        count=args.queries,
        differing=args.differing,
        seed=args.seed,
        top=args.top,
        why=args.why,
        batch_size=args.batch_size,
    )


def _regions(args: argparse.Namespace) -> tuple[Figure, str]:
    networks, images = _chosen_networks(args), chosen_dataset(args)
    return regions_sheet(networks, args.dataset, images.paths, args.batch_size)


def _add_networks(parser: argparse.ArgumentParser, most: int, use: str, once: bool = False) -> None:
    """Add ``--weights`` for one to ``most`` networks, ``--names``, and what else they need.

    ``once``: the options are given once for each network.
    """
    several: dict[str, Any] = {"action": "append"} if once else {"action": "extend", "nargs": "+"}
    again = "; once for each network" if once else ""
    parser.add_argument(
        "--weights",
        metavar="NAME|FILE",
        help=f"{use}: a name that 'torchreid-magnifier weights list' shows, or a checkpoint of "
        f"training{again} (default: {DEFAULT})",
        **several,
    )
    what = f"what to call the networks in the picture{again}"
    parser.add_argument("--names", metavar="TEXT", help=what, **several)
    parser.set_defaults(most=most)
    add_details(parser)


def _chosen_networks(args: argparse.Namespace) -> dict[str, Network]:
    """The networks by what they are called."""
    called = named(args.weights or [DEFAULT], args.names, args.most)
    return {name: chosen_network(args, one) for name, one in called.items()}


def _add_images(parser: argparse.ArgumentParser, count: int) -> None:
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE|FOLDER", help="images; folders with all below them"
    )
    what = "of more images, show N chosen at random (default: %(default)s)"
    parser.add_argument("--count", type=up_to(200), default=count, metavar="N", help=what)
    parser.add_argument("--seed", type=int, default=1, help="of this choice (default: 1)")


def _chosen_images(args: argparse.Namespace) -> list[str]:
    return at_random(find_sources(args.images, videos=False), args.count, args.seed)
