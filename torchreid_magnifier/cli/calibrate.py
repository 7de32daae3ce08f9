"""``torchreid-magnifier calibrate``: from which similarity on two images are the same person's."""

import argparse
from collections.abc import Sequence

from ..evaluation.shared_parts import SHARE
from ..figures import check_picture, save
from ..files import check_file
from ..inference.decide import RATES, Calibration, calibrate, read_labelled_folder, score_pairs
from ..inference.embeddings import card_of, require_comparable
from ..inference.errors import RetrievalError
from ..inference.explain.rankings import columns, read_people
from ..inference.explain.sheets import calibration_sheet
from ..inference.extract import embed
from .arguments import Parser, add_batch_size, add_flag, add_path, rate
from .datasets import add_root, check_dataset
from .network_options import add_network_options, chosen_network


def main(argv: Sequence[str]) -> int:
    """Run the subcommand."""
    args = _parse(argv)
    _check(args)
    source = str(args.images) if args.images else f"{args.dataset}, {args.split}"
    paths, people, cameras = (
        read_labelled_folder(args.images)
        if args.images
        else columns(read_people(args.dataset, args.root, args.split))
    )
    before = Calibration.read(args.check) if args.check else None
    network = chosen_network(args)
    made = card_of(network)
    if before is not None:
        require_comparable(before.made, made, "the calibration", "--weights")
    share = before.parts if before else SHARE if args.parts else 0.0
    embeddings, problems = embed(
        network, paths, batch_size=args.batch_size, bar=True, parts=share > 0
    )
    if problems:
        raise RetrievalError("\n  ".join(["images that cannot be read:", *problems]))
    pairs = score_pairs(embeddings, people, cameras, same_camera=args.same_camera, parts=share)
    print(f"{source}: {pairs}")
    if before is not None:
        print(before.compared(pairs))
        return 0
    found = calibrate(pairs, made, source, args.rates)
    print(found)
    found.write(args.out)
    print(f"{args.out}: the calibration")
    if args.picture:
        save(calibration_sheet(found, pairs), args.picture)
        print(f"{args.picture}: its picture")
    return 0


def _check(args: argparse.Namespace) -> None:
    """Check what can be checked before any work."""
    if args.dataset is not None:
        check_dataset(args.dataset)
    check_file("--out", args.out)
    if args.picture:
        check_picture(args.picture)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        "calibrate",
        "Find the similarities from which on two images are taken for the same "
        "person's, at chosen rates of false matches, on images of known people by several cameras. "
        "They hold for images of such cameras: --check says how far off they are on others.",
    )
    add_network_options(parser)
    images = parser.add_mutually_exclusive_group(required=True)
    images.add_argument("--dataset", metavar="NAME", help="registered dataset")
    add_path(
        images,
        "--images",
        "a folder for each person in it, named as you like; the camera is a folder below that, or "
        "in the name of a file, as in 0002_c1s1_000451.jpg",
        "FOLDER",
    )
    add_root(parser)
    what = "of the dataset (default: test; a network knows the people that it was trained on)"
    parser.add_argument("--split", choices=("train", "test"), default="test", help=what)
    what = "pairs of images by one camera count, too: easier than what several cameras meet"
    add_flag(parser, "--same-camera", what)
    add_flag(parser, "--parts", "similarities over shared parts, for 'search --parts'")
    what = "of false matches (default: 10%% 1%% 0.1%%)"
    parser.add_argument("--rates", type=rate, nargs="+", default=RATES, metavar="RATE", help=what)
    goal = parser.add_mutually_exclusive_group(required=True)
    add_path(goal, "--out", "the calibration, for --same-at")
    add_path(goal, "--check", "say what a calibration does on these images")
    add_path(parser, "--picture", "scores and errors, drawn")
    add_batch_size(parser)
    return parser.parse_args(argv)
