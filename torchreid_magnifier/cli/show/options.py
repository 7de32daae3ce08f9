"""Options that several kinds of pictures have: which networks, which images, and where to."""

import argparse
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ...inference.explain.pictures import find_images, inspect_images
from ...inference.explain.rankings import EvaluationSet, read_evaluation_set
from ...inference.network import Network
from ...models import Embedding
from ...registry import dataset_names
from ...training.config import ConfigError, closest
from ..arguments import PICTURE_ENDINGS, positive, up_to
from ..network_options import add_details, chosen_network

_LETTERS = 26  # of a file's name


def add_networks(
    parser: argparse.ArgumentParser, most: int, use: str, with_images: bool = False
) -> None:
    """Adds ``--weights`` for one to ``most`` networks, ``--names``, and what else they need.

    ``with_images``: the command is also given images, which an option of several values would take
    for its own; the options are then given once for each network.
    """
    several: dict[str, Any] = {"action": "extend", "nargs": "+"}
    again = ""
    if with_images:
        several, again = {"action": "append"}, "; once for each network"
    parser.add_argument(
        "--weights",
        required=True,
        metavar="NAME|FILE",
        help=f"{use}: a name that 'torchreid-magnifier weights list' shows, or a checkpoint of "
        f"training{again}",
        **several,
    )
    parser.add_argument(
        "--names",
        metavar="TEXT",
        help=f"what to call the networks in the picture{again}",
        **several,
    )
    parser.set_defaults(most=most)
    add_details(parser)


def chosen_networks(args: argparse.Namespace) -> dict[str, Network]:
    """The networks that the options of ``add_networks`` mean, by what they are called.

    Raises:
        ConfigError: too many, a wrong number of names, or one name twice.
        WeightsError, CheckpointError: as ``open_network``.
    """
    if len(args.weights) > args.most:
        raise ConfigError(
            f"--weights: expected at most {args.most} networks, found {len(args.weights)}: "
            f"{' '.join(args.weights)}"
        )
    names = args.names or [short_name(weights) for weights in args.weights]
    if len(names) != len(args.weights):
        raise ConfigError(
            f"--names: expected one for each of the {len(args.weights)} networks, found {names}"
        )
    if len(set(names)) < len(names):
        raise ConfigError(
            f"two networks would both be called {max(names, key=names.count)!r}: give --names"
        )
    return {
        name: chosen_network(args, weights)
        for name, weights in zip(names, args.weights, strict=True)
    }


def short_name(weights: str) -> str:
    """A name of a manifest as it is; of ``<run>/model/model.pth.tar-60``, run and epoch."""
    path = Path(weights)
    if path.parent.name == "model":
        return f"{path.absolute().parent.parent.name}, epoch {path.name.rpartition('-')[2]}"
    return path.name


def add_images(parser: argparse.ArgumentParser, count: int) -> None:
    """Adds the images, and how many of them are shown."""
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE|FOLDER", help="images; folders with all below them"
    )
    parser.add_argument(
        "--count",
        type=up_to(200),
        default=count,
        metavar="N",
        help="of more images, show N chosen at random (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=1, help="of this choice (default: 1)")


def chosen_images(args: argparse.Namespace) -> list[str]:
    """The images that the options of ``add_images`` mean, in the order given.

    Raises:
        ExplainError: there are none.
    """
    paths = find_images(args.images)
    if len(paths) <= args.count:
        return paths
    chosen = set(random.Random(args.seed).sample(range(len(paths)), args.count))
    return [path for index, path in enumerate(paths) if index in chosen]


def image_name(path: str) -> str:
    """The end of a file's name, as much as has room above or below a picture."""
    name = Path(path).stem
    return name if len(name) <= _LETTERS else "…" + name[1 - _LETTERS :]


def add_dataset(parser: argparse.ArgumentParser) -> None:
    """Adds ``--dataset`` and ``--root``."""
    parser.add_argument("--dataset", required=True, metavar="NAME", help="registered dataset")
    parser.add_argument("--root", default="reid-data", help="the folder that holds the datasets")


def chosen_dataset(args: argparse.Namespace) -> EvaluationSet:
    """The queries and the gallery that the options of ``add_dataset`` mean.

    Raises:
        ConfigError: there is no dataset of this name.
        ExplainError: it cannot be read.
    """
    known = dataset_names()
    if args.dataset not in known:
        raise ConfigError(
            f"--dataset: unknown name {args.dataset!r}{closest(args.dataset, known)} "
            f"(all names: {', '.join(sorted(known))})"
        )
    return read_evaluation_set(args.dataset, args.root)


def add_out(parser: argparse.ArgumentParser, default: str) -> None:
    """Adds ``--out``, and ``--batch-size``."""
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(default),
        metavar="FILE",
        help=f"the picture: {', '.join(PICTURE_ENDINGS)} (default: %(default)s)",
    )
    parser.add_argument(
        "--batch-size", type=positive, default=32, metavar="N", help="images at once (default: 32)"
    )


def inspected(network: Network, paths: list[str], args: argparse.Namespace) -> Iterator[Embedding]:
    """What a network sees of images, batch by batch; a bar moves on if somebody looks.

    Raises:
        ExplainError: an image cannot be read.
    """
    with tqdm(total=len(paths), unit="image", disable=None, leave=False) as bar:
        for seen in inspect_images(network, paths, args.batch_size):
            yield seen
            bar.update(len(seen.embedding))
