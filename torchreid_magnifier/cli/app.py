"""``torchreid-magnifier app``: a page in the browser, to try a network by hand."""

import argparse
import sys
from collections.abc import Sequence

from ..app.looking import open_album
from ..app.serving import LOCAL, serve
from ..inference.decide import Calibration
from ..inference.embeddings import card_of, require_comparable
from . import report
from .arguments import Parser, add_calibration, add_path
from .network_options import add_network_options, chosen_network


def main(argv: Sequence[str]) -> int:
    """Run the subcommand."""
    args = _parse(argv)
    calibration = Calibration.read(args.calibration) if args.calibration else None
    network = chosen_network(args)
    if calibration:
        require_comparable(calibration.made, card_of(network), "the calibration", "--weights")
    album, problems = open_album(network, args.gallery) if args.gallery else (None, [])
    report("pictures that could not be used", problems)
    if args.host not in LOCAL:
        print(f"whoever can reach {args.host} can use this page", file=sys.stderr)

    def say(address: str) -> None:
        print(f"{address} (Ctrl-C ends it)", flush=True)

    serve(network, album, calibration, args.same_at, args.host, args.port, say)
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        "app",
        "Open a page for the browser: drop a picture or a frame with boxes, see its "
        "body parts and activations, the nearest of a gallery, and who it is. Nothing leaves this "
        "machine.",
    )
    what = "embeddings of 'torchreid-magnifier extract', or pictures of one person each"
    add_path(parser, "--gallery", what, "FILE|FOLDER")
    add_calibration(parser, "at first (default: 1%%)", 0.01)
    add_network_options(parser)
    parser.add_argument("--host", default=LOCAL[0], help="to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=7860, help="default: %(default)s")
    return parser.parse_args(argv)
