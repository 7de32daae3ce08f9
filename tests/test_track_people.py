"""The example of trackers: drawn people who walk behind one another, by three trackers."""

import numpy as np
import programs
import pytest
import torch
from torchreid import models as torchreid_models

from torchreid_magnifier.hub.card import Card
from torchreid_magnifier.inference.open import Network

for module in ("motmetrics", "trackeval"):
    pytest.importorskip(module)


@pytest.fixture(scope="module")
def example():
    module = programs.load("examples/track_people.py")
    module.FRAMES = 40
    return module


@pytest.fixture(scope="module")
def frames(example):
    return list(example.walk())


def test_people_are_hidden_by_those_before_them(example, frames):
    assert len(frames) == 40 and all(frame.image.shape == (200, 640, 3) for frame in frames)
    assert sum(len(frame.people) for frame in frames) < 40 * example.PEOPLE
    for frame in frames:
        assert len(frame.boxes) == len(frame.people) == len(set(frame.people))
        assert (frame.boxes[:, :2] < frame.boxes[:, 2:]).all() and frame.boxes.min() >= 0


def test_the_score_knows_a_perfect_and_a_broken_tracker(example, frames):
    assert example.score(frames, [list(frame.people) for frame in frames]) == (1.0, 1.0, 0)
    # Everybody has another number from the middle on: half of the boxes of each are right.
    cut = [[p + 100 * (i >= 20) for p in frame.people] for i, frame in enumerate(frames)]
    found = example.score(frames, cut)
    assert 0.4 < found.idf1 < 0.7 and found.switches >= example.PEOPLE - 1
    # Of a person with a boxes before and b after it, AssA is (a² + b²) / (a + b)²; DetA is 1.
    times = {p: [i for i, f in enumerate(frames) if p in f.people] for p in range(example.PEOPLE)}
    squares = [
        sum(i < 20 for i in own) ** 2 + sum(i >= 20 for i in own) ** 2 for own in times.values()
    ]
    boxes = [len(own) for own in times.values()]
    kept = sum(square / count for square, count in zip(squares, boxes) if count) / sum(boxes)
    assert found.hota == pytest.approx(kept**0.5)
    known = [np.eye(example.PEOPLE)[frame.people] for frame in frames]
    assert example.score(frames, example.joined(cut, known)) == (1.0, 1.0, 0)


@pytest.mark.parametrize(
    "name, module",
    [
        ("deep-sort-realtime", "deep_sort_realtime"),
        ("norfair", "norfair"),
        ("trackers, SORT", "trackers"),
    ],
)
def test_appearance_keeps_numbers(example, frames, name, module):
    pytest.importorskip(module)
    track = example.TRACKERS[name]
    known = [np.eye(example.PEOPLE)[frame.people] for frame in frames]
    alike = [np.eye(1, example.PEOPLE).repeat(len(frame.people), 0) for frame in frames]
    best, blind = (example.score(frames, track(frames, v)) for v in (known, alike))
    assert best.idf1 > 0.9 and best.idf1 > blind.idf1 and best.hota > blind.hota
    assert best.switches < blind.switches


def test_a_network_goes_with_the_trackers(example):
    for module in ("deep_sort_realtime", "norfair", "trackers"):
        pytest.importorskip(module)
    torch.manual_seed(0)
    model = torchreid_models.build_model("magnifiernet_r18_g", 3, loss="triplet", pretrained=False)
    network = Network(model.eval(), Card("made", "magnifiernet_r18_g", 64, 32))
    example.FRAMES = 6
    rows = list(example.compare(network))
    assert [row[:2] for row in rows] == [
        (tracker, appearance) for tracker in example.TRACKERS for appearance in ("without", "with")
    ]
    assert all(0 <= s.idf1 <= 1 and 0 <= s.hota <= 1 and s.switches >= 0 for *_, s in rows)
