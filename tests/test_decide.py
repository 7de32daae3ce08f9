"""The same person or not: thresholds against plain loops, answers, and mistakes."""

import dataclasses
import itertools
import json
import os
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from networks import save_run
from PIL import Image

from torchreid_magnifier.cli import main
from torchreid_magnifier.hub import Card
from torchreid_magnifier.inference import decide as deciding
from torchreid_magnifier.inference.decide import (
    Calibration,
    CalibrationWarning,
    Pairs,
    calibrate,
    decide,
    read_labelled_folder,
    score_pairs,
)
from torchreid_magnifier.inference.embeddings import Embeddings
from torchreid_magnifier.inference.errors import RetrievalError

CARD = Card(
    *("people", "magnifiernet_r18", 64, 32, (0.5, 0.25, 0.1), (0.5, 0.25, 0.125)), sha256="0" * 64
)


def seen(people, per_camera=2, cameras=3, noise=0.7, seed=0, size=32, shift=0.0):
    """Images of people, each around a direction of its own; ``shift``: of all cameras alike."""
    generator = np.random.default_rng(seed)
    pids = np.repeat(np.arange(people), per_camera * cameras)
    camids = np.tile(np.repeat(np.arange(cameras), per_camera), people)
    centres = generator.normal(size=(people, size))
    vectors = centres[pids] + noise * generator.normal(size=(len(pids), size)) + shift
    paths = np.array([f"{row}.jpg" for row in range(len(pids))])
    frames = np.full(len(pids), -1, np.int32)
    embeddings = Embeddings(paths, frames, vectors.astype(np.float32), None, CARD)
    return embeddings, pids, camids


def rows_of(embeddings, rows):
    cut = {name: column[rows] for name, column in embeddings.columns()}
    return Embeddings.from_columns(cut, embeddings.card)


@pytest.fixture(scope="module")
def people():
    return seen(60, noise=1.0)


@pytest.fixture(scope="module")
def pairs(people):
    return score_pairs(*people)


@pytest.fixture(scope="module")
def calibration(pairs):
    pytest.importorskip("sklearn")
    return calibrate(pairs, CARD, "made people")


# ------------------------------------------------------------------ pairs


@pytest.mark.parametrize("same_camera", [False, True])
def test_pairs_are_those_of_plain_loops(same_camera):
    embeddings, pids, camids = seen(5)
    found = score_pairs(embeddings, pids, camids, same_camera=same_camera)
    unit = embeddings.vectors / np.linalg.norm(embeddings.vectors, axis=1, keepdims=True)
    same, other = [], []
    for i, j in itertools.combinations(range(len(pids)), 2):
        if same_camera or camids[i] != camids[j]:
            (same if pids[i] == pids[j] else other).append(float(unit[i] @ unit[j]))
    np.testing.assert_allclose(np.sort(found.same), np.sort(same), atol=1e-6)
    np.testing.assert_allclose(np.sort(found.other), np.sort(other), atol=1e-6)
    assert (found.people, found.images, found.cameras) == (5, 30, 3)


def test_of_many_pairs_some_are_drawn(people, pairs):
    few = score_pairs(*people, most=400)
    assert len(few.same) == len(few.other) == 400
    assert np.isin(few.other.round(6), pairs.other.round(6)).all()
    assert abs(few.other.mean() - pairs.other.mean()) < 0.05
    assert (few.other_people[:, 0] != few.other_people[:, 1]).all()


def test_images_that_give_no_pairs(people):
    embeddings, pids, camids = people
    with pytest.raises(RetrievalError, match="of one person by different cameras: found 60 people"):
        score_pairs(embeddings, pids, np.zeros(len(pids)))
    with pytest.raises(RetrievalError, match="of two people by different cameras: found 1 people"):
        score_pairs(embeddings, np.zeros(len(pids)), camids)
    with pytest.raises(ValueError, match="a person and a camera for each of 360 images, found 3"):
        score_pairs(embeddings, pids[:3], camids)
    broken = dataclasses.replace(embeddings, vectors=embeddings.vectors.copy())
    broken.vectors[4, 1] = np.nan
    with pytest.raises(RetrievalError, match="1 of 360 images have values that are not finite"):
        score_pairs(broken, pids, camids)


# ------------------------------------------------------------------ thresholds


def test_thresholds_have_the_rates_that_they_promise(pairs, calibration):
    assert [threshold.rate for threshold in calibration.thresholds] == [0.1, 0.01, 0.001]
    for threshold in calibration.thresholds:
        above = np.sum(pairs.other >= threshold.value)
        assert above / len(pairs.other) <= threshold.rate < (above + 1) / len(pairs.other)
        assert threshold.found == pytest.approx(np.mean(pairs.same >= threshold.value))
        assert threshold.low <= threshold.value <= threshold.high
        assert threshold.found_low <= threshold.found <= threshold.found_high
    values = [threshold.value for threshold in calibration.thresholds]
    assert values == sorted(values)


def test_equally_high_scores_are_all_above_or_all_below():
    scores = np.array([0.5] * 60 + [0.1] * 40)
    numbers = np.arange(100)
    pairs = Pairs(scores, numbers, scores, np.stack([numbers, numbers + 1], 1), 101, 200, 2)
    pytest.importorskip("sklearn")
    (found,) = calibrate(pairs, CARD, "ties", [0.5], replicates=2).thresholds
    assert found.value > 0.5 and found.found == 0  # 0.5 itself would be 60 %


def test_the_equal_error_rate_is_where_both_errors_meet(pairs, calibration):
    value = calibration.equal_error_at
    missed, false = np.mean(pairs.same < value), np.mean(pairs.other >= value)
    assert missed == pytest.approx(false, abs=2 / len(pairs.same))
    assert calibration.equal_error == pytest.approx((missed + false) / 2, abs=1e-6)
    assert calibration.equal_error_low <= calibration.equal_error <= calibration.equal_error_high


def test_intervals_are_those_of_people_not_of_pairs():
    """Ten people's pairs depend on each other: intervals are wider than pairs would make them."""
    pytest.importorskip("sklearn")
    few = calibrate(score_pairs(*seen(10, per_camera=20)), CARD, "few", [0.01])
    many = calibrate(score_pairs(*seen(100, per_camera=2)), CARD, "many", [0.01])
    widths = [one.thresholds[0].high - one.thresholds[0].low for one in (few, many)]
    assert few.other > many.other / 3 and widths[0] > 1.5 * widths[1]


def test_weights_of_people_are_those_of_copies():
    """Replicates count the pairs as if a person drawn twice were there twice."""
    pairs = score_pairs(*seen(6))
    weights = np.array([2, 0, 1, 1, 3, 0])
    same = np.repeat(pairs.same, weights[pairs.same_people])
    other = np.repeat(pairs.other, weights[pairs.other_people].prod(1))
    found = deciding._Curves(pairs).measure(weights, [0.1])
    threshold = found[2]
    above = np.sum(other >= threshold)
    assert (
        above / len(other) <= 0.1 and np.sum(other >= np.nextafter(threshold, 0)) / len(other) > 0.1
    )
    assert found[3] == pytest.approx(np.mean(same >= threshold))


def test_too_few_pairs_for_a_rate_give_no_threshold():
    pytest.importorskip("sklearn")
    few = calibrate(score_pairs(*seen(12, per_camera=1)), CARD, "few people")
    assert few.other == 12 * 11 // 2 * 6
    assert [threshold.rate for threshold in few.thresholds] == [0.1]
    assert few.too_few == (0.01, 0.001)
    with pytest.raises(RetrievalError, match="too few pairs for 1 % .*396 .* needed 3,000"):
        few.threshold(0.01)
    with pytest.raises(RetrievalError, match="thresholds for 10 % of false matches, not for 5 %"):
        few.threshold(0.05)


def test_the_probability_rises_with_the_score_and_with_the_prior(pairs, calibration):
    scores = np.linspace(-1, 1, 50)
    grid = calibration.probability(scores)
    assert (np.diff(grid) > 0).all() and 0 <= grid[0] < grid[-1] <= 1
    rare = calibration.probability(scores, prior=0.01)
    np.testing.assert_allclose(rare / (1 - rare), grid / (1 - grid) / 99)  # Bayes
    both = np.concatenate([pairs.same, pairs.other])
    labels = np.repeat([1, 0], [len(pairs.same), len(pairs.other)])
    weights = np.where(labels, 0.5 / len(pairs.same), 0.5 / len(pairs.other))
    found = calibration.probability(both)
    for low in np.arange(0, 1, 0.25):  # of pairs called 25..50 % probable, so many are the same
        inside = (found >= low) & (found < low + 0.25)
        share = np.average(labels[inside], weights=weights[inside])
        assert low - 0.1 < share < low + 0.35


def test_a_probability_has_an_interval_that_narrows_with_people(calibration):
    pytest.importorskip("sklearn")
    few = calibrate(score_pairs(*seen(10, noise=1.0)), CARD, "few people")
    scores = np.linspace(0, 0.6, 9)
    widths = []
    for one in (few, calibration):
        (low, high), middle = one.interval(scores), one.probability(scores)
        assert (low <= middle + 0.01).all() and (middle <= high + 0.01).all()
        assert (np.diff(low) > 0).all() and 0 <= low.min() < high.max() <= 1
        widths.append((high - low).mean())
    assert widths[0] > 1.5 * widths[1]


def test_the_extra_is_named_if_it_is_not_installed(pairs, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(RetrievalError, match=r"torchreid-magnifier\[search\]"):
        calibrate(pairs, CARD, "x")


# ------------------------------------------------------------------ files


def test_a_file_gives_back_the_calibration(calibration, tmp_path):
    calibration.write(tmp_path / "c.json")
    assert Calibration.read(tmp_path / "c.json") == calibration


@pytest.mark.parametrize(
    "change",
    [lambda v: v.pop("made"), lambda v: v["made"].update(format=9), lambda v: v.update(a=1)],
)
def test_files_that_are_none(calibration, tmp_path, change):
    with pytest.raises(RetrievalError, match="gone.json: No such file"):
        Calibration.read(tmp_path / "gone.json")
    values = json.loads(calibration.to_json())
    change(values)
    (tmp_path / "c.json").write_text(json.dumps(values))
    with pytest.raises(RetrievalError, match="c.json is no calibration of 'torchreid-magnifier"):
        Calibration.read(tmp_path / "c.json")
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(RetrievalError, match="is no calibration"):
        Calibration.read(tmp_path / "c.json")


# ------------------------------------------------------------------ answers


def test_strangers_are_nobody_and_the_others_somebody(people, calibration):
    embeddings, pids, camids = people
    gallery = rows_of(embeddings, np.flatnonzero((camids == 0) & (pids < 30)))
    queries = rows_of(embeddings, np.flatnonzero(camids == 1))
    answers = decide(queries, gallery, calibration, rate=0.001)
    threshold = calibration.threshold(0.001)
    asked, there = pids[camids == 1], pids[(camids == 0) & (pids < 30)]
    for answer in answers:
        assert (answer.row >= 0) == (answer.score >= threshold)
        assert answer.probability == pytest.approx(float(calibration.probability(answer.score)))
    rows = np.array([answer.row for answer in answers])
    known = asked < 30
    assert (rows[known] >= 0).mean() > 0.5
    answered = known & (rows >= 0)
    assert (there[rows[answered]] == asked[answered]).mean() > 0.9
    assert (rows[~known] >= 0).mean() <= 60 * 0.001 * 2  # 60 comparisons each


def test_vectors_of_a_frame_are_answered_in_their_places(people, calibration):
    embeddings, pids, camids = people
    gallery = rows_of(embeddings, np.flatnonzero(camids == 0))
    queries = rows_of(embeddings, np.flatnonzero(camids == 1))
    expected = decide(queries, gallery, calibration)
    vectors = np.insert(queries.vectors, 2, np.nan, axis=0)  # an empty box
    found = decide(vectors, gallery, calibration)
    assert found[2].row == -1 and np.isnan(found[2].score)
    assert found[:2] + found[3:] == expected
    assert decide(vectors[:0], gallery, calibration) == []
    assert decide(rows_of(queries, np.arange(0)), gallery, calibration) == []


def test_a_gallery_of_other_cameras_is_warned_of(people, calibration):
    embeddings, *_ = people
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decide(
            rows_of(embeddings, slice(0, 100)), rows_of(embeddings, slice(100, 360)), calibration
        )
    alike, *_ = seen(60, seed=1, shift=0.8)  # all people look more alike
    with pytest.warns(CalibrationWarning, match="Calibrate on images of these cameras"):
        decide(rows_of(alike, slice(0, 100)), rows_of(alike, slice(100, 360)), calibration)


def test_a_calibration_of_another_network_is_refused(people, calibration):
    embeddings, *_ = people
    other = dataclasses.replace(calibration.made, sha256="1" * 64)
    with pytest.raises(RetrievalError, match="those of the calibration .* those of the gallery"):
        decide(embeddings, embeddings, dataclasses.replace(calibration, made=other))


def test_a_threshold_is_needed(people, calibration):
    with pytest.raises(RetrievalError, match="not for 3 %"):
        decide(people[0], people[0], calibration, rate=0.03)


# ------------------------------------------------------------------ folders


def test_folders_of_people(tmp_path):
    for name in (
        "anna/c1/a.png",
        "anna/c2/b.png",
        "ben/0002_c1s1_3.jpg",
        "ben/x_c12.jpg",
        "cy/d.png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 8)).save(tmp_path / name)
    paths, people, cameras = read_labelled_folder(tmp_path)
    found = {Path(path).name: pair for path, *pair in zip(paths, people, cameras, strict=True)}
    assert found == {
        "a.png": ["anna", "c1"],
        "b.png": ["anna", "c2"],
        "0002_c1s1_3.jpg": ["ben", "1"],
        "x_c12.jpg": ["ben", "12"],
        "d.png": ["cy", ""],
    }
    Image.new("RGB", (4, 8)).save(tmp_path / "nobody.png")
    with pytest.raises(RetrievalError, match="nobody.png: expected a folder for each person"):
        read_labelled_folder(tmp_path)
    with pytest.raises(RetrievalError, match="nobody.png: expected a folder of one for each"):
        read_labelled_folder(tmp_path / "nobody.png")


# ------------------------------------------------------------------ commands


@pytest.fixture
def crowd(tmp_path, monkeypatch):
    """Twelve people by two cameras, and a network of random weights."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for person in range(12):
        clothes = generator.integers(0, 256, (4, 2, 3))
        for camera in "12":
            noise = generator.integers(-9, 10, (4, 2, 3))
            image = Image.fromarray((clothes + noise).clip(0, 255).astype(np.uint8))
            path = Path(f"people/{person}/c{camera}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            image.resize((32, 64)).save(path)
    return save_run(Path("run"), "magnifiernet_r18_g")


def test_calibrate_check_and_search_for_somebody_or_nobody(crowd, capsys):
    pytest.importorskip("sklearn")
    words = ["calibrate", "--weights", crowd, "--images", "people"]
    assert main([*words, "--rates", "50%", "0.1", "--out", "c.json", "--picture", "c.png"]) == 0
    printed = capsys.readouterr().out
    assert "people: 12 people, 24 images, 2 cameras; 12 pairs of one person, 132 of two" in printed
    assert "10 %  too few pairs of two people" in printed and "equal error rate" in printed
    with Image.open("c.png") as picture:
        assert min(picture.size) > 200
    (threshold,) = Calibration.read(Path("c.json")).thresholds
    assert threshold.rate == 0.5
    assert main([*words, "--check", "c.json"]) == 0
    printed = capsys.readouterr().out
    assert f"{threshold.value:.3f}  50 %" in printed  # on the images that it was made of

    assert main(["extract", "people/?/c1.png", "--weights", crowd, "--out", "g.npz"]) == 0
    asked = ["search", "--gallery", "g.npz", "people/3/c2.png", "--calibration", "c.json"]
    capsys.readouterr()
    assert main([*asked, "--same-at", "50%", "--top", "1"]) == 0
    printed = capsys.readouterr().out
    nearest = printed.splitlines()[2].split()
    known = float(nearest[1]) >= threshold.value
    answer = nearest[2] if known else "unknown"
    assert f"  answer: {answer} (the same person from {threshold.value:.4f} on)" in printed
    values = json.loads(Path("c.json").read_text())
    values["thresholds"][0]["value"] = 1.1
    Path("c.json").write_text(json.dumps(values))
    assert main([*asked, "--same-at", "50%"]) == 0
    assert "  answer: unknown (" in capsys.readouterr().out
    for more, message in (
        (["--same-at", "1%"], "thresholds for 50 % of false matches, not for 1 %"),
        (["--same-at", "10%"], "too few pairs for 10 % of false matches (132 of different people"),
        ([], "--same-at and --calibration go together"),
        (["--same-at", "50%", "--metric", "euclidean"], "leave out --metric"),
    ):
        assert main([*asked, *more]) == 2
        assert message in capsys.readouterr().err


def test_mistakes_of_calibrate(crowd, capsys):
    pytest.importorskip("sklearn")
    words = ["calibrate", "--weights", crowd]
    Path("one").mkdir()
    Path("people/0").rename("one/0")
    Path("people/1/bad.jpg").write_bytes(b"no image")
    for more, message in (
        (["--images", "one", "--out", "c.json"], "there are no pairs of images of two people"),
        (["--images", "nowhere", "--out", "c.json"], "there is no file or folder nowhere"),
        (["--images", "people", "--out", "c.json"], "images that cannot be read:\n  people/1/bad"),
        (["--images", "people", "--out", "no/c.json"], "--out: expected a file in a folder"),
        (["--images", "people", "--check", "c.json"], "c.json: No such file"),
        (["--dataset", "market", "--out", "c.json"], "did you mean 'market1501'"),
    ):
        assert main([*words, *more]) == 2, more
        assert message in capsys.readouterr().err
    assert not Path("c.json").exists()
    with pytest.raises(SystemExit):
        main([*words, "--images", "people", "--out", "c.json", "--rates", "2"])
    assert "expected a rate such as 1% or 0.01, found 2" in capsys.readouterr().err


def test_the_program_of_the_guide(crowd, capsys):
    """The person in the first box is in the gallery, nobody is in the second."""
    pytest.importorskip("sklearn")
    guide = Path(__file__).parents[1] / "docs" / "guides" / "decide.md"
    program = re.findall(r"^```python\n(.*?)^```", guide.read_text("utf-8"), re.M | re.S)[-1]
    assert len(program.splitlines()) <= 20
    (folder := Path("log/stage2")).parent.mkdir()
    Path("run").rename(folder)
    weights = str(folder / "model" / "model.pth.tar-1")
    assert main(["extract", "people/?/c1.png", "--weights", weights, "--out", "gallery.npz"]) == 0
    words = ["calibrate", "--weights", weights, "--images", "people", "--out", "calibration.json"]
    assert main([*words, "--rates", "50%"]) == 0
    values = json.loads(Path("calibration.json").read_text())
    values["thresholds"][0].update(rate=0.01, value=0.9999)  # of a trained network it is lower
    Path("calibration.json").write_text(json.dumps(values))
    frame = Image.new("RGB", (250, 180), "black")
    person = Image.open("people/3/c1.png").resize((64, 128), Image.Resampling.NEAREST)
    frame.paste(person, (40, 30))
    frame.save("frame.png")
    os.rename(weights, "log/stage2/model/model.pth.tar-40")
    capsys.readouterr()
    exec(program, {})
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("[40, 30, 104, 158] people/3/c1.png 1.000 ")
    assert second.startswith("[150, 20, 214, 148] unknown ")
