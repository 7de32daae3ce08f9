"""Draw images beside the body parts that a network predicts, and the true ones where they lie."""

import argparse

import numpy as np

from ...data.masks import MaskError, find_mask, read_mask
from ...figures import LabelledImage, MaskExample, contact_sheet, masks_figure, save
from ...inference.explain.needs import parts, require_parts
from ...inference.explain.pictures import read_image
from ..arguments import check_picture
from ..network_options import add_network_options, chosen_network
from .options import add_images, add_out, chosen_images, image_name, inspected, short_name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``show masks``."""
    add_images(parser, 24)
    add_network_options(parser)
    add_out(parser, "masks.png")


def run(args: argparse.Namespace) -> str:
    """Draw, save, and tell what was drawn."""
    check_picture(args.out)
    paths = chosen_images(args)
    network = chosen_network(args)
    require_parts(network)
    predicted = [labels.numpy() for labels in parts(inspected(network, paths, args))]
    examples = [
        MaskExample(read_image(path), _true_labels(path), labels, image_name(path))
        for path, labels in zip(paths, predicted, strict=True)
    ]
    size, cell = network.preprocessing, network.preprocessing.height // len(predicted[0])
    title = (
        f"Body parts that {network.name} predicts\n{short_name(args.weights)}: a label for each "
        f"{cell} x {cell} pixels of an image at {size.height} x {size.width}."
    )
    lacking = sum(isinstance(example.labels, str) for example in examples)
    if lacking < len(examples):
        save(masks_figure(examples, title), args.out)
    else:
        sheet = [LabelledImage(e.image, e.predicted, e.caption) for e in examples]
        save(contact_sheet(sheet, title), args.out)
    return f"images: {len(examples)}, of these with true labels: {len(examples) - lacking}"


def _true_labels(path: str) -> np.ndarray | str:
    mask = find_mask(path)
    try:
        return "no labels" if mask is None else read_mask(mask)
    except MaskError:
        return "faulty\nlabels"
