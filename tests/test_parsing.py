"""Poses and the drawing of parts, and the files that poses are read from."""

import json
import os
import pickle
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest
from PIL import Image

from torchreid_magnifier.annotate import ParsingError
from torchreid_magnifier.annotate.drawing import draw_parts
from torchreid_magnifier.annotate.images import folder_images
from torchreid_magnifier.annotate.parsers.keypoints import (
    KeypointFiles,
    keypoint_files,
    read_names,
)
from torchreid_magnifier.annotate.parsers.rcnn import PersonMask
from torchreid_magnifier.annotate.poses import central_pose, pose_from_keypoints
from torchreid_magnifier.files import ListError
from torchreid_magnifier.parts import BACKGROUND, FOREGROUND, NUM_PARTS, PARTS
from torchreid_magnifier.synthetic.generate import plan
from torchreid_magnifier.synthetic.scene import render

NAMES = (
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow "
    "right_elbow left_wrist right_wrist left_hip right_hip left_knee right_knee left_ankle "
    "right_ankle"
).split()
# Somebody who faces the camera, arms a little away, in an image of 128 x 64.
STANDING = np.array(
    [(32, 15), (34, 13), (30, 13), (36, 14), (28, 14), (42, 29), (22, 29), (46, 46), (18, 46)]
    + [(48, 60), (16, 60), (38, 62), (26, 62), (39, 86), (25, 86), (39, 110), (25, 110)],
    np.float64,
)


def coco(points=STANDING, score=1.0):
    return np.column_stack([points, np.full(len(points), score)])


def fourteen(points=STANDING):
    at = dict(zip(NAMES, points, strict=True))
    rows = [(32, 5), (32, 26)]
    for trio in (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")):
        for side in ("right", "left"):
            rows += [at[f"{side}_{joint}"] for joint in trio]
    return np.array(rows, np.float64)


def pose_from_14(points):
    scored = np.column_stack([points, np.ones(14)])
    return pose_from_keypoints(scored, 0, skeleton="market14")


def part(name):
    return PARTS.index(name)


def present(labels):
    return {PARTS[label] for label in np.unique(labels)} - {"background"}


# -- drawing ---------------------------------------------------------------------------------------


def test_drawn_parts_match_exact_labels_of_unoccluded_test_people():
    """The drawing was tuned on the training people, so these are others.

    Occluded pictures are left out: keypoints do not tell what an occluder hides between them.
    """
    confusion = np.zeros((NUM_PARTS, NUM_PARTS), np.int64)
    shots = [e.shot for e in plan() if e.subset != "train" and e.pid and e.shot.occlusion == "none"]
    for shot in shots:
        picture = render(shot)
        drawn = draw_parts(pose_from_keypoints(picture.keypoints, 0.5), *picture.labels.shape)
        np.add.at(confusion, (picture.labels, drawn), 1)
    both = np.diag(confusion)
    iou = both / (confusion.sum(axis=0) + confusion.sum(axis=1) - both)
    assert len(shots) > 300
    assert iou[list(FOREGROUND)].mean() >= 0.75
    assert iou[list(FOREGROUND)].min() >= 0.6


@pytest.mark.parametrize("pose", [pose_from_keypoints(coco(), 0.3), pose_from_14(fourteen())])
def test_each_joint_lies_in_its_parts(pose):
    labels = draw_parts(pose, 128, 64)
    at = dict(zip(NAMES, STANDING.astype(int), strict=True))
    expected = {
        "nose": "head",
        "left_hip": "torso",
        "right_shoulder": "upper_arm",
        "left_wrist": "lower_arm",
        "right_wrist": "lower_arm",
    }
    for joint, name in expected.items():
        x, y = at[joint]
        assert PARTS[labels[y, x]] == name, joint
    assert labels[75, 39] == labels[75, 25] == part("upper_leg")
    assert labels[98, 39] == labels[98, 25] == part("lower_leg")
    assert labels[114, 39] == labels[114, 25] == part("foot")
    assert labels[45, 32] == part("torso")
    assert labels.dtype == np.uint8 and labels[0, 0] == BACKGROUND


def test_both_orders_of_points_are_the_same_person():
    one, other = pose_from_keypoints(coco(), 0.3), pose_from_14(fourteen())
    np.testing.assert_array_equal(one.joints, other.joints)
    np.testing.assert_allclose(one.heading, (0, 1), atol=0.2)  # towards the camera
    np.testing.assert_allclose(other.heading, one.heading)


def test_drawing_scales_with_the_image():
    small = draw_parts(pose_from_keypoints(coco(), 0.3), 128, 64)
    large = draw_parts(pose_from_keypoints(coco(STANDING * 4 + 1.5), 0.3), 512, 256)
    assert np.mean(large[2::4, 2::4] == small) > 0.97


@pytest.mark.parametrize(
    ("joints", "lost"),
    [
        (["left_wrist", "right_wrist"], {"lower_arm"}),
        (["left_elbow", "right_elbow"], {"upper_arm", "lower_arm"}),
        (["left_ankle", "right_ankle"], {"lower_leg", "foot"}),
        (["left_hip", "right_hip"], {"torso", "upper_leg"}),
        (["nose", "left_eye", "right_eye", "left_ear", "right_ear"], {"head"}),
    ],
)
def test_joints_of_low_score_leave_their_part_out(joints, lost):
    keypoints = coco()
    keypoints[[NAMES.index(joint) for joint in joints], 2] = 0.2
    drawn = present(draw_parts(pose_from_keypoints(keypoints, 0.3), 128, 64))
    assert drawn == set(PARTS[1:]) - lost


@pytest.mark.parametrize(
    "points", [np.full((17, 2), np.nan), np.full((17, 2), 20.0), np.full((17, 2), np.inf)]
)
def test_a_pose_without_extent_is_background_or_a_dot(points):
    labels = draw_parts(pose_from_keypoints(coco(points), 0.3), 128, 64)
    assert np.count_nonzero(labels) <= 4


def test_joints_far_outside_the_image_do_no_harm():
    points = STANDING.copy()
    points[15:] = (1e12, -1e12)
    assert draw_parts(pose_from_keypoints(coco(points), 0.3), 128, 64).shape == (128, 64)


@pytest.mark.parametrize(
    ("joint", "lost"), [("wrist", {"lower_arm"}), ("ankle", {"lower_leg", "foot"})]
)
def test_a_limb_too_long_for_the_body_is_left_out(joint, lost):
    points = STANDING.copy()
    points[[NAMES.index(f"{side}_{joint}") for side in ("left", "right")]] = (63, 10), (0, 10)
    drawn = present(draw_parts(pose_from_keypoints(coco(points), 0.3), 128, 64))
    assert drawn == set(PARTS[1:]) - lost


def test_the_arm_behind_the_trunk_is_hidden():
    points = STANDING.copy()
    points[:, 0] = 32  # seen from the side ...
    points[0, 0], points[3:5, 0] = 37, 32  # ... looking to the right: the left arm is behind
    left, right = [7, 9], [8, 10]
    hidden, seen = coco(points), coco(points)
    hidden[right, 2] = seen[left, 2] = 0
    both = draw_parts(pose_from_keypoints(coco(points), 0.3), 128, 64)
    arm = part("upper_arm")
    only_seen = draw_parts(pose_from_keypoints(seen, 0.3), 128, 64)
    only_hidden = draw_parts(pose_from_keypoints(hidden, 0.3), 128, 64)
    assert (only_seen == arm).sum() > 50 > (only_hidden == arm).sum()
    assert ((both == arm) >= (only_seen == arm)).all()


def test_of_several_people_the_large_central_one_is_meant():
    centre = pose_from_keypoints(coco(), 0.3, score=0.9)
    aside = pose_from_keypoints(coco(STANDING - (28, 0)), 0.3, score=0.99)
    far = pose_from_keypoints(coco(STANDING * 0.4 + (20, 20)), 0.3, score=0.99)
    assert central_pose([aside, far, centre], 128, 64) is centre
    assert central_pose([], 128, 64) is None
    nobody = pose_from_keypoints(coco(score=0.1), 0.3)
    assert central_pose([nobody], 128, 64) is None


def test_cut_to_the_person_who_was_drawn():
    torch = pytest.importorskip("torch")
    labels = np.zeros((4, 4), np.uint8)
    labels[1:3, 1:4] = part("torso")
    masks = torch.zeros(3, 1, 4, 4)
    masks[0, 0, :, :1] = 1  # somebody aside
    masks[1, 0, :3, :3] = 0.9  # the person
    masks[2] = 1  # no person: another category
    found = {"masks": masks, "labels": torch.tensor([1, 1, 3]), "scores": torch.full((3,), 0.9)}
    cut = PersonMask._cut(None, found, labels)
    expected = labels.copy()
    expected[:, 3] = BACKGROUND
    np.testing.assert_array_equal(cut, expected)
    found["scores"] *= 0.1
    np.testing.assert_array_equal(PersonMask._cut(None, found, labels), labels)


# -- files -----------------------------------------------------------------------------------------


def same_pose(pose, expected):
    np.testing.assert_array_equal(pose.joints, expected.joints)
    np.testing.assert_array_equal(pose.heading, expected.heading)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_eanet_pickle(tmp_path, protocol):
    keypoints = coco()
    keypoints[9, 2] = 0.05  # below EANet's own threshold
    entry = {"kpt": keypoints, "im_h_w": (np.int64(128), 64)}
    content = {"Market-1501-v15.09.15/bounding_box_train/0002_c1s1_000451_03.jpg": entry}
    file = tmp_path / "im_path_to_kpt.pkl"
    file.write_bytes(pickle.dumps(content, protocol))
    files = KeypointFiles([file], {})
    path = "/data/market1501/Market-1501-v15.09.15/bounding_box_train/0002_c1s1_000451_03.jpg"
    [[pose]] = files([path], [None])
    assert np.isnan(pose.joints[4]).all()
    same_pose(pose, pose_from_keypoints(keypoints, 0.1))


class Malicious:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    file, marker = tmp_path / "kpt.pkl", tmp_path / "ran"
    file.write_bytes(pickle.dumps({"a.jpg": Malicious(str(marker))}))
    with pytest.raises(ParsingError) as error:
        KeypointFiles([file], {})
    assert str(error.value) == (
        f"{file}: expected a pickle of plain numbers and arrays "
        f"(it asks for {os.name}.mkdir, which is not data)"
    )
    assert not marker.exists()


def test_coco_annotations(tmp_path):
    content = {
        "images": [{"id": 7, "file_name": "train/a.jpg"}, {"id": 8, "file_name": "train/b.jpg"}],
        "annotations": [{"image_id": 7, "keypoints": coco(score=2).ravel().tolist()}],
    }
    file = tmp_path / "keypoints.json"
    file.write_text(json.dumps(content))
    files = KeypointFiles([file], {})
    files.check(["/x/train/a.jpg", "/x/train/b.jpg"])
    [[pose], nobody] = files(["/x/train/a.jpg", "/x/train/b.jpg"], [None, None])
    same_pose(pose, pose_from_keypoints(coco(), 0.3))
    assert nobody == []


def test_coco_results_and_mapping(tmp_path):
    people = [coco(), coco(STANDING + 3)]
    results = tmp_path / "results.json"
    results.write_text(
        json.dumps(
            [
                {"image_id": "a.jpg", "keypoints": people[0].ravel().tolist(), "score": 0.8},
                {"file_name": "a.jpg", "keypoints": people[1].ravel().tolist(), "score": 0.6},
            ]
        )
    )
    mapping = tmp_path / "mapping.json"
    mapping.write_text(json.dumps({"b.jpg": people[0].tolist(), "c.jpg": []}))
    files = KeypointFiles([results, mapping], {})
    a, b, c = files(["/x/a.jpg", "/x/b.jpg", "c.jpg"], [None] * 3)
    assert [pose.score for pose in a] == [0.8, 0.6]
    same_pose(a[1], pose_from_keypoints(people[1], 0.3))
    same_pose(b[0], pose_from_keypoints(people[0], 0.3))
    assert c == []


def write_mat(file, rows):
    with h5py.File(file, "w") as content:
        content["pp"] = np.array([np.concatenate([row[:, 0], row[:, 1]]) + 1 for row in rows])


def test_14_point_rows_go_to_sorted_names_of_the_folder_with_as_many(tmp_path):
    file = tmp_path / "points.mat"
    rows = [fourteen(), fourteen(STANDING + 1), fourteen(STANDING + 2)]
    write_mat(file, rows)
    folders = {"/d/query": ["x.jpg"], "/d/train": ["-1.jpg", "0.jpg", "1.jpg"]}
    files = KeypointFiles([file], folders)
    for name, row in zip(folders["/d/train"], rows, strict=True):
        [[pose]] = files([f"/d/train/{name}"], [None])
        same_pose(pose, pose_from_14(row))
    with pytest.raises(ParsingError) as error:
        KeypointFiles([file], {"/d/query": ["x.jpg"], "/d/train": ["1.jpg", "2.jpg"]})
    assert str(error.value) == (
        f"{file}: 3 rows, one for each image of a complete folder in the order of the sorted "
        "names; expected one folder with as many images, found /d/query: 1, /d/train: 2. For an "
        "excerpt of the images, give the complete list of paths by --names"
    )


def test_names_of_a_complete_dataset(tmp_path):
    file = tmp_path / "names.txt"
    file.write_text("b/train/2.jpg\nb/train/-1.jpg\n\nb/train/Thumbs.db\nb/query/3.jpg\n")
    assert read_names(file) == {"b/train": ["-1.jpg", "2.jpg"], "b/query": ["3.jpg"]}
    file.write_text("nothing\n")
    with pytest.raises(ParsingError, match="expected one image path on each line, found none"):
        read_names(file)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("k.txt", b"", "{}: expected a keypoint file named .pkl, .json, .mat, or a folder with "),
        ("k.mat", b"MATLAB 5.0", "{}: expected a MATLAB v7.3 file with the variable pp ("),
        ("k.pkl", b"\x80", "{}: expected a pickle of plain numbers and arrays ("),
        ("k.pkl", pickle.dumps([1]), "{}: expected a dict, found list"),
        ("k.json", b"{", "{}: cannot be read as JSON ("),
        ("k.json", b"5", "{}: expected COCO's annotations or results with keypoints, OpenPose's"),
        (
            "k.json",
            b'[{"file_name": "a.jpg"}]',
            "{}: expected COCO's annotations or results with keypoints, OpenPose's people or a "
            "mapping of images to keypoints (KeyError: 'keypoints')",
        ),
        (
            "k.json",
            b'[{"image_id": 3, "keypoints": []}]',
            "{}: expected a file_name, found only image_id 3: give the annotation file too, whose "
            '"images" name this number',
        ),
        (
            "k.json",
            b'{"a.jpg": [1, 2]}',
            "{}: expected (17: coco, ",
        ),
    ],
)
def test_files_of_another_form(tmp_path, name, content, message):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(ParsingError) as error:
        KeypointFiles([file], {})
    assert str(error.value).startswith(message.format(file))


def test_another_number_of_columns(tmp_path):
    file = tmp_path / "points.mat"
    with h5py.File(file, "w") as content:
        content["pp"] = np.zeros((3, 34))
    with pytest.raises(ParsingError, match=r"expected pp with 28 columns, found shape \(3, 34\)"):
        KeypointFiles([file], {})


# -- names that fit two images ---------------------------------------------------------------------


def two_cameras(folder):
    """Make two images of one name; return their paths, and a pose for each."""
    paths = []
    for camera in ("cam1", "cam2"):
        path = folder / camera / "000001.jpg"
        path.parent.mkdir()
        Image.new("RGB", (64, 128)).save(path)
        paths.append(str(path))
    poses = [(np.array(STANDING) + shift).tolist() for shift in (0, 5)]
    return paths, [[[*point[:2], 1.0] for point in pose] for pose in poses]


def test_entries_with_folders_are_each_images_own(tmp_path):
    paths, poses = two_cameras(tmp_path)
    file = tmp_path / "k.json"
    names = ["cam1/000001.jpg", ".\\cam2\\000001.jpg"]  # as Windows writes it
    entries = [{"file_name": n, "keypoints": p, "score": 1} for n, p in zip(names, poses)]
    file.write_text(json.dumps(entries))
    found = keypoint_files([file], folder_images(str(tmp_path)))(paths, [])
    for (pose,), expected in zip(found, poses):
        same_pose(pose, pose_from_keypoints(np.array(expected), 0.3))


@pytest.mark.parametrize("kind", ["results", "mapping", "pickle"])
def test_a_name_that_fits_two_images_is_refused(tmp_path, kind):
    paths, poses = two_cameras(tmp_path)
    file = tmp_path / ("k.pkl" if kind == "pickle" else "k.json")
    name = "000001.jpg"
    if kind == "pickle":
        file.write_bytes(pickle.dumps({name: {"kpt": np.array(poses[0])}}))
    else:
        results = [{"file_name": name, "keypoints": pose, "score": 1} for pose in poses]
        file.write_text(json.dumps(results if kind == "results" else {name: poses[0]}))
    with pytest.raises(ParsingError) as error:
        keypoint_files([file], folder_images(str(tmp_path)))
    assert f"the entry {name} may be {paths[0]} or {paths[1]}" in str(error.value)
    assert str(error.value).endswith("such as cam2/000001.jpg")
    # Also where only one of the two is wanted.
    one = folder_images(str(tmp_path))
    with pytest.raises(ParsingError, match="may be"):
        keypoint_files([file], replace(one, paths=one.paths[:1]))


def test_a_name_beside_one_with_folders_still_fits_two_images(tmp_path):
    paths, poses = two_cameras(tmp_path)
    file = tmp_path / "k.json"
    file.write_text(json.dumps({"cam1/000001.jpg": poses[0], "000001.jpg": poses[1]}))
    images = folder_images(str(tmp_path))
    with pytest.raises(ParsingError, match=r"the entry 000001.jpg may be .*cam2.* or .*cam1"):
        keypoint_files([file], images)
    # What is an image's whole path below the root of all is that image's.
    shutil.move(paths[1], tmp_path / "000001.jpg")
    found = keypoint_files([file], folder_images(str(tmp_path)))
    assert len(found([str(tmp_path / "000001.jpg")], [])[0]) == 1


def test_paths_of_a_windows_machine(tmp_path):
    paths, poses = two_cameras(tmp_path)
    names = ["D:\\data\\cam1\\000001.jpg", "D:\\data\\cam2\\000001.jpg"]
    file = tmp_path / "k.json"
    file.write_text(json.dumps(dict(zip(names, poses, strict=True))), encoding="utf-8-sig")
    found = keypoint_files([file], folder_images(str(tmp_path)))
    joints = [found([path], [])[0][0].joints for path in paths]
    assert not np.array_equal(*joints, equal_nan=True)


@pytest.mark.parametrize(
    "content",
    [
        '{"a.jpg": [], "a.jpg": []}',
        '{"x\\\\a.jpg": [], "x/a.jpg": []}',
        '{"images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "a.jpg"}],'
        ' "annotations": []}',
    ],
)
def test_an_image_that_is_there_twice_is_refused(tmp_path, content):
    (tmp_path / "k.json").write_text(content)
    with pytest.raises(ParsingError, match="there twice"):
        KeypointFiles([tmp_path / "k.json"], {})


def test_a_file_that_has_what_another_has_is_refused(tmp_path):
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(json.dumps({"x/1.jpg": [], f"x/{name}.jpg": []}))
    with pytest.raises(ParsingError, match=r"b.json: 1 of its images .* such as x/1.jpg"):
        KeypointFiles([tmp_path / "a.json", tmp_path / "b.json"], {})


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lists_as_windows_saves_them(tmp_path, encoding, end):
    file = tmp_path / "names.txt"
    lines = ["", "train\\0002.jpg", "  ", "train\\0001.JPG ", "C:\\data\\a.png", ""]
    file.write_bytes(end.join(lines).encode(encoding))
    assert read_names(file) == {"train": ["0001.JPG", "0002.jpg"], "C:/data": ["a.png"]}


@pytest.mark.parametrize(
    "content", [b"a.jpg\nb.jpg\n\xff\xfe.jpg\n", "a.jpg\nb.jpg\nc.jpg".encode("utf-16-le")]
)
def test_a_list_that_is_no_text_names_the_line(tmp_path, content):
    file = tmp_path / "names.txt"
    file.write_bytes(content)
    line = 3 if b"\xff" in content else 1
    with pytest.raises(ListError, match=f"names.txt, line {line}: expected text in UTF-8"):
        read_names(file)
