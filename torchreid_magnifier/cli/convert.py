"""``torchreid-magnifier convert``: the reference implementations' checkpoints."""

import shlex
import warnings
from collections.abc import Sequence

from ..checkpoint import read_checkpoint, write_weights
from ..models.magnifiernet.conversion import OFFICIAL, convert_official_state_dict
from ..models.san.conversion import DECODER_KEY, SAN, convert_san_state_dict
from .arguments import Parser, add_path


def main(argv: Sequence[str]) -> int:
    """Run the subcommand. Returns the exit status."""
    parser = Parser(
        "convert",
        "Rewrite a checkpoint of a reference implementation: MagnifierNet's "
        "(github.com/NIRVANALAN/magnifiernet_reid) for the model magnifiernet_official, SAN's "
        "(github.com/microsoft/Semantics-Aligned-Representation-Learning-for-Person-"
        "Re-identification) for san. No code in the file is run.",
    )
    add_path(parser, "source", "such as resnet50_model_500.pth or checkpoint_ep300.pth.tar", "IN")
    add_path(parser, "target", "new file: .safetensors, or another for torch.load", "OUT")
    args = parser.parse_args(argv)
    checkpoint = read_checkpoint(args.source)
    kind = SAN if DECODER_KEY in checkpoint else OFFICIAL
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        convert = convert_san_state_dict if kind is SAN else convert_official_state_dict
        converted = convert(checkpoint)
    write_weights(args.target, converted)
    print(
        f"Wrote {args.target}: {len(converted)} tensors, {kind.num_classes(converted)} training "
        "identities."
    )
    for warning in warned:
        print(warning.message)
    print(
        "Test it: torchreid-magnifier train -s market1501 -t market1501 --root reid-data "
        f"model.name {kind.model} model.pretrained False loss.name triplet "
        f"data.height {kind.height} data.width {kind.width} test.evaluate True "
        f"test.dist_metric {kind.dist_metric} "
        f"model.load_weights {shlex.quote(str(args.target))}"
    )
    return 0
