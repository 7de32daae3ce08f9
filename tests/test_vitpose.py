"""The parser vitpose: transformers' own classes with small random weights."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from torchreid_magnifier.annotate import ParsingError
from torchreid_magnifier.annotate.images import folder_images
from torchreid_magnifier.annotate.masks import make_masks
from torchreid_magnifier.annotate.parsers.vitpose import MIN_SCORE, VitPose
from torchreid_magnifier.cli import main
from torchreid_magnifier.images import read_labels


def save_model(folder, keypoints=17, experts=1):
    """Writes a small ViTPose with random weights, as the Hub's folders are."""
    transformers = pytest.importorskip("transformers", "4.48")
    torch.manual_seed(0)
    backbone = transformers.VitPoseBackboneConfig(
        image_size=[64, 48],
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        out_indices=[1],
        num_experts=experts,
        part_features=8,
    )
    labels = {number: str(number) for number in range(keypoints)}
    config = transformers.VitPoseConfig(backbone_config=backbone, id2label=labels)
    transformers.VitPoseForPoseEstimation(config).save_pretrained(folder)
    size = {"height": 64, "width": 48}
    transformers.VitPoseImageProcessor(size=size).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("hub") / "vitpose")


@pytest.fixture
def crops(tmp_path):
    folder = tmp_path / "crops"
    folder.mkdir()
    noise = np.random.default_rng(0)
    for number, size in enumerate([(64, 32), (128, 64), (64, 48), (50, 50), (20, 7)]):
        pixels = noise.integers(0, 255, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    Image.fromarray(pixels[..., 0]).save(folder / "grey.png")
    (folder / "short.png").write_bytes((folder / "0.png").read_bytes()[:-800])
    return folder


def labels_of(crops):
    return {path.name: path.read_bytes() for path in crops.parent.glob("crops_ps_label/*.png")}


def test_end_to_end_and_the_same_from_several_processes(model, crops, capsys):
    words = ["masks", "make", "--images", str(crops), "--parser", "vitpose", "--model", model]
    words += ["--batch-size", "2", "--min-score=-9", "--workers", "2"]
    assert main(words) == 1  # for the image that is cut short
    assert (
        f" {crops}/short.png: cannot be read as an image (image file is truncated)\n"
        in capsys.readouterr().err
    )
    written = labels_of(crops)
    shapes = {n: read_labels(crops.parent / "crops_ps_label" / n).shape for n in written}
    sizes = {"0": (64, 32), "1": (128, 64), "2": (64, 48), "3": (50, 50), "4": (20, 7)}
    assert shapes == {f"{n}.png": size for n, size in sizes.items()} | {"grey.png": (20, 7)}
    record = json.loads((crops.parent / "crops_ps_label" / "masks.json").read_text())
    assert record["parser"] == "vitpose"
    assert record["settings"]["model"] == model
    assert record["settings"]["transformers"] == sys.modules["transformers"].__version__

    images = folder_images(str(crops))
    make_masks(images, lambda: VitPose(model, -9), {}, batch_size=2, workers=1, overwrite=True)
    assert labels_of(crops) == written


class HeatMaps:
    """In place of a network's answer: a peak of the given height for each keypoint."""

    def __init__(self, peaks, heights):
        rows, columns = torch.arange(64.0)[:, None], torch.arange(48.0)
        self.heatmaps = torch.stack(
            [
                height * torch.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8)
                for (x, y), height in zip(peaks, heights, strict=True)
            ]
        )[None]


def test_peaks_are_found_in_the_whole_image_and_faint_ones_are_unknown(model, monkeypatch):
    parser = VitPose(model)
    peaks = [(10 + 1.5 * number, 5 + 3 * number) for number in range(17)]
    heights = [0.9] * 16 + [MIN_SCORE - 0.01]
    monkeypatch.setattr(parser._model, "forward", lambda *_, **__: HeatMaps(peaks, heights))
    [[pose]] = parser(["a.jpg"], [np.zeros((128, 64, 3), np.uint8)])
    # The box: the image, made wider to 3 : 4 and larger by a quarter, about the image's middle.
    width, height = 1.25 * 128 * 3 / 4, 1.25 * 128
    for number, (x, y) in enumerate(peaks[5:16]):
        expected = x / 47 * width - width / 2 + 32, y / 63 * height - height / 2 + 64
        np.testing.assert_allclose(pose.joints[number], expected, atol=0.5)
    assert np.isnan(pose.joints[11]).all()


def test_an_image_in_which_no_joint_is_sure_has_nobody(model, monkeypatch):
    parser = VitPose(model)
    faint = HeatMaps([(24, 32)] * 17, [0.1] * 17)
    monkeypatch.setattr(parser._model, "forward", lambda *_, **__: faint)
    [[pose]] = parser(["a.jpg"], [np.zeros((128, 64, 3), np.uint8)])
    assert len(pose.points) == 0


def test_a_vitpose_plus(tmp_path):
    parser = VitPose(save_model(tmp_path / "plus", experts=3), min_score=-9)
    images = [np.zeros((128, 64, 3), np.uint8), np.full((90, 80, 3), 200, np.uint8)]
    poses = parser(["a.jpg", "b.jpg"], images)
    assert [np.isfinite(pose.joints).all() for [pose] in poses] == [True, True]


def test_a_model_of_other_keypoints(tmp_path):
    other = save_model(tmp_path / "other", keypoints=14)
    with pytest.raises(ParsingError) as error:
        VitPose(other)
    assert str(error.value) == (
        f"{other}: expected a ViTPose that finds COCO's 17 keypoints, found 14"
    )


ADVICE = (
    "Download config.json, preprocessor_config.json and model.safetensors of a ViTPose, such as "
    "https://huggingface.co/usyd-community/vitpose-base-simple/tree/main, into a folder and give "
    "it by --model FOLDER"
)


def test_weights_that_are_not_there(tmp_path, crops, capsys):
    pytest.importorskip("transformers", "4.48")
    words = ["masks", "make", "--images", str(crops), "--parser", "vitpose"]
    assert main([*words, "--model", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    start = f"torchreid-magnifier masks make: error: ViTPose's weights {tmp_path} could not be "
    assert err.splitlines()[-1].startswith(start + "loaded (OSError: ")
    assert err.endswith(f"). {ADVICE}\n")
    assert not labels_of(crops)


def test_weights_that_are_incomplete(tmp_path):
    folder = save_model(tmp_path / "part")
    from safetensors.torch import load_file, save_file

    state = load_file(f"{folder}/model.safetensors")
    lost = next(name for name in state if name.startswith("head"))
    del state[lost]
    save_file(state, f"{folder}/model.safetensors", {"format": "pt"})
    with pytest.raises(ParsingError) as error:
        VitPose(folder)
    assert str(error.value) == (
        f"{folder}: expected all weights of a ViTPose, but 1 are missing, such as {lost}. {ADVICE}"
    )


def test_without_transformers(crops, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert main(["masks", "make", "--images", str(crops), "--parser", "vitpose"]) == 2
    err = capsys.readouterr().err
    assert "error: the parser vitpose needs transformers 4.48 (" in err
    assert err.endswith('pip install "torchreid-magnifier[parsing]"\n')


def test_the_model_is_an_option_of_vitpose_only(crops, capsys):
    assert main(["masks", "make", "--images", str(crops), "--model", "x"]) == 2
    expected = "error: --model goes with --parser vitpose or rtmpose\n"
    assert capsys.readouterr().err.endswith(expected)
