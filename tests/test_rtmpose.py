"""The parser rtmpose: ONNX files with RTMPose's interface, made here, whose answers are known."""

import hashlib
import sys
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from torchreid_magnifier.annotate import ParsingError
from torchreid_magnifier.annotate.drawing import draw_parts
from torchreid_magnifier.annotate.images import folder_images
from torchreid_magnifier.annotate.masks import make_masks
from torchreid_magnifier.annotate.parsers import choose_parser, rtmpose
from torchreid_magnifier.annotate.parsers.rtmpose import RTMPose, find_model
from torchreid_magnifier.annotate.poses import pose_from_keypoints
from torchreid_magnifier.annotate.skeletons import SKELETONS
from torchreid_magnifier.cli import main
from torchreid_magnifier.hub.card import WeightsError
from torchreid_magnifier.images import read_labels

WIDTH, HEIGHT = 48, 64  # of the networks' input
CROP = (128, 64)


def save_network(file, peaks, batch="N"):
    """Write a network (N, 3, 64, 48) -> simcc_x (N, K, 96), simcc_y (N, K, 128).

    The brightest place of the image is where all keypoints are, but where ``peaks`` (K, 3), x, y
    and score, says otherwise: its places are halves of the input's pixels, NaN leaves them out.
    """
    count, nodes, outputs, tensors = len(peaks), [], [], []

    def add(kind, inputs, output, **attributes):
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def tensor(name, values, kind=np.int64):
        tensors.append(numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    grey = add("ReduceMean", ["image"], "grey", axes=[1], keepdims=0)
    axes = (("x", 1, WIDTH), ("y", 2, HEIGHT))
    for column, (axis, across, length) in enumerate(axes):
        line = add("ReduceMax", [grey], f"line_{axis}", axes=[across], keepdims=0)  # (N, length)
        line = add("Unsqueeze", [line, tensor(f"axes_{axis}", [1, 3])], f"open_{axis}")
        shape = tensor(f"shape_{axis}", [1, count, length, 2])
        many = add("Expand", [line, shape], f"many_{axis}")
        flat = tensor(f"flat_{axis}", [0, count, 2 * length])
        many = add("Reshape", [many, flat], f"doubled_{axis}")
        known = np.zeros((1, count, 2 * length), np.float32)
        weight = np.ones((1, count, 1), np.float32)
        for row, peak in enumerate(peaks):
            if not np.isnan(peak[column]):
                known[0, row, int(peak[column])], weight[0, row] = peak[2], 0
        scaled = add("Mul", [many, tensor(f"weight_{axis}", weight, np.float32)], f"scaled_{axis}")
        add("Add", [scaled, tensor(f"known_{axis}", known, np.float32)], f"simcc_{axis}")
        outputs.append(
            helper.make_tensor_value_info(
                f"simcc_{axis}", TensorProto.FLOAT, [batch, count, 2 * length]
            )
        )
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, HEIGHT, WIDTH])
    graph = helper.make_graph(nodes, "rtmpose", [image], outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, file)
    return str(file)


SCALE = 1.25 * max(CROP[1] / WIDTH, CROP[0] / HEIGHT)  # the box that training enlarges
SEEN, WHOLE = np.array((WIDTH, HEIGHT)), np.array((CROP[1], CROP[0]))


def in_crop(places):
    """Pixels of a 64x128 crop for places of the networks' SimCC."""
    return (np.asarray(places) / 2 - SEEN / 2) * SCALE + WHOLE / 2


def standing(count):
    """Places of somebody who stands, for a skeleton's points: the toes to the picture's right."""
    rows = dict(nose=16, eye=15, ear=16, shoulder=30, elbow=48, wrist=62, crown=4, neck=24)
    rows |= dict(hip=64, knee=90, ankle=114, heel=118, small_toe=119, big_toe=120)
    aside = dict(shoulder=7, elbow=9, wrist=10, hip=5, knee=6, ankle=6, heel=5, eye=1, ear=3)
    aside |= dict(small_toe=12, big_toe=12)
    names = next(names for names in SKELETONS.values() if len(names) == count)
    peaks = []
    for name in names:
        side, _, joint = name.rpartition("left_") if "left_" in name else name.rpartition("right_")
        joint = joint if joint in rows else name
        sign = 0 if joint == name else 1 if side == "" and name.startswith("left") else -1
        toes = abs(aside.get(joint, 0)) if "toe" in joint else sign * aside.get(joint, 0)
        pixel = np.array((32 + toes, rows.get(joint, 20)))
        peaks.append((*np.round(2 * ((pixel - WHOLE / 2) / SCALE + SEEN / 2)), 0.9))
    return np.array(peaks)


@pytest.fixture
def crops(tmp_path):
    folder = tmp_path / "crops"
    folder.mkdir()
    for name in "abc":
        Image.new("RGB", CROP[::-1]).save(folder / f"{name}.png")
    return folder


def make(crops, *words):
    words = ["--parser", "rtmpose", "--workers", "1", "--batch-size", "2", *words]
    return main(["masks", "make", "--images", str(crops), *words])


@pytest.mark.parametrize("count", [17, 26, 133])
def test_known_outputs_are_known_keypoints(count, tmp_path):
    peaks = standing(count)
    peaks[9, 2] = 0.1  # a wrist that is not seen
    parse = RTMPose(save_network(tmp_path / "end2end.onnx", peaks))
    [pose], [other] = parse([], [np.zeros((*CROP, 3), np.uint8)] * 2)
    keypoints = np.column_stack([in_crop(peaks[:, :2]), peaks[:, 2]])
    skeleton = {17: "coco", 26: "halpe26", 133: "wholebody"}[count]
    expected = pose_from_keypoints(keypoints, 0.3, skeleton=skeleton)
    for found in (pose, other):
        np.testing.assert_allclose(found.joints, expected.joints)
        np.testing.assert_allclose(found.feet, expected.feet)
    assert np.isnan(pose.joints[4]).all() and not np.isnan(pose.joints[5]).any()
    assert np.isnan(pose.feet).all() == (count == 17)


@pytest.mark.parametrize("size", [(128, 64), (64, 128), (50, 37)])
@pytest.mark.parametrize("batch", ["N", 1])
def test_a_bright_place_of_the_image_is_found_where_it_is(size, batch, tmp_path):
    parse = RTMPose(save_network(tmp_path / "spot.onnx", np.full((17, 3), np.nan), batch), -9)
    images, places = [], []
    for x, y in ((0.3, 0.6), (0.7, 0.2)):
        image = np.zeros((*size, 3), np.uint8)
        x, y = int(x * size[1]), int(y * size[0])
        image[y - 1 : y + 2, x - 1 : x + 2] = 90
        image[y, x] = 255
        images.append(image)
        places.append((x, y))
    for [pose], place in zip(parse([], images), places, strict=True):
        pixel = 1.25 * max(size[1] / WIDTH, size[0] / HEIGHT)  # of the network's, in the image's
        np.testing.assert_allclose(pose.joints, np.tile(place, (12, 1)), atol=max(pixel, 1) / 2 + 1)


def test_labels_with_the_seen_feet_from_a_users_archive(crops, tmp_path):
    peaks = standing(26)
    file = save_network(tmp_path / "end2end.onnx", peaks)
    archive = tmp_path / "rtmpose.zip"
    with zipfile.ZipFile(archive, "w") as content:
        content.write(file, "20230831/rtmpose_onnx/rtmpose/end2end.onnx")
    images = folder_images(str(crops))
    parser = choose_parser("rtmpose", images, model=str(archive))
    assert parser.settings["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert make_masks(images, parser.make, parser.settings, workers=1, batch_size=2) == []
    keypoints = np.column_stack([in_crop(peaks[:, :2]), peaks[:, 2]])
    pose = pose_from_keypoints(keypoints, 0.3, skeleton="halpe26")
    for name in "abc":
        labels = read_labels(tmp_path / f"crops_ps_label/{name}.png")
        np.testing.assert_array_equal(labels, draw_parts(pose, *CROP))
    for foot in pose.feet:  # not under the ankles, where a guess would have put them
        for x, y in foot:
            assert labels[round(y), round(x)] == 7
    guessed = draw_parts(pose_from_keypoints(keypoints[:17], 0.3), *CROP)
    assert (guessed == 7).any() and (labels == 7).nonzero()[1].max() > guessed.nonzero()[1].max()


def test_a_link_needs_its_hash_and_is_taken_with_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    (tmp_path / "host").mkdir()
    save_network(tmp_path / "host/pose.onnx", standing(17))
    digest = hashlib.sha256((tmp_path / "host/pose.onnx").read_bytes()).hexdigest()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = partial(Quiet, directory=str(tmp_path / "host"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        link = f"http://127.0.0.1:{server.server_port}/pose.onnx"
        with pytest.raises(ParsingError, match="expected #sha256= and the file's SHA-256"):
            find_model(link)
        with pytest.raises(WeightsError, match=f"has the SHA-256 {digest} instead of 0000"):
            find_model(f"{link}#sha256={'0' * 64}")
        found = find_model(f"{link}#sha256={digest}")
        server.shutdown()
    assert len(RTMPose(found)([], [np.zeros((*CROP, 3), np.uint8)])) == 1


def test_models_that_cannot_be_used(crops, tmp_path, monkeypatch, capsys):
    def error(model):
        assert make(crops, "--model", str(model)) == 2
        return capsys.readouterr().err

    assert "there is no RTMPose nothing: expected rtmpose-m-halpe26, rtmpose-m-coco, " in error(
        "nothing"
    )
    folder = tmp_path / "folder"
    folder.mkdir()
    assert "expected one end2end.onnx or one other .onnx in it or below, found 0" in error(folder)
    (folder / "end2end.onnx").write_bytes(b"no network")
    assert "cannot be read as an ONNX file (" in error(folder)
    save_network(folder / "end2end.onnx", standing(17)[:5])
    assert "found [(1, 5, 96), (1, 5, 128)]" in error(folder)
    assert not list(tmp_path.glob("crops_ps_label/*.png"))
    monkeypatch.setattr(rtmpose, "find_model", lambda model: folder / "end2end.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert 'pip install "torchreid-magnifier[rtmpose]"' in error("rtmpose-m-halpe26")
