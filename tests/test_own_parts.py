"""The parser ``magnifiernet``: label maps that a network of this package sees, in one command."""

import json

import numpy as np
import pytest
import torch
from networks import save_run
from PIL import Image

from torchreid_magnifier.annotate.parsers import magnifiernet
from torchreid_magnifier.annotate.parsers.magnifiernet import PartsOfNetwork
from torchreid_magnifier.cli import main
from torchreid_magnifier.hub import DEFAULT, entries
from torchreid_magnifier.images import read_labels
from torchreid_magnifier.parts import BACKGROUND, NUM_PARTS, PARTS
from torchreid_magnifier.synthetic.generate import plan
from torchreid_magnifier.synthetic.scene import render


@pytest.fixture(scope="module")
def people():
    """Drawn people that no training has seen, with their exact labels."""
    shots = [e.shot for e in plan() if e.subset == "query" and not e.occluded][:12]
    return [render(shot) for shot in shots]


def test_the_default_comes_with_the_package():
    assert entries()[DEFAULT].file is not None


def mean_overlap(seen, people):
    """Mean intersection over union of the parts that people have."""
    overlap = []
    for labels, person in zip(seen, people):
        for part in range(NUM_PARTS):
            found, true = labels == part, person.labels == part
            if true.any():
                overlap.append((found & true).sum() / (found | true).sum())
    return np.mean(overlap)


def test_parts_of_drawn_people_are_seen(people):
    seen = PartsOfNetwork(DEFAULT, "cpu")([], [p.image for p in people])
    assert all(labels.shape == (128, 64) and labels.dtype == np.uint8 for labels in seen)
    assert (
        mean_overlap(seen, people) > 0.25
    )  # it learnt of real people; background alone gives 0.08


def test_what_could_be_any_part_is_background():
    likely = torch.zeros(NUM_PARTS, 2, 2)
    assert (magnifiernet._enlarged(likely, (8, 4)) == BACKGROUND).all()
    foot = PARTS.index("foot")
    likely[foot, 1] = 5.0
    assert (magnifiernet._enlarged(likely, (8, 4))[[0, -1]] == [[0] * 4, [foot] * 4]).all()


def test_each_image_has_its_own_size(people):
    images = [people[0].image, np.ascontiguousarray(people[1].image[10:, 3:])]
    found = PartsOfNetwork(DEFAULT, "cpu")([], images)
    assert [labels.shape for labels in found] == [image.shape[:2] for image in images]


def test_in_one_command_with_its_record(people, tmp_path, capsys):
    folder = tmp_path / "crops"
    folder.mkdir()
    for number, person in enumerate(people[:3]):
        Image.fromarray(person.image).save(folder / f"{number}.png")
    words = ["masks", "make", "--images", str(folder), "--parser", "magnifiernet", "--workers", "1"]
    assert main(words) == 0
    for number in range(3):
        assert read_labels(tmp_path / f"crops_ps_label/{number}.png").shape == (128, 64)
    record = json.loads((tmp_path / "crops_ps_label/masks.json").read_text())
    entry = entries()[DEFAULT]
    assert record["parser"] == "magnifiernet"
    assert record["settings"]["weights"] == entry.sha256
    assert record["settings"]["preprocessing"]["height"] == entry.height
    assert "without a person 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weights", "x"], "--weights goes with --parser magnifiernet"),
        (["--parser", "magnifiernet", "--weights", "absent"], "there are no weights 'absent'"),
    ],
)
def test_options_that_do_not_fit(tmp_path, capsys, arguments, message):
    Image.new("RGB", (8, 16)).save(tmp_path / "a.png")
    assert main(["masks", "make", "--images", str(tmp_path), *arguments]) == 2
    assert f"masks make: error: {message}" in capsys.readouterr().err


def test_a_network_without_parts_is_refused(tmp_path, capsys):
    weights = save_run(tmp_path / "run", "magnifiernet_r18_g")
    Image.new("RGB", (8, 16)).save(tmp_path / "a.png")
    words = ["masks", "make", "--images", str(tmp_path), "--parser", "magnifiernet"]
    assert main([*words, "--weights", weights]) == 2
    assert "which sees no parts: expected weights of a MagnifierNet" in capsys.readouterr().err
