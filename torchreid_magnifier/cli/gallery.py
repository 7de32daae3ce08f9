"""``torchreid-magnifier gallery``: people enrolled in a gallery, and removed from it."""

import argparse
from collections.abc import Sequence
from contextlib import closing

from ..errors import LISTED
from ..inference.enrol import enrolled
from ..inference.errors import RetrievalError
from ..inference.gallery import open_gallery
from ..training.config import ConfigError
from . import report
from .arguments import Action, add_path, run_action
from .network_options import add_network_options, chosen_network

_GALLERY = (
    "a file .npz or .parquet; a folder .db of an embedded Milvus; or http://host:19530 of a server"
)


def main(argv: Sequence[str]) -> int:
    """Run the subcommand. Returns the exit status: 0, or 1 if pictures could not be used."""
    description = (
        "Enrol people in a gallery that 'torchreid-magnifier search' asks, and remove them."
    )
    actions: dict[str, Action] = {
        "add": ("enrol people", _add_options, _add),
        "remove": ("remove a person for good", _remove_options, _remove),
    }
    return run_action("gallery", description, actions, argv)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("gallery", metavar="GALLERY", help=f"{_GALLERY}; a new one is made")
    what = "pictures as for extract, or its file"
    parser.add_argument("sources", nargs="*", metavar="SOURCE", help=what)
    what = "in place of SOURCE: FOLDER/<person>/[<camera>/]image"
    add_path(parser, "--people", what, "FOLDER")
    what = "says of SOURCE: path, and person, camera, time (also frame, track)"
    add_path(parser, "--table", what, "CSV")
    add_network_options(parser)


def _add(args: argparse.Namespace) -> int:
    """Enrol pictures or a file of embeddings. The same ones again change nothing."""
    if bool(args.sources) == bool(args.people) or (args.people and args.table):
        raise ConfigError("give SOURCE, or SOURCE with --table, or --people alone")
    found, problems = enrolled(args.sources, args.people, args.table, lambda: chosen_network(args))
    with closing(open_gallery(args.gallery, found.card)) as gallery:
        more = gallery.add(found)
        print(f"{args.gallery}: {more} new of {len(found)}, {len(gallery)} in all")
    return report("pictures that could not be used", problems, LISTED)


def _remove_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("gallery", metavar="GALLERY", help=_GALLERY)
    parser.add_argument("person", metavar="PERSON")


def _remove(args: argparse.Namespace) -> int:
    """Remove a person for good: neither vectors nor names stay in the gallery's files."""
    with closing(open_gallery(args.gallery)) as gallery:
        if not (count := gallery.remove(args.person)):
            raise RetrievalError(f"{args.gallery} has nobody called {args.person}")
    print(f"{args.gallery}: {count} embeddings of {args.person} removed")
    return 0
