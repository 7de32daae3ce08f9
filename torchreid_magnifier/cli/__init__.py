"""The ``torchreid-magnifier`` command: one module of this folder for each subcommand.

A subcommand's module has ``main(argv) -> int`` (the exit status) and is imported only when it is
asked for. What it raises is caught here, for all of them.
"""

import argparse
import importlib
import io
import sys
from collections.abc import Sequence

from ..distributed.launch import launched, leave_last, printing_once
from ..distributed.processes import FailedElsewhere
from ..errors import MagnifierError, listed

COMMANDS = {
    "train": "train and test from the YAML files of torchreid's main.py, one stage or several",
    "evaluate": "measure a trained network on a dataset: rank-1, 5, 10, mAP, mINP",
    "ablate": "train and compare the variants of the paper's ablations, over several seeds",
    "masks": "make, import, check and show the part labels that training with masks reads",
    "textures": "make, check and show the textures that training SAN reads",
    "weights": "list, download, verify and pack trained weights",
    "show": "draw what networks see, find and have learnt: parts, activations, rankings, regions",
    "export": "write a trained network as ONNX or a torch.export program, for other programs",
    "extract": "embeddings of images and videos into one file, to search in or to go on with",
    "search": "the pictures of such a file that are nearest to queries",
    "gallery": "enrol people in a gallery that grows, in a file or in Milvus, and remove them",
    "calibrate": "from which similarity on two images are taken for the same person's",
    "group": "who is who in a folder of pictures of people whom nobody has named",
    "app": "a page in the browser: drop a picture, see parts, activations, the nearest, who it is",
    "convert": "rewrite a checkpoint of MagnifierNet's or SAN's reference for this package",
    "demo": "on generated pedestrians: train, test, compare and draw, in a few minutes",
}

SHARED = ("train", "evaluate", "extract")  # what several processes of a launcher may do together
WITH_ACTIONS = ("masks", "textures", "weights", "show", "gallery")  # whose first argument names one

FAILED = 1  # when something went wrong on the way
USAGE_ERROR = 2  # after a mistake in what was given
INTERRUPTED = 130  # what shells report for a command that Ctrl-C ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv`` (the process's own arguments if None).

    Returns:
        The exit status: the subcommand's; of a ``MagnifierError``, 2 after a mistake in what was
        given; 1 after an ``OSError``, or if another process failed; 130 after Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # its code page may lack a letter of a path
            stream.reconfigure(errors="backslashreplace")
    lines = "\n".join(f"  {name:<10}{text}" for name, text in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="torchreid-magnifier",
        description="MagnifierNet and SAN for torchreid, trained and tested by its own engine.",
        epilog=f"commands:\n{lines}\n\n'torchreid-magnifier COMMAND --help' says its options",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    argv = sys.argv[1:] if argv is None else argv
    if not argv:
        parser.print_help()
        return USAGE_ERROR
    args = parser.parse_args(argv)
    if args.command not in SHARED and launched():
        with printing_once():
            parser.exit(
                USAGE_ERROR,
                f"torchreid-magnifier {args.command}: error: a launcher started several processes, "
                f"and only {', '.join(SHARED)} share their work out: run this without one\n",
            )
    try:
        return importlib.import_module(f"{__name__}.{args.command}").main(args.arguments)
    except KeyboardInterrupt:
        with printing_once():
            print(f"\ntorchreid-magnifier {args.command}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except FailedElsewhere:  # and printed there
        leave_last()
        return FAILED
    except (MagnifierError, OSError) as error:
        words = [args.command]
        if args.command in WITH_ACTIONS:
            words += args.arguments[:1]
        text = str(error)
        if "\nOriginal Traceback " in text:  # of a loader's worker, wrapped by torch
            text = text.rstrip().rsplit(f"{type(error).__name__}: ", 1)[-1]
        print(f"torchreid-magnifier {' '.join(words)}: error: {text}", file=sys.stderr)
        return error.exit_status if isinstance(error, MagnifierError) else FAILED


def report(what: str, lines: Sequence[object], most: int = sys.maxsize) -> int:
    """Print how many problems there are, if any, and at most so many; return the exit status."""
    if lines:
        print(listed(what, lines, most), file=sys.stderr)
    return FAILED if lines else 0
