"""The example of detectors: made ONNX files in each layout, and one of torchvision's, untrained."""

import numpy as np
import programs
import pytest
import torch
from PIL import Image
from torchvision.models import detection

from torchreid_magnifier.inference.detections import read_detections

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

# In a detector's image of 32x16 (wide, tall): a person, the same once more, a weak one, a dog.
CORNERS = [[2, 2, 10, 14], [2, 2, 10, 13.5], [20, 0, 30, 16], [12, 4, 16, 12]]
SCORES, CLASSES = [0.9, 0.8, 0.3, 0.7], [0, 0, 0, 1]


@pytest.fixture(scope="module")
def example():
    return programs.load("examples/detect_people.py")


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    for number in range(2):
        Image.new("RGB", (64, 48), (90, 99, 70 + number)).save(folder / f"{number}.png")
    return folder


def save(path, outputs):
    """A network that gives constants, whatever it sees."""
    node, made, tensor = onnx.helper.make_node, [], onnx.TensorProto.FLOAT
    infos = []
    for name, array in outputs.items():
        value = onnx.numpy_helper.from_array(array)
        made.append(node("Constant", [], [name], value=value))
        infos.append(onnx.helper.make_tensor_value_info(name, value.data_type, array.shape))
    given = onnx.helper.make_tensor_value_info("images", tensor, [1, 3, 16, 32])
    graph = onnx.helper.make_graph(made, "made", [given], infos)
    versions = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=versions, ir_version=8), path)
    return str(path)


def layouts():
    boxes, scores, classes = (np.array(x, np.float32) for x in (CORNERS, SCORES, CLASSES))
    centres, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    by_class = np.where(classes[:, None] == [0, 1], scores[:, None], 0).astype(np.float32)
    once = [0, 2, 3]
    labels = classes.astype(np.int64)
    yield {"boxes": boxes[once], "labels": labels[once], "scores": scores[once]}
    yield {"out": np.concatenate([boxes, scores[:, None], classes[:, None]], 1)[None, once]}
    yield {"out": np.concatenate([centres, sizes, by_class], 1).T[None].copy()}


@pytest.mark.parametrize("layout", list(layouts()), ids=["torchvision", "suppressed", "raw"])
def test_an_onnx_file_in_any_layout(example, frames, tmp_path, layout):
    detect = example.onnx_detector(save(tmp_path / "made.onnx", layout))
    assert example.write(str(frames), tmp_path / "boxes.csv", detect, 0, 0.5) == 2
    found = read_detections([(frames, tmp_path / "boxes.csv")])
    assert [frame.number for frame in found.frames] == [0, 1]
    for frame in found.frames:
        np.testing.assert_allclose(frame.boxes, [[4, 6, 20, 42]])  # in the frame's pixels
        np.testing.assert_allclose(frame.scores, [0.9], rtol=1e-4)


def test_a_layout_that_is_not_known_says_what_was_found(example, frames, tmp_path):
    path = save(tmp_path / "made.onnx", {"heat": np.zeros((4, 4), np.float32)})
    with pytest.raises(SystemExit, match=r"found \{'heat': \(4, 4\)\}"):
        example.onnx_detector(path)(np.zeros((9, 9, 3), np.uint8))


def test_a_detector_of_torchvision(example, frames, tmp_path):
    torch.manual_seed(0)
    options = dict(weights=None, weights_backbone=None, num_classes=3, score_thresh=0.0)
    made = detection.ssdlite320_mobilenet_v3_large(**options, detections_per_img=5)
    detect = example.torchvision_detector(made)
    count = example.write(str(frames), tmp_path / "boxes.csv", detect, 1, 0.0)
    assert 0 < count == len(read_detections([(frames, tmp_path / "boxes.csv")])) <= 10
