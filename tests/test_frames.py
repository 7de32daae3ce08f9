"""People in a frame: the network's answer to each box, whatever is around it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torchreid import models as torchreid_models

from torchreid_magnifier.hub import Card
from torchreid_magnifier.inference.frames import BoxError
from torchreid_magnifier.inference.open import Network
from torchreid_magnifier.parts import NUM_PARTS

HEIGHT, WIDTH = 120, 160
BOXES = np.array([[10, 5, 50, 110], [90, 20, 120, 100], [0, 0, 160, 120], [70.4, 30.5, 82.2, 61.9]])


def opened(name):
    torch.manual_seed(0)
    model = torchreid_models.build_model(name, 3, loss="triplet", pretrained=False)
    card = Card("made", name, 64, 32, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25))
    return Network(model.eval(), card)


@pytest.fixture(scope="module")
def network():
    return opened("magnifiernet_r18")


@pytest.fixture(scope="module")
def frame():
    """Smooth colours, as photographs have: pixels of noise would hide how crops are resized."""
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(noise).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))


def test_each_box_is_embedded_as_its_crop_is(network, frame):
    found = network.embed(frame, BOXES, order="rgb")
    assert found.vectors.dtype == found.visibility.dtype == np.float32
    assert found.vectors.shape == (4, network.model.embedding_size)
    assert found.visibility.shape == (4, NUM_PARTS) and not found.empty.any()
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(found.visibility.sum(1), 1, rtol=1e-5)
    outward = [(10, 5, 50, 110), (90, 20, 120, 100), (0, 0, 160, 120), (70, 30, 83, 62)]
    for row, (left, top, right, bottom) in enumerate(outward):
        crop = Image.fromarray(frame[top:bottom, left:right])
        with torch.no_grad():
            seen = network.model.inspect(network.preprocessing(crop)[None])
        expected = torch.nn.functional.normalize(seen.vector, dim=1)[0].numpy()
        assert found.vectors[row] @ expected > 0.9999
        np.testing.assert_allclose(found.visibility[row], seen.visibility[0], atol=0.04)


def test_the_order_of_the_channels_is_the_callers(network, frame):
    rgb = network.embed(frame, BOXES, order="rgb").vectors
    np.testing.assert_array_equal(network.embed(frame[..., ::-1], BOXES, order="bgr").vectors, rgb)
    assert (network.embed(frame, BOXES, order="bgr").vectors * rgb).sum(1).max() < 0.9999
    with pytest.raises(TypeError, match="order"):
        network.embed(frame, BOXES)


def test_batches_change_nothing(network, frame):
    whole = network.embed(frame, BOXES, order="rgb")
    for size in (1, 3):
        found = network.embed(frame, BOXES, order="rgb", batch_size=size)
        np.testing.assert_allclose(found.vectors, whole.vectors, atol=1e-5)


def test_what_lies_beyond_the_frame_is_cut_off(network, frame):
    beyond = [[-30, -5, 50, 110], [90, 20, 500, 1000]]
    inside = [[0, 0, 50, 110], [90, 20, WIDTH, HEIGHT]]
    found = network.embed(frame, beyond, order="rgb")
    np.testing.assert_array_equal(found.vectors, network.embed(frame, inside, order="rgb").vectors)


def test_empty_boxes_are_nan_in_their_place_or_an_error(network, frame):
    boxes = [[10, 5, 10, 110], BOXES[0], [200, 5, 220, 50], [10, -40, 30, -1], BOXES[1]]
    found = network.embed(frame, boxes, order="rgb")
    assert found.empty.tolist() == [True, False, True, True, False]
    assert np.isnan(found.vectors[found.empty]).all()
    assert np.isnan(found.visibility[found.empty]).all()
    expected = network.embed(frame, BOXES[:2], order="rgb")
    np.testing.assert_allclose(found.vectors[~found.empty], expected.vectors, atol=1e-5)
    message = r"3 of 5 boxes have no pixel in the frame of 160x120: number 0: .*of another size"
    with pytest.raises(BoxError, match=message):
        network.embed(frame, boxes, order="rgb", empty="error")


@pytest.mark.parametrize("boxes", [[], np.empty((0, 4)), np.array([])])
def test_no_boxes_give_no_rows(network, frame, boxes):
    found = network.embed(frame, boxes, order="bgr", empty="error")
    assert found.vectors.shape == (0, network.model.embedding_size)
    assert found.visibility.shape == (0, NUM_PARTS) and found.empty.shape == (0,)


def test_detections_of_supervision(network, frame):
    expected = network.embed(frame, BOXES, order="rgb").vectors
    found = network.embed(frame, SimpleNamespace(xyxy=BOXES.astype(np.float32)), order="rgb")
    np.testing.assert_array_equal(found.vectors, expected)
    supervision = pytest.importorskip("supervision")
    found = network.embed(frame, supervision.Detections(xyxy=BOXES), order="rgb")
    np.testing.assert_array_equal(found.vectors, expected)
    assert network.embed(frame, supervision.Detections.empty(), order="rgb").vectors.size == 0


def test_a_network_without_parts_has_no_visibility(frame):
    assert opened("magnifiernet_r18_g").embed(frame, BOXES, order="rgb").visibility is None


@pytest.mark.parametrize(
    "boxes, message",
    [
        ([[10, 20, 30]], r"shape \(N, 4\), found shape \(1, 3\)"),
        ([10, 20, 30, 40], r"shape \(N, 4\), found shape \(4,\)"),
        ([[10, 20, 30, np.nan]], "expected finite numbers, found number 0"),
        ([[1, 2, 3, 4], [80, 20, 30, 90]], "number 1: .* Are they x, y, width, height"),
        ([[0.1, 0.2, 0.3, 0.9]], "expected pixels, found no number above 1"),
        ("boxes", "expected numbers"),
    ],
)
def test_boxes_that_cannot_be_meant(network, frame, boxes, message):
    with pytest.raises(BoxError, match=message):
        network.embed(frame, boxes, order="rgb")


def test_frames_that_cannot_be_meant(network, frame):
    for wrong, found in (
        (frame[..., 0], r"uint8 of shape \(120, 160\)"),
        (frame / 255, "float64 of shape"),
        (frame.transpose(2, 0, 1), r"shape \(3, 120, 160\)"),
        ("frame.jpg", "found str"),
        (frame[:0], r"shape \(0, 160, 3\)"),
    ):
        with pytest.raises(BoxError, match=found):
            network.embed(wrong, BOXES, order="rgb")
    with pytest.raises(BoxError, match="'bgr' .* or 'rgb', found 'gbr'"):
        network.embed(frame, BOXES, order="gbr")
