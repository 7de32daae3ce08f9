"""Parsers find the people in images, or their parts: one file each.

A parser is made by ``make()`` of what :func:`choose_parser` returns, in the process that works.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np

from .. import ParsingError
from ..images import Images
from ..poses import Pose

PARSERS = ("keypointrcnn", "vitpose", "rtmpose", "magnifiernet", "keypoints")


class Parser(Protocol):
    """Finds the people in images, or their parts."""

    def __call__(
        self, paths: Sequence[str], images: Sequence[np.ndarray]
    ) -> Sequence[list[Pose] | np.ndarray]:
        """Return, for each image, its poses (none: nobody is there) or its label map.

        Args:
            paths: of the images.
            images: uint8 (H, W, 3) RGB of any size each.
        """


class Choice(NamedTuple):
    """A parser that was chosen.

    Attributes:
        make: makes it; picklable for other processes.
        settings: what makes its answers what they are, for the record beside the label maps.
        is_network: each process should have one of its own on the CPU.
    """

    make: Callable[[], Parser]
    settings: dict[str, Any]
    is_network: bool


def choose_parser(
    name: str,
    images: Images,
    *,
    keypoints: Sequence[str | os.PathLike[str]] | None = None,
    names: str | os.PathLike[str] | None = None,
    min_score: float | None = None,
    skeleton: str | None = None,
    absent_is_nobody: bool = False,
    model: str | None = None,
    weights: str | None = None,
) -> Choice:
    """Return a parser by its name.

    Args:
        name: one of ``PARSERS``.
        images: that it will parse.
        keypoints: files of the parser ``keypoints``.
        names: list of all images that the rows of ``.mat`` files belong to; of the same parser.
        min_score: joints with a lower score are unknown; each parser's default without it.
        skeleton, absent_is_nobody: of the parser ``keypoints``, see :func:`.keypoint_files`.
        model: of the parser ``vitpose``: name on the Hugging Face Hub, or folder; of ``rtmpose``:
            see :func:`.rtmpose.find_model`.
        weights: of the parser ``magnifiernet``: a name in a manifest, or a checkpoint of training
            beside its configuration; the shipped ones without it.

    Raises:
        ParsingError: options that do not go together, keypoint files that cannot be read or lack an
            image, a library that is not installed, or weights of a network without parts.
        WeightsError, CheckpointError: weights that cannot be had or read.
    """
    if name not in PARSERS:
        raise ParsingError(f"unknown parser {name!r}: expected {', '.join(PARSERS)}")
    if (name == "keypoints") != bool(keypoints):
        raise ParsingError("--parser keypoints and --keypoints FILE ... go together")
    if (names or skeleton or absent_is_nobody) and not keypoints:
        raise ParsingError("--names, --skeleton and --absent-is-nobody go with --keypoints")
    if model and name not in ("vitpose", "rtmpose"):
        raise ParsingError("--model goes with --parser vitpose or rtmpose")
    if weights and name != "magnifiernet":
        raise ParsingError("--weights goes with --parser magnifiernet")
    if keypoints:
        from .keypoints import keypoint_files

        files = keypoint_files(keypoints, images, names, min_score, skeleton, absent_is_nobody)
        return Choice(partial(_given, files), files.settings, is_network=False)
    if name == "vitpose":
        from . import vitpose

        score = vitpose.MIN_SCORE if min_score is None else min_score
        model = model or vitpose.MODEL
        make: Callable[[], Parser] = partial(vitpose.VitPose, model, score)
        return Choice(make, vitpose.settings(model, score), is_network=True)
    if name == "rtmpose":
        from . import rtmpose

        score = rtmpose.MIN_SCORE if min_score is None else min_score
        model = model or rtmpose.MODEL
        file = rtmpose.find_model(model)
        make = partial(rtmpose.RTMPose, file, score)
        return Choice(make, rtmpose.settings(model, file, score), is_network=True)
    from . import rcnn

    if name == "magnifiernet":
        from . import magnifiernet

        settings = magnifiernet.settings(magnifiernet.open_parts(weights))
        make = partial(magnifiernet.PartsOfNetwork, weights, rcnn.device())
        return Choice(make, settings, is_network=True)
    score = rcnn.MIN_SCORE if min_score is None else min_score
    return Choice(partial(rcnn.KeypointRCNN, score), rcnn.settings(score), is_network=True)


def _given(parser: Parser) -> Parser:  # unlike a lambda, it can be sent to another process
    return parser
