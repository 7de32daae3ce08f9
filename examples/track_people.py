"""Trackers with this package's appearance: drawn people who walk behind one another.

    pip install deep-sort-realtime norfair motmetrics
    python examples/track_people.py --weights NAME|FILE

The boxes are known, as a detector would give them; of somebody who is nearly hidden there is none.
Each frame goes through ``network.embed``, and the vectors to deep-sort-realtime (``embeds=``) or to
norfair (a distance of one's own), once as they are and once all alike, which is a tracker without
appearance. IDF1 is the share of boxes that have their person's number all along, by motmetrics.
"""

import argparse
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from torchreid_magnifier import open_network
from torchreid_magnifier.inference.open import Network
from torchreid_magnifier.synthetic.scene import Shot, render

HEIGHT, WIDTH = 200, 640
PEOPLE, FRAMES = 8, 90
SEEN = 0.4  # share of a person that a detector needs
ALIKE = 0.5  # cosine distance up to which vectors may be one person's


class Frame(NamedTuple):
    """A frame, RGB, uint8 (H, W, 3), with the boxes in it and whose they are."""

    image: np.ndarray
    boxes: np.ndarray
    people: list[int]


def walk(seed: int = 0) -> Iterator[Frame]:
    """Draw people who walk to and fro; who is lower in the frame is in front."""
    chance = np.random.default_rng(seed)
    street = np.linspace(190, 120, HEIGHT)[:, None, None] + chance.normal(0, 6, (HEIGHT, WIDTH, 3))
    start, speed = chance.uniform(0, WIDTH - 64, PEOPLE), chance.uniform(3, 9, PEOPLE)
    speed *= chance.choice([-1, 1], PEOPLE)
    feet = np.sort(chance.uniform(132, HEIGHT, PEOPLE)).astype(int)
    for time in range(FRAMES):
        image = street.clip(0, 255).astype(np.uint8)
        owner = np.full((HEIGHT, WIDTH), -1)
        whole, boxes = np.zeros(PEOPLE), np.zeros((PEOPLE, 4))
        for person in range(PEOPLE):
            drawn = render(Shot(seed, 0, person, camera=0, index=time // 5))
            body = drawn.labels > 0
            turn = 2 * (WIDTH - 64)
            at = (start[person] + speed[person] * time) % turn
            left, top = int(min(at, turn - at)), feet[person] - 128
            there = slice(top, top + 128), slice(left, left + 64)
            image[there][body] = drawn.image[body]
            owner[there][body] = person
            whole[person] = body.sum()
            rows, columns = np.flatnonzero(body.any(1)), np.flatnonzero(body.any(0))
            corner = np.array([left, top, left, top])
            boxes[person] = corner + [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        seen = [p for p in range(PEOPLE) if (owner == p).sum() > SEEN * whole[p]]
        yield Frame(image, boxes[seen], seen)


def deep_sort(frames: list[Frame], vectors: list[np.ndarray]) -> list[list[int | None]]:
    """Number the boxes of each frame with deep-sort-realtime."""
    from deep_sort_realtime.deepsort_tracker import DeepSort

    tracker = DeepSort(max_age=40, n_init=1, max_cosine_distance=ALIKE, embedder=None)
    numbers: list[list[int | None]] = []
    for frame, found in zip(frames, vectors):
        given = [
            ([left, top, right - left, bottom - top], 1.0, "person")
            for left, top, right, bottom in frame.boxes
        ]
        places = list(range(len(given)))
        tracks = tracker.update_tracks(given, embeds=list(found), others=places)
        by_box = {
            t.get_det_supplementary(): int(t.track_id) for t in tracks if t.time_since_update == 0
        }
        numbers.append([by_box.get(place) for place in places])
    return numbers


def norfair(frames: list[Frame], vectors: list[np.ndarray]) -> list[list[int | None]]:
    """Number the boxes of each frame with norfair."""
    from norfair import Detection, Tracker
    from norfair.distances import iou

    def distance(detection: Any, track: Any) -> float:
        near = float(iou(detection.points.reshape(1, 4), track.estimate.reshape(1, 4))[0, 0])
        alike = 1 - float(detection.embedding @ track.last_detection.embedding)
        return near + alike

    tracker = Tracker(distance, 1 + ALIKE, hit_counter_max=40, initialization_delay=0)
    numbers: list[list[int | None]] = []
    for frame, found in zip(frames, vectors):
        detections = [
            Detection(box.reshape(2, 2), embedding=vector)
            for box, vector in zip(frame.boxes, found)
        ]
        tracks = tracker.update(detections)
        by_box = {id(track.last_detection): track.id for track in tracks}
        numbers.append([by_box.get(id(detection)) for detection in detections])
    return numbers


TRACKERS: dict[str, Callable[[list[Frame], list[np.ndarray]], list[list[int | None]]]] = {
    "deep-sort-realtime": deep_sort,
    "norfair": norfair,
}


def score(frames: list[Frame], numbers: list[list[int | None]]) -> tuple[float, int]:
    """Return IDF1, 0..1, and how often a person's number changed."""
    import motmetrics

    found = motmetrics.MOTAccumulator(auto_id=True)
    for frame, given in zip(frames, numbers):
        kept = [place for place, number in enumerate(given) if number is not None]
        distances = np.full((len(frame.people), len(kept)), np.nan)
        distances[kept, range(len(kept))] = 0  # a number belongs to a box
        found.update(frame.people, [given[place] for place in kept], distances)
    measures = motmetrics.metrics.create().compute(found, metrics=["idf1", "num_switches"])
    return float(measures["idf1"].iloc[0]), int(measures["num_switches"].iloc[0])


def compare(network: Network, seed: int = 0) -> Iterator[tuple[str, str, float, int]]:
    """Yield tracker, appearance, IDF1 and changes of numbers."""
    frames = list(walk(seed))
    seen = [network.embed(f.image, f.boxes, order="rgb").vectors for f in frames]
    blind = [np.eye(1, found.shape[1]).repeat(len(found), 0) for found in seen]
    for name, track in TRACKERS.items():
        for appearance, vectors in (("without", blind), ("with", seen)):
            yield name, appearance, *score(frames, track(frames, vectors))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True, metavar="NAME|FILE")
    parser.add_argument("--seed", type=int, default=0, help="of the people and their ways")
    args = parser.parse_args()
    print("| tracker | appearance | IDF1 | changes of numbers |\n|---|---|---|---|")
    for name, appearance, idf1, switches in compare(open_network(args.weights), args.seed):
        print(f"| {name} | {appearance} | {100 * idf1:.1f} | {switches} |")
