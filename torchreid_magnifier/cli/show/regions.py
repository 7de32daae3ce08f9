"""Draw how alike the features of two body regions are, as the mean over a dataset's test images.

The Semantic Diversity loss of stage 2 is to make them less alike: give the network before and the
network after it. Regions that an image lacks are left out of the means.
"""

import argparse

from ...figures import Similarity, save, similarity_figure
from ...inference.explain.needs import regions, require_regions
from ...inference.explain.regions import RegionSimilarity, region_similarity
from ...inference.network import Network
from ..arguments import check_picture
from .options import add_dataset, add_networks, add_out, chosen_dataset, chosen_networks, inspected


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``show regions``."""
    add_networks(parser, 2, "one network, or two: before and after")
    add_dataset(parser)
    add_out(parser, "regions.png")


def run(args: argparse.Namespace) -> str:
    """Draw, save, and tell the means."""
    check_picture(args.out)
    networks = chosen_networks(args)
    for network in networks.values():
        require_regions(network)
    paths = chosen_dataset(args).paths
    found = {name: _similarity(network, paths, args) for name, network in networks.items()}
    drawn = {
        name: Similarity(one.matrix.numpy(), f"mean of all pairs (SD loss) {one.loss:.4f}")
        for name, one in found.items()
    }
    title = (
        "How alike the features of two body regions are\n"
        f"Mean cosine similarity over the {len(paths)} test images of {args.dataset}."
    )
    save(similarity_figure(drawn, title), args.out)
    means = ", ".join(f"{name} {one.loss:.4f}" for name, one in found.items())
    return f"images: {len(paths)}; mean of all pairs (SD loss): {means}"


def _similarity(network: Network, paths: list[str], args: argparse.Namespace) -> RegionSimilarity:
    return region_similarity(regions(inspected(network, paths, args)))
