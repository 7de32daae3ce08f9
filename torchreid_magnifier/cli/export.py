"""``torchreid-magnifier export``: a trained network as one file for other programs."""

from collections.abc import Sequence

from ..inference.export import Settings, check_target, export_network
from ..inference.export.settings import PRECISIONS
from ..inference.sources import find_sources
from .arguments import Parser, add_flag, add_path
from .datasets import add_dataset, chosen_dataset
from .network_options import add_network_options, chosen_network


def main(argv: Sequence[str]) -> int:
    """Run the subcommand. Returns the exit status."""
    parser = Parser(
        "export",
        "Write a trained network as one file, weights and preprocessing included: "
        "images in, embeddings and the part labels of its masks out, any number of images at a "
        "time. The file is compared with the network before it is put in place.",
    )
    add_network_options(parser, device=False)
    what = "file to write, which must not exist: NAME.onnx for ONNX, NAME.xml for OpenVINO (and "
    what += "NAME.bin), NAME.pt2 for a program of torch.export"
    add_path(parser, "--out", what, required=True)
    parser.add_argument("--precision", choices=PRECISIONS, default=PRECISIONS[0])
    add_flag(parser, "--pictures", "uint8 pictures of any size in: resized inside")
    what = "(default: drawn people)"
    parser.add_argument("--calibration", metavar="FOLDER", help=f"pictures for int8 {what}")
    parser.add_argument("--images", metavar="FOLDER", help=f"pictures to compare on {what}")
    add_dataset(parser, "to compare on, rank-1 and mAP included")
    what = "version of ONNX's operators (default: 18)"
    parser.add_argument("--opset", type=int, metavar="N", help=what)
    args = parser.parse_args(argv)
    settings = Settings(args.precision, args.pictures, args.opset)
    check_target(args.out, settings)
    folders = (args.calibration, args.images)
    calibration, images = (find_sources([given]) if given else [] for given in folders)
    dataset = chosen_dataset(args) if args.dataset else None
    network = chosen_network(args)
    chosen = (calibration, images, dataset)
    print(export_network(network, args.out, settings, *chosen, bar=True))
    return 0
