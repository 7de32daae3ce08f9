"""Figures of what networks see and find, as ``torchreid-magnifier show`` and ``search`` save them.

Each function but the last returns the figure and a line of what is in it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ... import figures
from ...data.masks import find_mask
from ...figures import HeatBar, Hit, PictureRow, RankingExample
from ...hub import Card
from ...images import ImageError, read_image, read_labels
from ...models.base import Embedding
from ...parts import BACKGROUND, PARTS
from ..decide import Calibration, Pairs, percent
from ..embeddings import Embeddings
from ..open import Network
from ..search import SCORES, Ranking, hits
from ..sources import Place, read_places
from .maps import (
    JOINT,
    branch_maps,
    inspect_images,
    region_activation_maps,
    region_similarity,
    require,
)
from .rankings import EvaluationSet, SeenSet, draw_queries, region_standings, see_evaluation_set

_LETTERS = 26  # of a file's name
_OF_EACH = 8  # pictures of a person in groups
_BRANCHES = {"global": "G", "adversarial": "SAB", "fusion": "SFB"}  # as the paper abbreviates them
WHY = {
    "regions": HeatBar(
        "share of the gallery whose part resembles the query's less", ("50 % or less", "100 %")
    ),
    "activations": HeatBar("activation, each map on its own scale"),
    "none": None,
}


def parts_sheet(
    network: Network, name: str, paths: Sequence[str], batch_size: int = 32
) -> tuple[Figure, str]:
    """Draw images beside the body parts that a network predicts, and the true ones where they lie.

    Raises:
        ExplainError: the network predicts no parts; ImageError: an image cannot be read.
    """
    require(network, "parts")
    predicted = list(_parts(inspect_images(network, paths, batch_size)))
    size, cell = network.preprocessing, network.preprocessing.height // len(predicted[0])
    title = (
        f"Body parts that {network.card.model} predicts\n{name}: a label for each "
        f"{cell} x {cell} pixels of an image at {size.height} x {size.width}."
    )
    images = [read_image(path) for path in paths]
    names = [_name(path) for path in paths]
    true = [_true_labels(path) for path in paths]
    lacking = sum(isinstance(labels, str) for labels in true)
    shown: list[tuple[np.ndarray | str, ...]] = list(zip(images, predicted))
    heads: list[str] = []
    if lacking < len(paths):
        shown, heads = list(zip(images, true, predicted)), ["image", "true parts", "predicted"]
    figure = figures.masks_figure(list(map(PictureRow, shown, names)), title, heads)
    return figure, f"images: {len(paths)}, of these with true labels: {len(paths) - lacking}"


def activations_sheet(
    networks: Mapping[str, Network],
    paths: Sequence[str],
    regions: bool = False,
    batch_size: int = 32,
) -> tuple[Figure, str]:
    """Draw where a network is active in images: each branch, and all together, as Fig. 2.

    Args:
        networks: one by its name; or several, of which all branches together are drawn.
        paths: of the images.
        regions: of one network, draw within each body region instead of each branch.
        batch_size: images at once.

    Raises:
        ExplainError: the network has no features of regions; ImageError: an image cannot be read.
    """
    name, network = next(iter(networks.items()))
    bar = WHY["activations"]
    if regions:
        require(network, "regions")
        seen = inspect_images(network, paths, batch_size)
        found = torch.cat([region_activation_maps(batch) for batch in seen])
        maps = {part.replace("_", " "): found[:, number] for number, part in enumerate(PARTS)}
        title = f"Where the network is active within each region\n{name}"
        bar = HeatBar("activation: one scale for the body of an image, one for its background")
    elif len(networks) == 1:
        maps = _branch_maps(network, paths, batch_size)
        if len(maps) == 2:
            del maps[JOINT]  # there is one branch only
        title = f"Where the branches are active\n{name}"
    else:
        maps = {
            one: _branch_maps(network, paths, batch_size)[JOINT]
            for one, network in networks.items()
        }
        title = "Where the networks are active\nAll branches of each network together."
    rows = []
    for index, path in enumerate(paths):
        image = read_image(path)
        heats = [figures.heat_overlay(image, found[index].numpy()) for found in maps.values()]
        rows.append(PictureRow([image, *heats], _name(path)))
    assert bar is not None
    return figures.heat_figure(rows, ["image", *maps], title, bar), f"images: {len(paths)}"


def rankings_sheet(
    networks: Mapping[str, Network],
    dataset: str,
    images: EvaluationSet,
    *,
    named: Sequence[int] = (),
    count: int = 5,
    differing: bool = False,
    seed: int = 1,
    top: int | None = None,
    why: str | None = None,
    batch_size: int = 32,
) -> tuple[Figure, str]:
    """Draw what one or two networks find for queries of a dataset, as Fig. 3, and why.

    Args:
        networks: by their names.
        dataset: its name.
        images: of the dataset.
        named: these queries; if there are none, some are drawn.
        count, differing, seed: see ``draw_queries``.
        top: images found to show; 10 if it is None, of two networks 5 each.
        why: one of ``WHY``, below each image; ``regions``, if the networks have them, if it is
            None.
        batch_size: images at once.

    Raises:
        ExplainError: as ``draw_queries``; a network has no features of regions.
    """
    with_regions = all(network.model.has_regions for network in networks.values())
    why = why or ("regions" if with_regions else "activations")
    if why == "regions":
        for network in networks.values():
            require(network, "regions")
    seen = {}
    for name, network in networks.items():
        answers = inspect_images(network, images.paths, batch_size)
        seen[name] = see_evaluation_set(images, answers, with_regions=why == "regions")
    queries, how = list(named), ""
    if not queries:
        queries, how = draw_queries(images, list(seen.values()), count, seed, differing)
    measures = {
        name: "rank-1 {:.1f} %, mAP {:.1f} %".format(*(100 * v for v in s.search.rank1_and_map()))
        for name, s in seen.items()
    }
    top = top or (10 if len(networks) == 1 else 5)
    examples = []
    for query in queries:
        path = images.query[query].path
        found = {
            f"{name}\n{measures[name]}": list(_hits(networks[name], one, query, top, why))
            for name, one in seen.items()
        }
        examples.append(RankingExample(read_image(path), found, _name(path)))
    title = (
        f"What {'the networks find' if len(seen) > 1 else 'the network finds'} in {dataset}\n"
        f"{how}Nearest gallery images from left to right, with their cosine similarities."
    )
    line = "; ".join(f"{name}: {measure}" for name, measure in measures.items())
    figure = figures.rankings_figure(examples, title, WHY[why])
    return figure, f"queries: {len(examples)} of {len(images.query)}; {line}"


def regions_sheet(
    networks: Mapping[str, Network], dataset: str, paths: Sequence[str], batch_size: int = 32
) -> tuple[Figure, str]:
    """Draw how alike the features of two body regions are, as the mean over images.

    Raises:
        ExplainError: a network has no features of regions; ImageError: an image cannot be read.
    """
    for network in networks.values():
        require(network, "regions")
    drawn, means = {}, []
    for name, network in networks.items():
        seen = inspect_images(network, paths, batch_size)
        found = region_similarity(_given(batch.regions) for batch in seen)
        text = f"mean of all pairs (SD loss) {found.loss:.4f}"
        drawn[name] = figures.Similarity(found.matrix.numpy(), text)
        means.append(f"{name} {found.loss:.4f}")
    title = (
        "How alike the features of two body regions are\n"
        f"Mean cosine similarity over the {len(paths)} test images of {dataset}."
    )
    line = f"images: {len(paths)}; mean of all pairs (SD loss): {', '.join(means)}"
    return figures.similarity_figure(drawn, title), line


def search_sheet(
    queries: Embeddings, gallery: Embeddings, found: Ranking, metric: str, name: str, most: int
) -> tuple[Figure, str, list[Place]]:
    """Draw the hits of the first queries.

    Args:
        queries, gallery, found, metric: of ``search``.
        name: of the gallery.
        most: queries, at most.

    Returns:
        The figure, a line, and the pictures that cannot be read, which are drawn as grey.
    """
    count = min(len(queries), most)
    rankings = [list(hits(gallery, found, number)) for number in range(count)]
    asked = [queries.place(number) for number in range(count)]
    places = [*asked, *(hit.place for ranking in rankings for hit in ranking)]
    pixels, missing = _read(places, gallery.card)
    examples = []
    for query, ranking in zip(asked, rankings):
        near = [Hit(pixels[hit.place], None, f"{hit.score:.3f}") for hit in ranking]
        examples.append(
            RankingExample(pixels[query], {"nearest in the gallery": near}, _name(query.path))
        )
    title = f"{name}: {len(gallery)} pictures\n"
    title += f"Nearest from left to right, with their {metric} {SCORES[metric]}."
    figure = figures.rankings_figure(examples, title)
    return figure, f"{count} of {len(queries)} queries", missing


def groups_sheet(pictures: Embeddings, found: np.ndarray, most: int) -> tuple[Figure, list[Place]]:
    """Draw the people of ``group``, those with the most pictures first.

    Args:
        pictures, found: of ``group``.
        most: people, at most.

    Returns:
        The figure, and the pictures that cannot be read, which are drawn as grey.
    """
    sizes = np.bincount(found)
    shown = np.argsort(-sizes, kind="stable")[:most]
    places = {
        person: [pictures.place(row) for row in np.flatnonzero(found == person)[:_OF_EACH]]
        for person in shown.tolist()
    }
    pixels, missing = _read([at for some in places.values() for at in some], pictures.card)
    rows = [
        PictureRow([pixels[at] for at in some], f"person {person + 1}: {sizes[person]} pictures")
        for person, some in places.items()
    ]
    title = f"Who is who\n{len(pictures)} pictures, {len(sizes)} people; the {len(rows)} seen most."
    return figures.pictures_figure(rows, title), missing


def _read(places: Iterable[Place], card: Card) -> tuple[dict[Place, np.ndarray], list[Place]]:
    """Pictures, RGB, and those that cannot be read, which are grey."""
    images = read_places(places)
    grey = np.full((card.height, card.width, 3), 230, np.uint8)
    pixels = {at: grey if image is None else np.asarray(image) for at, image in images.items()}
    return pixels, [place for place, image in images.items() if image is None]


def calibration_sheet(found: Calibration, pairs: Pairs) -> Figure:
    """Draw the scores that a calibration was made of, with its thresholds."""
    lines = {percent(threshold.rate): threshold.value for threshold in found.thresholds}
    title = (
        f"The same person? {found.made.model}\n{found.source}: {found.people} people, "
        f"{found.images} images; thresholds by their rate of false matches."
    )
    return figures.calibration_figure(pairs.same, pairs.other, lines, title)


def _name(path: str) -> str:
    """The end of a file's name, as much as has room above or below a picture."""
    name = Path(path).stem
    return name if len(name) <= _LETTERS else "…" + name[1 - _LETTERS :]


def _true_labels(path: str) -> np.ndarray | str:
    mask = find_mask(path)
    try:
        return "no labels" if mask is None else read_labels(mask)
    except ImageError:
        return "broken\nlabels"


def _given(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    return tensor


def _parts(seen: Iterator[Embedding]) -> Iterator[np.ndarray]:
    """The predicted labels of image after image, ``(h, w)``."""
    for batch in seen:
        yield from _given(batch.part_labels).numpy()


def _branch_maps(network: Network, paths: Sequence[str], batch_size: int) -> dict[str, Tensor]:
    """The maps of all images, ``(N, h, w)``, by the abbreviation of each branch."""
    batches = [branch_maps(seen) for seen in inspect_images(network, paths, batch_size)]
    return {
        _BRANCHES.get(branch, branch): torch.cat([maps[branch] for maps in batches])
        for branch in batches[0]
    }


def _hits(network: Network, seen: SeenSet, query: int, top: int, why: str) -> Iterator[Hit]:
    """The nearest gallery images of a query, and why they are that."""
    ranking = seen.search.ranking(query)
    paths = [seen.search.images.gallery[found].path for found in ranking[:top]]
    images = [read_image(path) for path in paths]
    whys: list[np.ndarray | None] = [None] * len(paths)
    if why == "regions":
        gallery = _given(seen.gallery_regions)[torch.from_numpy(ranking)]
        standings = region_standings(_given(seen.query_regions)[query], gallery).numpy()
        standings[:, BACKGROUND] = np.nan  # compared by the network too, but nobody's part
        heats = (2 * standings[:top] - 1).clip(0)  # half of the gallery: what chance gives
        labels = _parts(inspect_images(network, paths))
        whys = list(map(figures.parts_heat_overlay, images, labels, heats))
    elif why == "activations":
        maps = _branch_maps(network, paths, 32)[JOINT].numpy()
        whys = list(map(figures.heat_overlay, images, maps))
    for found, image, reason in zip(ranking, images, whys):
        similarity = 1 - seen.search.distances[query, found]
        yield Hit(image, seen.search.is_right(query, found), f"{similarity:.2f}", reason)
