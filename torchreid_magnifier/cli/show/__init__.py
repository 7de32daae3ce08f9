"""``torchreid-magnifier show``: pictures of what networks see, find, and have learnt.

One module of this folder for each kind of picture, with ``add_arguments(parser)`` and
``run(args) -> str`` (what was drawn); it is imported only when it is asked for. :mod:`.options` is
what they share.
"""

import argparse
import importlib
from collections.abc import Sequence

KINDS = {
    "masks": "the body parts that a network predicts, over images",
    "activations": "where the branches of a network, or several networks, are active in images",
    "rankings": "whom one or two networks find in a dataset, and why",
    "regions": "how alike the features of body regions are, before and after the SD loss",
}


def main(argv: Sequence[str]) -> int:
    """Run the subcommand. Returns the exit status."""
    lines = "\n".join(f"  {name:<13}{text}" for name, text in KINDS.items())
    parser = argparse.ArgumentParser(
        prog="torchreid-magnifier show",
        description="Pictures of what networks see, find, and have learnt.",
        epilog=f"kinds:\n{lines}\n\n'torchreid-magnifier show KIND --help' tells its options",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kind", choices=KINDS, metavar="KIND")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    return _draw(given.kind, given.arguments)


def _draw(kind: str, argv: Sequence[str]) -> int:
    module = importlib.import_module(f"{__name__}.{kind}")
    parser = argparse.ArgumentParser(
        prog=f"torchreid-magnifier show {kind}", description=module.__doc__
    )
    module.add_arguments(parser)
    args = parser.parse_args(argv)
    print(f"{args.out}: {module.run(args)}")
    return 0
