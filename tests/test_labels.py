"""Every format of labels and keypoints there and back, and whose parts a label map shows."""

import json

import numpy as np
import pytest
from PIL import Image

from torchreid_magnifier.annotate import ParsingError
from torchreid_magnifier.annotate.drawing import draw_parts
from torchreid_magnifier.annotate.images import folder_images
from torchreid_magnifier.annotate.importers import LabelFiles, import_masks
from torchreid_magnifier.annotate.importers.tables import FORMATS
from torchreid_magnifier.annotate.parsers.keypoints import keypoint_files
from torchreid_magnifier.annotate.people import draw_person, keep_person
from torchreid_magnifier.annotate.plausible import problem_of
from torchreid_magnifier.annotate.poses import pose_from_keypoints
from torchreid_magnifier.annotate.skeletons import SKELETONS
from torchreid_magnifier.cli import main
from torchreid_magnifier.images import read_labels
from torchreid_magnifier.parts import FOOT, HEAD, LOWER_ARM, TORSO

HEIGHT, WIDTH = 128, 64
# Somebody who faces the camera, feet turned out.
POINTS = {
    **{"nose": (32, 15), "crown": (32, 5), "neck": (32, 26), "chest": (32, 29), "pelvis": (32, 62)},
    **{"left_eye": (34, 13), "right_eye": (30, 13), "left_ear": (36, 14), "right_ear": (28, 14)},
    **{"left_shoulder": (42, 29), "right_shoulder": (22, 29)},
    **{"left_elbow": (46, 46), "right_elbow": (18, 46)},
    **{"left_wrist": (48, 60), "right_wrist": (16, 60)},
    **{"left_hip": (38, 62), "right_hip": (26, 62), "left_knee": (39, 86), "right_knee": (25, 86)},
    **{"left_ankle": (39, 108), "right_ankle": (25, 108)},
    **{"left_heel": (38, 113), "right_heel": (26, 113)},
    **{"left_big_toe": (44, 117), "right_big_toe": (20, 117)},
    **{"left_small_toe": (46, 115), "right_small_toe": (18, 115)},
}


def keypoints(skeleton, shift=(0, 0), scale=1.0):
    rows = [(*(np.multiply(POINTS.get(name, (32, 20)), scale) + shift), 0.9) for name in
            SKELETONS[skeleton]]  # fmt: skip
    return [float(number) for row in rows for number in row]


def pose(skeleton="coco", shift=(0, 0), scale=1.0, **more):
    rows = np.reshape(keypoints(skeleton, shift, scale), (-1, 3))
    return pose_from_keypoints(rows, 0.3, skeleton=skeleton, **more)


@pytest.fixture
def crops(tmp_path):
    for name in ("c1/0001.jpg", "c2/0002.jpg"):
        path = tmp_path / "crops" / name
        path.parent.mkdir(parents=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(path)
    return tmp_path


# -- there and back --------------------------------------------------------------------------------


def annotations(skeleton, people, named=True):
    feet = {"foot_kpts": people[0][3 * 17 : 3 * 23]} if skeleton == "coco_feet" else {}
    count = 17 if feet else len(SKELETONS[skeleton])
    return {
        "images": [{"id": 5, "file_name": "c1/0001.jpg"}, {"id": 6, "file_name": "c2/0002.jpg"}],
        "annotations": [
            {"image_id": number, "keypoints": people[0][: 3 * count], "iscrowd": 0, **feet}
            for number in (5, 6)
        ]
        + [{"image_id": 5, "keypoints": None}, {"image_id": 6}],
        "categories": [{"keypoints": list(SKELETONS[skeleton]) if named else []}],
    }


def results(skeleton, people):
    names = ("c1/0001.jpg", "c2/0002.jpg")
    return [{"image_id": name, "keypoints": people[0], "score": 2.9} for name in names]


def mapping(skeleton, people):
    return {"0001": people[0], "0002.jpg": [{"joints": people[0]}]}


def of_one_image(key, people_key, **more):
    def write(folder, skeleton, people):
        for name in ("c1/0001", "c2/0002"):
            path = folder / f"{name}_keypoints.json"
            if people_key == "instance_info":
                path = folder / f"{name.replace('/', '/results_')}.json"
            path.parent.mkdir(parents=True)
            entries = [{key: person, **more} for person in people]
            if more.get("apart"):
                rows = [np.reshape(person, (-1, 3)) for person in people]
                entries = [
                    {key: row[:, :2].tolist(), "keypoint_scores": row[:, 2].tolist()}
                    for row in rows
                ]
            path.write_text(json.dumps({"version": 1.3, people_key: entries} if people_key else
                                       entries))  # fmt: skip
        return folder

    return write


def in_one_file(content):
    def write(folder, skeleton, people):
        folder.mkdir()
        (folder / "keypoints.json").write_text(json.dumps(content(skeleton, people)))
        return folder / "keypoints.json"

    return write


KEYPOINT_FILES = {
    "COCO": ("coco", in_one_file(annotations)),
    "COCO-WholeBody, lists apart": ("coco_feet", in_one_file(lambda *a: annotations(*a, False))),
    "COCO-WholeBody, one list": ("wholebody", in_one_file(results)),
    "Halpe": ("halpe136", in_one_file(lambda *a: annotations(*a, named=False))),
    "AlphaPose": ("halpe26", in_one_file(results)),
    "AlphaPose, --format cmu": ("openpose18", of_one_image("joints", "bodies")),
    "OpenPose": ("openpose25", of_one_image("pose_keypoints_2d", "people")),
    "OpenPose, COCO": ("openpose18", of_one_image("pose_keypoints_2d", "people")),
    "CrowdPose": ("crowdpose", in_one_file(annotations)),
    "PoseTrack": ("posetrack", in_one_file(annotations)),
    "MMPose": ("halpe26", of_one_image("keypoints", None, apart=True)),
    "MMPose, its demos": ("wholebody", of_one_image("keypoints", "instance_info", apart=True)),
    "OpenPifPaf": ("coco", of_one_image("keypoints", None, score=0.8)),
    "KPR": ("coco", of_one_image("keypoints", None, is_target=True)),
    "a mapping": ("coco", in_one_file(mapping)),
}


@pytest.mark.parametrize("name", KEYPOINT_FILES)
def test_keypoints_come_back(name, crops):
    skeleton, write = KEYPOINT_FILES[name]
    people = [keypoints(skeleton)]
    file = write(crops / "pose", skeleton, people)
    images = folder_images(str(crops / "crops"))
    for [found] in keypoint_files([file], images)(images.paths, []):
        expected = pose(skeleton)
        np.testing.assert_array_equal(found.joints, expected.joints)
        for field in ("feet", "crown", "neck", "face"):
            np.testing.assert_array_equal(getattr(found, field), getattr(expected, field))
        assert np.isnan(found.feet).all() != any("toe" in n for n in SKELETONS[skeleton])


@pytest.mark.parametrize("name", FORMATS)
def test_labels_come_back(name, crops):
    """A drawn person in the classes of another program, in the files that it writes."""
    described = FORMATS[name]
    first = [entry.parts[0] for entry in described.classes]
    drawn = draw_parts(pose("halpe26"), HEIGHT, WIDTH)
    labels = np.where(np.isin(drawn, first), drawn, 0).astype(np.uint8)  # pascal has no foot
    classes = np.array([first.index(part) if part in first else 0 for part in range(8)])[labels]
    for image in ("c1/0001", "c2/0002"):
        path = crops / "parsed" / described.files[-1].format(name=f"{image}.jpg", stem=image)
        path.parent.mkdir(parents=True)
        if described.fields:
            fields = (np.arange(len(first))[:, None, None] == classes).astype(np.float32)
            fields[~(labels > 0)[None].repeat(len(first), 0)] = 0
            np.save(path, fields)
        elif path.suffix == ".npy":
            np.save(path, classes)
        else:
            Image.fromarray(classes.astype(np.uint8)).save(path)
    images = folder_images(str(crops / "crops"))
    assert import_masks(images, LabelFiles(name, crops / "parsed", images), workers=1) == []
    for image in ("c1/0001", "c2/0002"):
        found = read_labels(crops / f"crops_ps_label/{image}.png")
        np.testing.assert_array_equal(found, labels)


# -- formats told apart ----------------------------------------------------------------------------

# What Sapiens and Sapiens2 see of somebody in a shirt and trousers: hair on the head's upper half.
SEEN = {"sapiens": (3, 2, 22, 5, 12, 8, 17), "sapiens2": (4, 3, 23, 6, 13, 9, 18)}


def parsed(crops, seen):
    hair, face, shirt, hand, trousers, left_shoe, _ = SEEN[seen]
    drawn = draw_parts(pose(), HEIGHT, WIDTH)
    table = np.array([0, face, shirt, shirt, hand, trousers, trousers, left_shoe])
    classes = table[drawn]
    classes[:15][drawn[:15] == HEAD] = hair
    for number, folder in ((1, "c1"), (2, "c2")):
        path = crops / "parsed" / folder / f"000{number}_seg.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, classes)
    return crops / "parsed"


def run_import(crops, name):
    words = ["--images", str(crops / "crops"), "--labels", str(crops / "parsed")]
    return main(["masks", "import", "--format", name, *words])


@pytest.mark.parametrize(("meant", "seen"), [("sapiens", "sapiens2"), ("sapiens2", "sapiens")])
def test_the_other_sapiens_is_refused_before_anything_is_written(meant, seen, crops, capsys):
    for number in (3, 4):  # enough images for every kind of doubt
        Image.new("RGB", (WIDTH, HEIGHT)).save(crops / f"crops/c1/000{number}.jpg")
    folder = parsed(crops, seen)
    for number in (3, 4):
        (folder / f"c1/000{number}_seg.npy").write_bytes((folder / "c1/0001_seg.npy").read_bytes())
    assert run_import(crops, meant) == 2
    error = capsys.readouterr().err
    assert f"{folder}: as labels of {meant} these cannot be people: " in error
    assert f"{seen} " in error.partition("As ")[2]
    assert not (crops / "crops_ps_label").exists()
    assert run_import(crops, seen) == 0


def test_scores_and_records_say_which_classes_there_are(crops, capsys):
    folder = parsed(crops, "sapiens2")
    for path in folder.rglob("*.npy"):
        np.save(path, (np.arange(29)[:, None, None] == np.load(path)).astype(np.float16))
    assert run_import(crops, "sapiens") == 2
    assert "found shape (29, 128, 64): is it of --format sapiens2?" in capsys.readouterr().err
    assert run_import(crops, "sapiens2") == 0
    names = {number: entry.name for number, entry in enumerate(FORMATS["sapiens2"].classes)}
    (folder / "config.json").write_text(json.dumps({"id2label": names}))
    assert run_import(crops, "sapiens") == 2
    assert "config.json: expected the 28 classes of sapiens, found 29" in capsys.readouterr().err
    assert run_import(crops, "sapiens2") == 0


def test_maps_of_people_and_of_something_else():
    person = draw_parts(pose(), HEIGHT, WIDTH)
    assert problem_of([person] * 4) is None
    assert problem_of([np.zeros_like(person)]) is None
    assert problem_of([person[::-1]]) == "foot lies above head in 1 of 1 maps"
    assert problem_of([person, person, person[::-1]]) is None  # one who stands on the hands
    mask = np.where(person > 0, TORSO, 0).astype(np.uint8)  # of a detector, not of parts
    assert problem_of([mask, person, mask]) == (
        "2 of 3 maps have one part only, as masks of people do"
    )
    heads = np.where(person > 0, HEAD, 0).astype(np.uint8)
    heads[90:, :30][person[90:, :30] > 0] = FOOT
    assert "of the people's pixels are head" in problem_of([heads])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"skeleton": "openpose18", "write": "coco"}, "expected 18 (openpose18) keypoints"),
        ({"upside": True}, "these keypoints cannot be of the people in the images: drawn, "),
        ({"fractions": True}, "expected coordinates in pixels, found none beyond 1"),
        ({"write": "posetrack"}, "give --skeleton posetrack, or --skeleton coco"),
    ],
)
def test_keypoints_that_are_not_those_expected(change, message, crops):
    rows = np.reshape(keypoints(change.get("write", "coco")), (-1, 3))
    if change.get("upside"):
        rows[:, 1] = HEIGHT - rows[:, 1]
    if change.get("fractions"):
        rows[:, :2] /= (WIDTH, HEIGHT)
    file = in_one_file(results)(crops / "pose", "coco", [rows.ravel().tolist()])
    images = folder_images(str(crops / "crops"))
    with pytest.raises(ParsingError) as error:
        keypoint_files([file], images, skeleton=change.get("skeleton"))
    assert message in str(error.value)
    if change.get("write") == "posetrack":
        [[found], _] = keypoint_files([file], images, skeleton="posetrack")(images.paths, [])
        np.testing.assert_array_equal(found.crown, POINTS["crown"])


def test_images_that_results_leave_out(crops):
    file = in_one_file(lambda *a: results(*a)[:1])(crops / "pose", "coco", [keypoints("coco")])
    images = folder_images(str(crops / "crops"))
    with pytest.raises(ParsingError, match="--absent-is-nobody does without"):
        keypoint_files([file], images)
    found = keypoint_files([file], images, absent_is_nobody=True)(images.paths, [])
    assert list(map(len, found)) == [1, 0]


# -- several people --------------------------------------------------------------------------------


def test_of_several_poses_the_target_is_drawn_and_who_stands_before_it_is_background():
    aside = pose(shift=(-14, 6))
    alone = draw_parts(pose(), HEIGHT, WIDTH)
    other = draw_parts(aside, HEIGHT, WIDTH) > 0
    shown = draw_person([aside, pose()], HEIGHT, WIDTH)
    np.testing.assert_array_equal(shown.labels, np.where(other, 0, alone))
    assert shown.doubt == "2 people are alike in size and place"
    marked = draw_person([pose(is_target=False), pose(shift=(14, 0), is_target=True)], 128, 64)
    np.testing.assert_array_equal(marked.labels, draw_parts(pose(shift=(14, 0)), 128, 64))
    assert marked.doubt == ""
    twice = draw_person([pose(), pose(shift=(1, 4))], HEIGHT, WIDTH)  # found twice
    assert twice.doubt == "" and (twice.labels == draw_parts(pose(), HEIGHT, WIDTH)).all()
    small = draw_person([pose(scale=0.25, shift=(24, 80))], HEIGHT, WIDTH)
    assert small.doubt.startswith("the person is ") and draw_person([], 128, 64).doubt == ""


def test_of_several_people_in_a_label_map_one_is_kept():
    wide = 128
    labels = np.zeros((HEIGHT, wide), np.uint8)
    labels[:, 32:96] = draw_parts(pose(), HEIGHT, WIDTH)
    hand = labels.copy()
    hand[60:64, 90:94] = LOWER_ARM  # apart from the body, as beyond a sleeve
    np.testing.assert_array_equal(keep_person(hand).labels, hand)
    both = hand.copy()
    both[40:, :30] |= draw_parts(pose(scale=0.6, shift=(-4, 5)), 88, 30)
    both[70:74, 2:6] = LOWER_ARM
    shown = keep_person(both)
    np.testing.assert_array_equal(shown.labels, hand)
    assert shown.doubt == ""
    twins = np.hstack([labels[:, 32:96]] * 2)
    shown = keep_person(twins)
    assert shown.doubt == "2 people are alike in size and place"
    assert (shown.labels > 0).sum() == (labels > 0).sum() and {HEAD, TORSO} < set(shown.labels.flat)


def test_doubtful_crops_are_listed_and_shown(crops, capsys):
    people = [keypoints("coco", (-12, 0)), keypoints("coco", (12, 0))]
    content = {"0001.jpg": [{"keypoints": person} for person in people], "0002.jpg": [
        {"keypoints": people[0], "is_target": True}, {"keypoints": people[1]}]}  # fmt: skip
    (crops / "k.json").write_text(json.dumps(content))
    words = ["--images", str(crops / "crops")]
    make = ["masks", "make", *words, "--parser", "keypoints", "--keypoints", str(crops / "k.json")]
    show = ["masks", "show", *words, "--doubtful", "--out", str(crops / "sheet.png")]
    for _ in range(2):
        assert main(make) == 0
        assert (
            "people who may not be those meant (masks show --doubtful): 1\n"
            f"  {crops}/crops/c1/0001.jpg: 2 people are alike in size and place\n"
            in capsys.readouterr().out
        )
    assert main(show) == 0
    assert capsys.readouterr().out == (
        f"{crops}/crops/c1/0001.jpg: 2 people are alike in size and place\n"
        f"1 images, 0 without labels that can be shown: {crops}/sheet.png\n"
    )
    content["0001.jpg"][0]["is_target"] = True
    (crops / "k.json").write_text(json.dumps(content))
    assert main([*make, "--overwrite"]) == 0
    assert "may not be those meant" not in capsys.readouterr().out
    assert main(show) == 2
    assert "none of the 2 images is doubtful" in capsys.readouterr().err
