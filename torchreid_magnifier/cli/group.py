"""``torchreid-magnifier group``: who is who in pictures of people whom nobody has named."""

import argparse
from collections.abc import Sequence

import numpy as np

from ..figures import check_picture, save
from ..files import check_file, write_atomically
from ..inference.decide import Calibration
from ..inference.embeddings import require_comparable
from ..inference.explain.sheets import groups_sheet
from ..inference.group import (
    METHODS,
    agreement,
    check_new_folder,
    group,
    groups_as_csv,
    read_names,
    write_folders,
)
from ..inference.search import read_pictures
from . import report
from .arguments import Parser, add_calibration, add_path
from .network_options import add_network_options, chosen_network

_DRAWN = 20  # people, at most


def main(argv: Sequence[str]) -> int:
    """Run the subcommand. Returns the exit status: 1 if pictures cannot be drawn."""
    args = _parse(argv)
    check_file("--csv", args.csv)
    if args.out:
        check_picture(args.out)
    if args.folders:
        check_new_folder(args.folders)
    people_of = read_names(args.people) if args.people else None
    calibration = Calibration.read(args.calibration)
    threshold = calibration.threshold(args.same_at)
    pictures = read_pictures(args.sources, lambda: chosen_network(args))
    require_comparable(calibration.made, pictures.card, "the calibration", "the pictures")
    found = group(pictures, threshold, args.method)
    sizes = np.sort(np.bincount(found))[::-1]
    print(
        f"{len(pictures)} pictures of {len(sizes)} people (the same person from {threshold:.4f} "
        f"on): the most of one person {sizes[0]}, people with a single picture {sum(sizes == 1)}"
    )
    if args.csv:
        write_atomically(args.csv, groups_as_csv(pictures, found).encode())
    if args.folders and (left_out := write_folders(pictures, found, args.folders)):
        print(f"{args.folders}: without {left_out} frames of videos, which --csv lists")
    if people_of:
        print(agreement(found, people_of(pictures)))
    if args.out:
        figure, missing = groups_sheet(pictures, found, _DRAWN)
        save(figure, args.out)
        return report("drawn as grey, because they cannot be read here", missing)
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        "group",
        "Put pictures of people together by person: pictures whose similarity has at "
        "most a chosen rate of false matches are one person's.",
    )
    what = "image, folder or pattern as for extract, or a file of embeddings"
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help=what)
    add_network_options(parser)
    what = "of false matches, one of the calibration's (default: 1%%)"
    add_calibration(parser, what, 0.01, required=True)
    parser.add_argument(
        "--method",
        choices=METHODS,
        default=METHODS[0],
        help="linkage of agglomerative clustering, or hdbscan, which looks for thresholds of its "
        "own (default: average)",
    )
    add_path(parser, "--csv", "path, frame, person of each")
    add_path(parser, "--folders", "new folder: a copy of each image, by person", "DIR")
    add_path(parser, "--out", f"a picture of the {_DRAWN} people seen most")
    what = "to compare with: a table with path and person, or the folder of the people's folders"
    add_path(parser, "--people", what, "FILE|DIR")
    return parser.parse_args(argv)
