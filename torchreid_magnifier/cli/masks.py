"""``torchreid-magnifier masks``: the part labels that ``_masks`` datasets read."""

import argparse
import os
from collections.abc import Sequence

from .. import __version__
from ..annotate.images import Images
from ..annotate.importers import LabelFiles, import_masks
from ..annotate.importers.tables import FORMATS, format_table
from ..annotate.masks import make_masks
from ..annotate.parsers import PARSERS, choose_parser
from ..annotate.parsers.keypoints import KeypointFiles, keypoint_files
from ..annotate.parsers.rcnn import device
from ..annotate.skeletons import SKELETONS
from ..annotate.survey import survey_masks
from ..annotate.writing import doubts_of
from ..data.masks import MASKS
from ..errors import LISTED, listed
from ..parts import FOREGROUND, PARTS
from . import report
from .arguments import Action, add_batch_size, add_count, add_flag, run_action
from .image_options import add_image_options, check_sidecars, chosen_images, sheet_action

_OF_KEYPOINTS = ("names", "min_score", "skeleton", "absent_is_nobody")
_WORKERS = 8  # a process with a network takes 1 to 2 GB


def main(argv: Sequence[str]) -> int:
    """Run the subcommand. Returns the exit status: 0, or 1 if masks have problems."""
    description = (
        "Part labels (0 background, head, torso, upper_arm, lower_arm, upper_leg, lower_leg, "
        "7 foot) for the images of a dataset."
    )
    actions: dict[str, Action] = {
        "make": ("write the labels", _make_options, _make),
        "import": ("write the labels from another parser's", _import_options, _import),
        "formats": ("print the classes of other parsers, as parts", _formats_options, _formats),
        "check": ("read all labels and name their problems", _check_options, _check),
        "show": sheet_action(MASKS, "masks.png"),
    }
    return run_action("masks", description, actions, argv)


def _make_options(parser: argparse.ArgumentParser) -> None:
    add_image_options(parser)
    parser.add_argument("--parser", choices=PARSERS, default=PARSERS[0])
    _add_keypoint_options(parser, "of the parser keypoints")
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="of the parser vitpose: name on the Hugging Face Hub, or folder with its files; "
        "of rtmpose: name, .onnx, .zip or folder, or a link ending in #sha256=HASH",
    )
    parser.add_argument(
        "--weights",
        metavar="NAME|FILE",
        help="of the parser magnifiernet: a name that 'torchreid-magnifier weights list' "
        "shows, or a checkpoint of training (default: those that come with the package)",
    )
    add_flag(parser, "--person-mask", "cut to the outline that Mask R-CNN finds")
    add_batch_size(parser, default=16)
    _add_writing_options(parser)


def _make(args: argparse.Namespace) -> int:
    """Write a label map for each image that has none: the image root's folder with _ps_label added,
    the same path below it, .png. A run that was killed goes on when it is started again."""
    images = chosen_images(args)
    own = ("keypoints", "model", "weights", *_OF_KEYPOINTS)
    parser = choose_parser(args.parser, images, **{name: getattr(args, name) for name in own})
    problems = make_masks(
        images,
        parser.make,
        {
            "parser": args.parser,
            "version": __version__,
            "settings": parser.settings | {"person_mask": args.person_mask},
        },
        person_mask=args.person_mask,
        batch_size=args.batch_size,
        workers=args.workers,
        processes=(parser.is_network or args.person_mask) and device().type == "cpu",
        overwrite=args.overwrite,
    )
    return _report(images, problems)


def _import_options(parser: argparse.ArgumentParser) -> None:
    add_image_options(parser)
    what = "whose labels they are ('torchreid-magnifier masks formats' prints the tables)"
    parser.add_argument("--format", choices=FORMATS, required=True, help=what)
    what = "of the labels, with the folders below it in which the images are below their root"
    parser.add_argument("--labels", metavar="FOLDER", required=True, help=what)
    _add_keypoint_options(parser, "split clothes into limbs by them")
    _add_writing_options(parser)


def _import(args: argparse.Namespace) -> int:
    """Write label maps from those of another parser, by its table of classes. A run that was killed
    goes on when it is started again."""
    given = args.names or args.skeleton or args.absent_is_nobody or args.min_score is not None
    if given and not args.keypoints:
        args.usage_error(
            "--names, --skeleton, --absent-is-nobody and --min-score go with --keypoints"
        )
    if args.keypoints and FORMATS[args.format].fields:
        args.usage_error(f"--keypoints: the fields of {args.format} have nothing to split")
    images = chosen_images(args)
    keypoints: KeypointFiles | None = None
    if args.keypoints:
        chosen = {name: getattr(args, name) for name in _OF_KEYPOINTS}
        keypoints = keypoint_files(args.keypoints, images, **chosen)
    source = LabelFiles(args.format, args.labels, images, keypoints)
    problems = import_masks(images, source, workers=args.workers, overwrite=args.overwrite)
    return _report(images, problems)


def _formats_options(parser: argparse.ArgumentParser) -> None:
    what = f"of {', '.join(FORMATS)} (default: all)"
    parser.add_argument("formats", nargs="*", metavar="FORMAT", help=what)


def _formats(args: argparse.Namespace) -> int:
    """Print the formats that can be imported: the files' names, each class and what it becomes."""
    unknown = [name for name in args.formats if name not in FORMATS]
    if unknown:
        args.usage_error(f"unknown format {unknown[0]!r}: expected {', '.join(FORMATS)}")
    print("\n\n".join(map(format_table, args.formats or FORMATS)))
    return 0


def _check_options(parser: argparse.ArgumentParser) -> None:
    add_image_options(parser)
    what = "list the images in whose labels a part does not appear"
    names = [PARTS[part] for part in FOREGROUND]
    parser.add_argument("--without", choices=names, metavar="PART", help=what)


def _check(args: argparse.Namespace) -> int:
    """Read all images and labels, say what the labels hold, and count the problems of each kind."""
    images = chosen_images(args)
    survey = survey_masks(images.paths, images.top)
    print(f"{survey}\n")
    lines = []
    if args.without:
        paths = survey.without(PARTS.index(args.without))
        lines = [f"\nwithout {args.without}: {len(paths)}", *paths]
    return check_sidecars(args, images, MASKS, lines)


def _add_keypoint_options(parser: argparse.ArgumentParser, use: str) -> None:
    """Add ``--keypoints``, of which ``use`` says what they are for, and what belongs to it."""
    what = f"{use}: .pkl, .json, .mat, or a folder with a .json for each image"
    parser.add_argument("--keypoints", nargs="+", metavar="FILE", help=what)
    what = "which keypoints .json files have (default: as they say, or by their number)"
    parser.add_argument("--skeleton", choices=SKELETONS, help=what)
    what = "an image that no file names shows nobody, as in AlphaPose's results (default: stop)"
    add_flag(parser, "--absent-is-nobody", what)
    what = "paths of all images that the rows of .mat files belong to"
    parser.add_argument("--names", metavar="FILE", help=what)
    what = "leave out joints below it (default: as the source is)"
    parser.add_argument("--min-score", type=float, help=what)


def _add_writing_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--workers`` and ``--overwrite``."""
    what = f"work on so many batches at once (default: one for each core, {_WORKERS} at most)"
    add_count(parser, "--workers", min(os.cpu_count() or 1, _WORKERS), what)
    add_flag(parser, "--overwrite", "make existing labels anew")


def _report(images: Images, problems: Sequence[str]) -> int:
    """Print what the labels of ``images`` hold and which have none; return the exit status."""
    print(f"labels in {images.sidecar_root(MASKS)}")
    print(survey_masks(images.paths, images.top))
    if doubts := doubts_of(images, MASKS):
        lines = [f"{path}: {why}" for path, why in doubts.items()]
        print("\n" + listed("people who may not be those meant (masks show --doubtful)", lines))
    return report("images without labels", problems, LISTED)
