"""``torchreid-magnifier export``: a trained network as one file for other programs."""

from collections.abc import Sequence
from pathlib import Path

from ..inference.export import check_target, export_network
from .arguments import Parser
from .network_options import add_network_options, chosen_network


def main(argv: Sequence[str]) -> int:
    """Run the subcommand. Returns the exit status."""
    parser = Parser(
        prog="torchreid-magnifier export",
        description="Write a trained network as one file, weights and preprocessing included: "
        "images in, embeddings and the part labels of its masks out, any number of images at a "
        "time. The file is checked against the network before it is put in place.",
    )
    add_network_options(parser, device=False)
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="file to write, which must not exist: NAME.onnx for ONNX, NAME.pt2 for a program of "
        "torch.export",
    )
    parser.add_argument(
        "--opset", type=int, metavar="N", help="version of ONNX's operators (default: 18)"
    )
    args = parser.parse_args(argv)
    check_target(args.out, args.opset)
    print(export_network(chosen_network(args), args.out, args.opset))
    return 0
