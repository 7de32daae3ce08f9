"""``torchreid-magnifier export``: a trained network as one file for other programs."""

from collections.abc import Sequence
from pathlib import Path

from ..inference.export import Export, check_target, export_network
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
    print(summary(export_network(chosen_network(args), args.out, args.opset)))
    return 0


def summary(export: Export) -> str:
    """What was written, and how it compares with the network, as text."""
    told, parity = export.description, export.parity
    outputs = [f"embedding (N, {told.embedding_size})"]
    if told.parts:
        outputs.append(f"labels (N, {told.height // 8}, {told.width // 8})")
    lines = [
        f"Wrote {export.path}: {told.model}, {export.size / 1e6:.1f} MB",
        f"  images (N, 3, {told.height}, {told.width}) -> {', '.join(outputs)}",
        f"  checked on {parity.images} images: embeddings differ from the network's by "
        f"{parity.deviation:.1g} of the largest value",
    ]
    if parity.other_labels:
        lines.append(
            f"  {parity.other_labels} of {parity.labels} part labels differ, where two parts are "
            f"equal up to rounding, in {parity.other_images} images, left out of that comparison"
        )
    return "\n".join(lines)
