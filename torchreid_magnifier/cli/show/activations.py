"""Draw where a network is active in images: each branch, and all together, as Fig. 2 of the paper.

Of several networks, such as the variants of an ablation, all branches together are drawn, a column
each. A map tells places within an image, not strengths between images: each has its own scale.
"""

import argparse

import numpy as np

from ...figures import HeatBar, PictureRow, heat_figure, heat_overlay, save
from ...inference.explain.activations import JOINT, branch_maps, region_activation_maps
from ...inference.explain.needs import require_regions
from ...inference.explain.pictures import read_image
from ...inference.network import Network
from ...parts import PARTS
from ...training.config import ConfigError
from ..arguments import check_picture
from .options import (
    add_images,
    add_networks,
    add_out,
    chosen_images,
    chosen_networks,
    image_name,
    inspected,
)

_BRANCHES = {"global": "G", "adversarial": "SAB", "fusion": "SFB", JOINT: "joint"}
_MOST = 8  # networks in one picture


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``show activations``."""
    add_images(parser, 8)
    add_networks(parser, _MOST, "one network, or several to compare", with_images=True)
    parser.add_argument(
        "--regions",
        action="store_true",
        help="instead of the branches: the Semantic Fusion Branch within each body region",
    )
    add_out(parser, "activations.png")


def run(args: argparse.Namespace) -> str:
    """Draw, save, and tell what was drawn."""
    check_picture(args.out)
    paths = chosen_images(args)
    if args.regions and len(args.weights) > 1:
        raise ConfigError("--regions shows one network: give one --weights")
    networks = chosen_networks(args)
    name, network = next(iter(networks.items()))
    bar = HeatBar("activation, each map on its own scale")
    if args.regions:
        require_regions(network)
        maps = _region_maps(network, paths, args)
        title = f"Where the Semantic Fusion Branch is active within each region\n{name}"
        bar = HeatBar("activation: one scale for the body of an image, one for its background")
    elif len(networks) == 1:
        maps = _branch_maps(network, paths, args)
        if len(maps) == 2:
            del maps[_BRANCHES[JOINT]]  # there is one branch only
        title = f"Where the branches are active\n{name}"
    else:
        joint = _BRANCHES[JOINT]
        maps = {one: _branch_maps(net, paths, args)[joint] for one, net in networks.items()}
        title = "Where the networks are active\nAll branches of each network together."
    rows = []
    for index, path in enumerate(paths):
        image = read_image(path)
        heats = [heat_overlay(image, found[index]) for found in maps.values()]
        rows.append(PictureRow([image, *heats], image_name(path)))
    save(heat_figure(rows, ["image", *maps], title, bar), args.out)
    return f"images: {len(paths)}"


def _branch_maps(
    network: Network, paths: list[str], args: argparse.Namespace
) -> dict[str, list[np.ndarray]]:
    """For each branch, a map of each image."""
    maps: dict[str, list[np.ndarray]] = {}
    for seen in inspected(network, paths, args):
        for branch, found in branch_maps(seen).items():
            maps.setdefault(_BRANCHES[branch], []).extend(found.numpy())
    return maps


def _region_maps(
    network: Network, paths: list[str], args: argparse.Namespace
) -> dict[str, list[np.ndarray]]:
    """For each region, a map of each image."""
    found = [
        maps.numpy()
        for seen in inspected(network, paths, args)
        for maps in region_activation_maps(seen)
    ]
    return {
        part.replace("_", " "): [maps[number] for maps in found]
        for number, part in enumerate(PARTS)
    }
