"""``torchreid-magnifier convert``: checkpoints of the papers' released code, for this package."""

import argparse
import shlex
import warnings
from collections.abc import Sequence
from pathlib import Path

from ..hub.checkpoint import read_checkpoint, write_weights
from ..hub.conversion import convert_checkpoint


def main(argv: Sequence[str]) -> int:
    """Run the subcommand. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="torchreid-magnifier convert",
        description="Rewrite a checkpoint that released code saved: MagnifierNet's "
        "(github.com/NIRVANALAN/magnifiernet_reid) for the model magnifiernet_official, SAN's "
        "(github.com/microsoft/Semantics-Aligned-Representation-Learning-for-Person-"
        "Re-identification) for san. No code in the file is run.",
    )
    parser.add_argument(
        "source",
        type=Path,
        metavar="IN",
        help="such as resnet50_model_500.pth or checkpoint_ep300.pth.tar",
    )
    parser.add_argument("target", type=Path, metavar="OUT", help="file to write; must not exist")
    args = parser.parse_args(argv)
    print(convert(args.source, args.target))
    return 0


def convert(source: Path, target: Path) -> str:
    """Writes the converted state dict of ``source`` into the new file ``target``.

    Returns:
        What was written, and how to go on, as text.

    Raises:
        CheckpointError: if ``source`` cannot be read or is of another network.
        OSError: if ``target`` exists or cannot be written.
    """
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        kind, converted = convert_checkpoint(read_checkpoint(source))
    write_weights(target, converted)
    lines = [
        f"Wrote {target}: {len(converted)} tensors, {kind.num_classes(converted)} training "
        "identities."
    ]
    lines += [str(warning.message) for warning in told]
    lines.append(
        "Test it: torchreid-magnifier train -s market1501 -t market1501 --root reid-data "
        f"model.name {kind.model} model.pretrained False loss.name triplet "
        f"data.height {kind.height} data.width {kind.width} test.evaluate True "
        f"test.dist_metric {kind.dist_metric} "
        f"model.load_weights {shlex.quote(str(target))}"
    )
    return "\n".join(lines)
