"""Draw whom one or two networks find for queries of a dataset, as Fig. 3 of the paper, and why.

Images of the query's person by the query's own camera are left out, as in torchreid's evaluation.
Below each image found is why. ``regions``: its parts in the colour of how much they resemble the
query's, compared with the same part of the other gallery images, by the features of the Semantic
Fusion Branch. ``activations``: where the network is active in it.
"""

import argparse
import os
from collections.abc import Iterator

import numpy as np
import torch

from ...figures import (
    HeatBar,
    Hit,
    RankingExample,
    heat_overlay,
    parts_heat_overlay,
    rankings_figure,
    save,
)
from ...inference.explain import ExplainError
from ...inference.explain.activations import JOINT, branch_maps
from ...inference.explain.needs import has_regions, parts, require_regions
from ...inference.explain.pictures import read_image
from ...inference.explain.rankings import (
    EvaluationSet,
    SeenSet,
    region_standings,
    see_evaluation_set,
)
from ...inference.network import Network
from ...parts import BACKGROUND
from ...training.config import ConfigError, closest
from ..arguments import check_picture, up_to
from .options import (
    add_dataset,
    add_networks,
    add_out,
    chosen_dataset,
    chosen_networks,
    image_name,
    inspected,
)

_BARS = {
    "regions": HeatBar(
        "share of the gallery whose part resembles the query's less", ("50 % or less", "100 %")
    ),
    "activations": HeatBar("activation, each map on its own scale"),
    "none": None,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``show rankings``."""
    add_networks(parser, 2, "one network, or two to compare")
    add_dataset(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--queries",
        type=up_to(50),
        default=5,
        metavar="N",
        help="so many queries, drawn at random, each of another person (default: 5)",
    )
    which.add_argument(
        "--query", nargs="+", metavar="IMAGE", help="these queries: paths or names of files"
    )
    parser.add_argument(
        "--differing",
        action="store_true",
        help="draw from the queries whose nearest image is right for one network only",
    )
    parser.add_argument("--seed", type=int, default=1, help="of this choice (default: 1)")
    parser.add_argument(
        "--top",
        type=up_to(50),
        metavar="K",
        help="images found to show (default: 10, of two networks 5 each)",
    )
    parser.add_argument(
        "--why",
        choices=_BARS,
        help="what is below each image (default: regions, if the networks have them)",
    )
    add_out(parser, "rankings.png")


def run(args: argparse.Namespace) -> str:
    """Draw, save, and tell the measures."""
    check_picture(args.out)
    if args.differing and len(args.weights) != 2:
        raise ConfigError("--differing compares two networks: give two --weights")
    if args.differing and args.query:
        raise ConfigError("--differing draws queries at random: leave out --query")
    networks = chosen_networks(args)
    why = args.why or ("regions" if all(map(has_regions, networks.values())) else "activations")
    if why == "regions":
        for network in networks.values():
            require_regions(network)
    images = chosen_dataset(args)
    given = _named_queries(images, args.query) if args.query else None
    seen = {
        name: see_evaluation_set(
            images, inspected(network, images.paths, args), with_regions=why == "regions"
        )
        for name, network in networks.items()
    }
    queries, how = (given, "") if given else _drawn_queries(images, list(seen.values()), args)
    measures = {
        name: "rank-1 {:.1f} %, mAP {:.1f} %".format(*(100 * v for v in s.search.rank1_and_map()))
        for name, s in seen.items()
    }
    top = args.top or (10 if len(networks) == 1 else 5)
    examples = [
        RankingExample(
            read_image(images.query[query].path),
            {
                f"{name}\n{measures[name]}": list(
                    _hits(networks[name], found, query, top, why, args)
                )
                for name, found in seen.items()
            },
            image_name(images.query[query].path),
        )
        for query in queries
    ]
    title = (
        f"Whom {'the networks find' if len(seen) > 1 else 'the network finds'} in {args.dataset}\n"
        f"{how}Nearest gallery images from left to right, with their cosine similarities."
    )
    save(rankings_figure(examples, title, _BARS[why]), args.out)
    found = "; ".join(f"{name}: {measure}" for name, measure in measures.items())
    return f"queries: {len(examples)} of {len(images.query)}; {found}"


def _named_queries(images: EvaluationSet, names: list[str]) -> list[int]:
    """The queries of these paths, or with these names of files."""
    places: dict[str, list[int]] = {}
    for index, sample in enumerate(images.query):
        path = os.path.abspath(sample.path)
        for key in (path, os.path.basename(path)):
            places.setdefault(key, []).append(index)
    chosen = []
    for name in names:
        found = places.get(os.path.abspath(name)) or places.get(os.path.basename(name), [])
        if not found:
            known = [os.path.basename(sample.path) for sample in images.query]
            raise ConfigError(
                f"--query: no query is called {name}{closest(os.path.basename(name), known)}"
            )
        if len(found) > 1:
            raise ConfigError(f"--query: {len(found)} queries are called {name}: give the path")
        chosen += found
    return chosen


def _drawn_queries(
    images: EvaluationSet, seen: list[SeenSet], args: argparse.Namespace
) -> tuple[list[int], str]:
    """Queries drawn at random, each of another person, and how they were drawn."""
    candidates = np.array(images.answerable())
    how = "Queries drawn at random. "
    if args.differing:
        left, right = (np.array([_finds(found, query) for query in candidates]) for found in seen)
        how = (
            f"Drawn from the {(left != right).sum()} of {len(candidates)} queries whose nearest "
            f"image is right for one network only (left {(left & ~right).sum()}, right "
            f"{(right & ~left).sum()}).\n"
        )
        candidates = candidates[left != right]
        if not candidates.size:
            raise ExplainError(
                "--differing: the nearest images are right or wrong for both networks alike"
            )
    people: dict[int, int] = {}
    for query in np.random.default_rng(args.seed).permutation(candidates):
        people.setdefault(images.query[query].pid, int(query))
    return list(people.values())[: args.queries], how


def _finds(seen: SeenSet, query: int) -> bool:
    """Whether the nearest gallery image is of the query's person."""
    return seen.search.is_right(query, seen.search.ranking(query)[0])


def _hits(
    network: Network, seen: SeenSet, query: int, top: int, why: str, args: argparse.Namespace
) -> Iterator[Hit]:
    """The nearest gallery images of a query, and why they are that."""
    ranking = seen.search.ranking(query)
    paths = [seen.search.gallery[found].path for found in ranking[:top]]
    images = [read_image(path) for path in paths]
    whys: list[np.ndarray] | list[None] = [None] * len(paths)
    if why == "regions":
        assert seen.query_regions is not None and seen.gallery_regions is not None
        standings = region_standings(
            seen.query_regions[query], seen.gallery_regions[torch.from_numpy(ranking)]
        ).numpy()
        standings[:, BACKGROUND] = np.nan  # compared by the network too, but nobody's part
        heats = (2 * standings[:top] - 1).clip(0)  # half of the gallery: what chance gives
        labels = [one.numpy() for one in parts(inspected(network, paths, args))]
        whys = [parts_heat_overlay(*one) for one in zip(images, labels, heats, strict=True)]
    elif why == "activations":
        maps = [
            one.numpy() for s in inspected(network, paths, args) for one in branch_maps(s)[JOINT]
        ]
        whys = [heat_overlay(*one) for one in zip(images, maps, strict=True)]
    for found, image, reason in zip(ranking, images, whys):
        similarity = 1 - seen.search.distances[query, found]
        yield Hit(image, seen.search.is_right(query, found), f"{similarity:.2f}", reason)
