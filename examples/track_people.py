"""Trackers with this package's appearance: drawn people who walk behind one another.

    pip install deep-sort-realtime norfair trackers motmetrics
    pip install --no-deps trackeval && pip install pycocotools tabulate
    python examples/track_people.py [--weights NAME|FILE]

(trackeval asks for opencv-python, which would overwrite opencv-python-headless.)

The boxes are known, as a detector would give them; of somebody who is nearly hidden there is none.
Each frame goes through ``network.embed``, and the vectors to deep-sort-realtime (``embeds=``) or to
norfair (a distance of one's own), once as they are and once all alike, which is a tracker without
appearance. The SORT of ``trackers`` takes no vectors: pieces of tracks that are one person's, by
the mean of their vectors, are joined after it.

IDF1 is the share of boxes that have their person's number all along, by motmetrics; HOTA, by
trackeval, the geometric mean of how well boxes are kept and how well numbers are.
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


def sort(frames: list[Frame], vectors: list[np.ndarray]) -> list[list[int | None]]:
    """Number the boxes of each frame with the SORT of trackers; join what appearance says."""
    from supervision import Detections
    from trackers import SORTTracker

    tracker = SORTTracker(lost_track_buffer=40, minimum_consecutive_frames=1)
    numbers: list[list[int | None]] = []
    for frame in frames:
        places = np.arange(len(frame.boxes))
        scores = np.ones(len(places))
        found = tracker.update(
            Detections(xyxy=frame.boxes, confidence=scores, data={"place": places})
        )
        by_box = dict(zip(found.data["place"].tolist(), found.tracker_id.tolist()))
        given = [by_box.get(place, -1) for place in places.tolist()]
        numbers.append([None if number < 0 else number for number in given])
    return joined(numbers, vectors)


def joined(numbers: list[list[int | None]], vectors: list[np.ndarray]) -> list[list[int | None]]:
    """Give one number to tracks whose mean vectors are alike, and which share no frame."""
    sums: dict[int, np.ndarray] = {}
    times: dict[int, set[int]] = {}
    for time, (given, found) in enumerate(zip(numbers, vectors)):
        for number, vector in zip(given, found):
            if number is not None:
                sums[number] = sums.get(number, 0) + vector
                times.setdefault(number, set()).add(time)
    now = {number: number for number in sums}
    if np.ptp(np.concatenate(vectors), axis=0).max() == 0:
        return numbers  # vectors that are all alike say nothing
    while len(sums) > 1:
        known = list(sums)
        means = np.stack([sums[number] / np.linalg.norm(sums[number]) for number in known])
        apart = 1 - means @ means.T
        for i, one in enumerate(known):
            apart[i, [j for j, two in enumerate(known) if i == j or times[one] & times[two]]] = 2
        first, second = np.unravel_index(apart.argmin(), apart.shape)
        if apart[first, second] > ALIKE:
            break
        one, two = known[first], known[second]
        sums[one], times[one] = sums[one] + sums.pop(two), times[one] | times.pop(two)
        now = {number: one if to == two else to for number, to in now.items()}
    return [[None if number is None else now[number] for number in given] for given in numbers]


TRACKERS: dict[str, Callable[[list[Frame], list[np.ndarray]], list[list[int | None]]]] = {
    "deep-sort-realtime": deep_sort,
    "norfair": norfair,
    "trackers, SORT": sort,
}


class Score(NamedTuple):
    """IDF1 and HOTA, 0..1, and how often a person's number changed."""

    idf1: float
    hota: float
    switches: int


def score(frames: list[Frame], numbers: list[list[int | None]]) -> Score:
    """Return how well numbers are people's."""
    import motmetrics

    found = motmetrics.MOTAccumulator(auto_id=True)
    for frame, given in zip(frames, numbers):
        kept = [place for place, number in enumerate(given) if number is not None]
        distances = np.full((len(frame.people), len(kept)), np.nan)
        distances[kept, range(len(kept))] = 0  # a number belongs to a box
        found.update(frame.people, [given[place] for place in kept], distances)
    measures = motmetrics.metrics.create().compute(found, metrics=["idf1", "num_switches"])
    idf1, switches = float(measures["idf1"].iloc[0]), int(measures["num_switches"].iloc[0])
    return Score(idf1, hota(frames, numbers), switches)


def hota(frames: list[Frame], numbers: list[list[int | None]]) -> float:
    """Return HOTA, the mean over its thresholds: a box is right as a whole or not at all."""
    from trackeval.metrics import HOTA

    known = {n: i for i, n in enumerate({n for given in numbers for n in given if n is not None})}
    people = {p: i for i, p in enumerate({p for frame in frames for p in frame.people})}
    kept = [[p for p, number in enumerate(given) if number is not None] for given in numbers]
    data = {
        "gt_ids": [np.array([people[p] for p in frame.people], int) for frame in frames],
        "tracker_ids": [
            np.array([known[given[place]] for place in places], int)  # type: ignore[index]
            for given, places in zip(numbers, kept)
        ],
        "similarity_scores": [
            np.eye(len(given))[:, places] for given, places in zip(numbers, kept)
        ],
        "num_gt_dets": sum(len(frame.people) for frame in frames),
        "num_tracker_dets": sum(map(len, kept)),
        "num_gt_ids": len(people),
        "num_tracker_ids": len(known),
    }
    return float(np.mean(HOTA().eval_sequence(data)["HOTA"]))


def compare(network: Network, seed: int = 0) -> Iterator[tuple[str, str, Score]]:
    """Yield tracker, appearance, and how well it did."""
    frames = list(walk(seed))
    seen = [network.embed(f.image, f.boxes, order="rgb").vectors for f in frames]
    blind = [np.eye(1, found.shape[1]).repeat(len(found), 0) for found in seen]
    for name, track in TRACKERS.items():
        for appearance, vectors in (("without", blind), ("with", seen)):
            yield name, appearance, score(frames, track(frames, vectors))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", metavar="NAME|FILE", help="default: those that ship")
    parser.add_argument("--seeds", type=int, default=1, help="sequences, of other people and ways")
    args = parser.parse_args()
    network = open_network(args.weights) if args.weights else open_network()
    found: dict[tuple[str, str], list[Score]] = {}
    for seed in range(args.seeds):
        for name, appearance, one in compare(network, seed):
            found.setdefault((name, appearance), []).append(one)
    print("| tracker | appearance | IDF1 | HOTA | changes of numbers |\n|---|---|---|---|---|")
    for (name, appearance), scores in found.items():
        idf1, kept, switches = np.mean(scores, axis=0)
        print(f"| {name} | {appearance} | {100 * idf1:.1f} | {100 * kept:.1f} | {switches:.1f} |")
