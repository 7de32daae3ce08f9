"""The embedded data: what the pictures promise, and how they get to disk."""

import dataclasses
import errno
import functools
import hashlib
import json
import multiprocessing
import shutil
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from torchreid_magnifier.parts import FOREGROUND, NUM_PARTS, PARTS
from torchreid_magnifier.synthetic import (
    Settings,
    SyntheticPedestrians,
    SyntheticPedestriansOccluded,
    dataset,
    generate,
)

SMALL = Settings(train_ids=1, test_ids=2, distractors=1)
writing = sys.modules["torchreid_magnifier.synthetic.generate"]
scene = sys.modules["torchreid_magnifier.synthetic.scene"]
body = sys.modules["torchreid_magnifier.synthetic.body"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "synthetic_pedestrians"
    return folder, generate(folder, SMALL)


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def others_in(folder: Path) -> set[str]:
    """What lies beside the data set (the lock file may stay)."""
    return {path.name for path in folder.parent.iterdir()} - {folder.name, f".{folder.name}.lock"}


# -- the plan of the full data set ----------------------------------------------------------------


def test_full_size():
    entries = writing.plan()
    count = {s: sum(e.subset == s for e in entries) for s in ("train", "query", "gallery")}
    assert count == {"train": 480, "query": 200, "gallery": 320}
    assert sum(e.pid == 0 for e in entries) == 40
    assert sum(e.occluded for e in entries if e.subset == "query") == 80
    assert not any(e.occluded for e in entries if e.subset == "gallery")
    assert len({e.image for e in entries}) == len({e.shot for e in entries}) == len(entries)


def test_people_to_train_and_to_test_on_differ():
    pids = {s: {e.pid for e in writing.plan() if e.subset == s} for s in ("train", "query")}
    assert pids["train"] == set(range(1, 49))
    assert pids["query"] == set(range(49, 89))
    streams = {e.subset: e.shot.stream for e in writing.plan()}
    assert streams["train"] != streams["query"] == streams["gallery"]


def test_every_query_has_a_match_in_another_camera():
    entries = writing.plan()
    for query in (e for e in entries if e.subset == "query"):
        assert any(
            e.pid == query.pid and e.camid != query.camid for e in entries if e.subset == "gallery"
        ), query


def test_names_read_like_those_of_market1501():
    for entry in writing.plan():
        pid, rest = entry.name.split("_c")
        assert int(pid) == entry.pid
        assert int(rest.split("s")[0]) == entry.camid + 1


def test_pairs_of_people_differ_in_a_few_details():
    for number in range(0, 40, 4):
        one, two = (dataclasses.asdict(scene.identity(2020, 1, number + k)) for k in (0, 1))
        for varying in ("height", "build"):
            del one[varying], two[varying]
        changed = {key for key in one if one[key] != two[key]}
        assert 2 <= len(changed) <= 7, changed
        assert not changed & {"upper", "lower", "lower_colour", "skin"}


# -- pictures -------------------------------------------------------------------------------------


def test_images_and_labels(made):
    folder, entries = made
    seen = set()
    for entry in entries:
        image = cv2.imread(str(folder / entry.image), cv2.IMREAD_UNCHANGED)
        labels = cv2.imread(str(folder / entry.labels), cv2.IMREAD_UNCHANGED)
        assert image.shape == (128, 64, 3)
        assert labels.shape == (128, 64)
        assert labels.dtype == np.uint8
        assert labels.max() < NUM_PARTS
        assert (labels.max() == 0) == (entry.pid == 0)
        assert image.std() > 10
        seen |= set(np.unique(labels).tolist())
    assert seen == set(range(NUM_PARTS))


def test_unhidden_people_show_most_parts_from_top_to_bottom():
    head, torso, foot = (PARTS.index(name) for name in ("head", "torso", "foot"))
    for entry in writing.plan()[: 96 * 5 : 23]:
        labels = scene.render(dataclasses.replace(entry.shot, occlusion="none")).labels
        assert np.isin(FOREGROUND, labels).sum() >= 6
        height = [np.nonzero(labels == part)[0].mean() for part in (head, torso, foot)]
        assert height == sorted(height)
        assert 0.06 < (labels > 0).mean() < 0.45


def test_labels_cover_the_person_and_nothing_else(monkeypatch):
    """Compared with the same scene painted without the person."""
    entry = next(e for e in writing.plan() if e.shot.occlusion == "none")
    finish, draw = scene.Canvas.finish, scene.draw_person
    painted = []

    def spy(canvas, folds):
        painted.append(canvas.image.copy())
        return finish(canvas, folds)

    def draw_others(*args, labelled=True):
        if not labelled:
            draw(*args, labelled=False)

    monkeypatch.setattr(scene.Canvas, "finish", spy)
    labels = scene.render(entry.shot).labels
    monkeypatch.setattr(scene, "draw_person", draw_others)
    scene.render(entry.shot)
    changed = (painted[0] != painted[1]).any(axis=2)[1::3, 1::3]
    assert changed[labels > 0].mean() > 0.98
    assert changed[labels == 0].mean() < 0.15  # shadow and bags are no part of the body


def test_occluded_queries_hide_what_their_twins_show():
    queries = [e for e in writing.plan() if e.subset == "query" and e.occluded]
    for entry in queries[::8]:
        hidden = scene.render(entry.shot).labels
        whole = scene.render(dataclasses.replace(entry.shot, occlusion="none")).labels
        assert (hidden > 0).sum() <= 0.72 * (whole > 0).sum()
        shown = hidden > 0
        np.testing.assert_array_equal(hidden[shown], whole[shown])


@pytest.mark.parametrize("bag", ["none", "backpack", "shoulder", "messenger", "carrier"])
@pytest.mark.parametrize("yaw", [0.0, 1.5, 3.1, 4.6])
def test_somebody_in_front_hides_with_bag_and_all(bag, yaw):
    person = dataclasses.replace(scene.identity(2020, 0, 4), bag=bag, glasses=True, hat="beanie")
    skeleton = body.build_skeleton(person, body.draw_pose(np.random.default_rng(3)))
    canvas = scene.Canvas(np.full((384, 192, 3), 1, np.uint8))
    canvas.labels[:] = 2
    scene.draw_person(
        canvas, person, skeleton, body.View(yaw, 0.2, 0.0, 190.0, 96.0, 360.0), 0.5, labelled=False
    )
    painted = (canvas.image != 1).any(axis=2)
    assert painted.mean() > 0.05
    np.testing.assert_array_equal(canvas.labels == 0, painted)


def test_keypoints_lie_on_the_body(made):
    folder, entries = made
    coco = json.loads((folder / "keypoints.json").read_text())
    names = coco["categories"][0]["keypoints"]
    assert len(names) == 17
    files = {image["id"]: image["file_name"] for image in coco["images"]}
    assert len(coco["annotations"]) == sum(e.pid > 0 for e in entries)
    upper, lower = PARTS.index("upper_leg"), PARTS.index("lower_leg")
    knees = 0
    for annotation in coco["annotations"]:
        labels_file = files[annotation["image_id"]].replace("images/", "images_ps_label/")
        labels = cv2.imread(str((folder / labels_file).with_suffix(".png")), cv2.IMREAD_UNCHANGED)
        points = np.array(annotation["keypoints"]).reshape(17, 3)
        assert annotation["num_keypoints"] == (points[:, 2] > 0).sum()
        left, top, width, height = annotation["bbox"]
        assert (labels[top : top + height, left : left + width] > 0).sum() == annotation["area"]
        assert annotation["area"] == (labels > 0).sum()
        for name, (x, y, visible) in zip(names, points, strict=True):
            if visible == 2:
                assert labels[round(y), round(x)] > 0
            if visible == 2 and name.endswith("knee"):
                knees += 1
                for part in (upper, lower):
                    rows, columns = np.nonzero(labels == part)
                    assert np.hypot(rows - y, columns - x).min() < 8, (labels_file, name)
    assert knees > 25


def test_left_and_right_are_the_persons_own():
    """From the front the left shoulder is on the right of the picture, from the back it is not."""
    person = scene.identity(2020, 0, 0)
    skeleton = body.build_skeleton(person, body.draw_pose(np.random.default_rng(0)))
    for yaw, sign in ((0.0, 1), (np.pi, -1)):
        view = body.View(yaw, 0.2, 0.0, 100.0, 100.0, 300.0)
        points = view.project(skeleton.keypoints())
        for left in (1, 3, 5, 11):  # eye, ear, shoulder, hip
            assert sign * (points[left, 0] - points[left + 1, 0]) > 0


# -- determinism ----------------------------------------------------------------------------------


def test_same_bytes_each_time(made, tmp_path):
    folder, _ = made
    scene.backdrop.cache_clear()
    scene.identity.cache_clear()
    again = tmp_path / "again"
    generate(again, SMALL)
    assert hashes(again) == hashes(folder)


def test_one_picture_alone_is_the_same(made):
    folder, entries = made
    for entry in entries[::-7]:
        scene.backdrop.cache_clear()
        scene.identity.cache_clear()
        for path, data in writing.encode(entry, scene.render(entry.shot)).items():
            assert (folder / path).read_bytes() == data


def test_rate_is_reported(record_property):
    entries = writing.plan()[::40]
    for camera in range(5):
        scene.backdrop(2020, camera)
    start = time.process_time()
    for entry in entries:
        writing.encode(entry, scene.render(entry.shot))
    rate = len(entries) / (time.process_time() - start)
    record_property("images_per_cpu_second", rate)
    assert rate > 20  # an order of magnitude below what is usual


# -- torchreid datasets ---------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(dataset, "generate", functools.partial(generate, settings=SMALL))


def test_dataset_is_made_on_first_use(small, tmp_path):
    extra = {
        "split_id": 0,
        "cuhk03_labeled": False,
        "cuhk03_classic_split": False,
        "market1501_500k": False,
    }
    made = SyntheticPedestrians(root=str(tmp_path), mode="query", verbose=False, **extra)
    assert (len(made.train), len(made.query), len(made.gallery)) == (10, 10, 15)
    assert made.num_train_pids == 1
    assert made.num_train_cams == 5
    assert {pid for _, pid, _, _ in made.train} == {0}
    assert {pid for _, pid, _, _ in made.query} == {2, 3}
    assert {pid for _, pid, _, _ in made.gallery} == {0, 2, 3}
    assert len(made) == 10
    item = made[0]
    assert item["img"].size == (64, 128)
    assert Path(item["impath"]).is_file()
    labels = Path(item["impath"].replace("images", "images_ps_label")).with_suffix(".png")
    assert labels.is_file()


def test_occluded_dataset_has_the_flagged_queries(small, tmp_path):
    every = SyntheticPedestrians(root=str(tmp_path), verbose=False)
    occluded = SyntheticPedestriansOccluded(root=str(tmp_path), verbose=False)
    record = json.loads((tmp_path / "synthetic_pedestrians" / "dataset.json").read_text())
    assert {Path(path).stem for path, *_ in occluded.query} == set(record["occluded_queries"])
    assert len(occluded.query) == 4
    assert occluded.gallery == every.gallery
    assert occluded.train == every.train


def test_combineall_leaves_the_distractors_out(small, tmp_path):
    made = SyntheticPedestrians(root=str(tmp_path), combineall=True, verbose=False)
    assert made.num_train_pids == 3
    assert len(made.train) == 10 + 10 + 14


# -- on disk --------------------------------------------------------------------------------------


def test_cache_is_reused(made, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(made[0], folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    generate(folder, SMALL)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert others_in(folder) == set()


@pytest.mark.parametrize("damage", ["version", "size", "missing image", "broken record"])
def test_stale_or_damaged_cache_is_made_anew(made, tmp_path, damage):
    folder, entries = tmp_path / "data", made[1]
    shutil.copytree(made[0], folder)
    record = json.loads((folder / "dataset.json").read_text())
    if damage == "version":
        record["version"] = 0
        (folder / "dataset.json").write_text(json.dumps(record))
    elif damage == "size":
        record["settings"]["test_ids"] = 99
        (folder / "dataset.json").write_text(json.dumps(record))
    elif damage == "missing image":
        (folder / entries[3].image).unlink()
    else:
        (folder / "dataset.json").write_text("{")
    generate(folder, SMALL)
    assert hashes(folder) == hashes(made[0])
    assert others_in(folder) == set()


def test_folder_with_other_files_is_left_alone(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError) as caught:
        generate(folder, SMALL)
    assert str(caught.value) == (
        "[Errno 17] expected a generated data set (with a dataset.json) or nothing, found other "
        f"files; move them away or choose another root folder: '{folder}'"
    )
    assert (folder / "thesis.txt").read_text() == "mine"


def failing_write(after: int, error: BaseException):
    written = []

    def write(path: Path, data: bytes) -> None:
        written.append(path)
        if len(written) > after:
            raise error
        path.write_bytes(data)

    return write


def test_full_disk(monkeypatch, tmp_path):
    folder = tmp_path / "root" / "data"
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(writing, "_write", failing_write(30, full))
    with pytest.raises(OSError) as caught:
        generate(folder)
    assert caught.value.errno == errno.ENOSPC
    assert str(caught.value) == (
        "[Errno 28] the disk is full: the synthetic pedestrians need about 12 MB in "
        f"'{folder.parent}'. Nothing was left there. Free some space or choose a root folder on "
        "another disk"
    )
    assert not folder.exists()
    assert others_in(folder) == set()


def test_full_disk_keeps_what_was_there(made, monkeypatch, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(made[0], folder)
    before = hashes(folder)
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(writing, "_write", failing_write(30, full))
    with pytest.raises(OSError, match="the disk is full"):
        generate(folder)
    assert hashes(folder) == before
    assert others_in(folder) == set()


def test_stated_need_of_space_is_enough(made):
    folder, entries = made
    blocks = sum(-(-p.stat().st_size // 4096) * 4096 for p in folder.rglob("*") if p.is_file())
    assert blocks <= writing._BYTES_PER_IMAGE * len(entries)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("a bug")])
def test_interruption_leaves_nothing(monkeypatch, tmp_path, error):
    folder = tmp_path / "data"
    monkeypatch.setattr(writing, "_write", failing_write(30, error))
    with pytest.raises(type(error)):
        generate(folder, SMALL)
    assert not folder.exists()
    assert others_in(folder) == set()


def make(folder: Path, settings: Settings) -> None:
    cv2.setNumThreads(0)  # a forked process has none of its parent's threads
    generate(folder, settings)


def start(folder: Path, settings: Settings) -> multiprocessing.process.BaseProcess:
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("fork" if "fork" in methods else "spawn")
    process = context.Process(target=make, args=(folder, settings))
    process.start()
    return process


def test_two_processes_at_once_and_one_killed(made, tmp_path):
    """A killed process leaves no data set; the two that wait for it both end well."""
    folder = tmp_path / "data"
    partial = tmp_path / ".data.partial" / "images" / "train"
    victim = start(folder, Settings(train_ids=4000))
    try:
        deadline = time.monotonic() + 120
        while not (partial.is_dir() and any(partial.iterdir())):
            assert victim.is_alive(), "ended before anything was written"
            assert time.monotonic() < deadline, "nothing was written"
            time.sleep(0.05)
        pair = [start(folder, SMALL) for _ in range(2)]
        time.sleep(0.2)
    finally:
        victim.kill()
        victim.join()
    assert not folder.exists() or (folder / "dataset.json").exists()
    for process in pair:
        process.join(timeout=120)
    assert [process.exitcode for process in pair] == [0, 0]
    assert hashes(folder) == hashes(made[0])
    assert others_in(folder) == set()
