"""The recipe of the Market-1501 weights, on noise: what it writes, and that it can be killed."""

import csv
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import programs
import pytest
import torch
from onnx import TensorProto, helper
from safetensors.torch import load_file
from torchreid import models as torchreid_models

from torchreid_magnifier import open_network
from torchreid_magnifier.errors import MagnifierError

TINY = ["--batch", "8", "--precision", "float32", "--phases", "32x16:1,48x32:1"]


@pytest.fixture(scope="module")
def recipe():
    return programs.load("examples/train_market1501.py")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    """A network whose embedding is the mean colour, of one image at a time."""
    path = tmp_path_factory.mktemp("teacher") / "colour.onnx"
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 16, 8])
    colour = helper.make_tensor_value_info("colour", TensorProto.FLOAT, [1, 3, 1, 1])
    node = helper.make_node("GlobalAveragePool", ["images"], ["colour"])
    graph = helper.make_graph([node], "colour", [images], [colour])
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def whole(recipe, teacher, noise_root, tmp_path_factory) -> Path:
    """The result of an undisturbed run."""
    out = tmp_path_factory.mktemp("whole")
    return run(recipe, noise_root, out, teacher)


def log(out: Path) -> list[list[str]]:
    """The rows of train.csv; the time that an epoch took comes last."""
    with open(out / "train.csv", newline="") as file:
        return list(csv.reader(file))


def run(recipe, root, out, teacher=None, *more) -> Path:
    given = ["--teacher", str(teacher)] if teacher else []
    return recipe.main(["--root", str(root), "--out", str(out), *TINY, *given, *more])


def test_the_result_opens(whole):
    network = open_network(whole)
    assert (network.card.height, network.card.width) == (48, 32)
    assert network.card.num_classes == 4
    # no paths of this machine
    assert network.card.start == "teacher colour.onnx"
    assert network.card.command == (
        "examples/train_market1501.py --phases 32x16:1,48x32:1 --batch 8 --precision float32"
    )
    with torch.inference_mode():
        vector = network.model(torch.zeros(1, 3, 48, 32))
        assert vector.isfinite().all()
        torch.testing.assert_close(
            open_network(whole.parent / "ema.pth").model(torch.zeros(1, 3, 48, 32)), vector
        )


def test_the_log_has_every_loss_of_every_epoch(whole):
    with open(whole.parent / "train.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["size"] for line in lines] == ["32x16", "48x32"]
    branches = ("global", "adversarial", "fusion")
    names = {f"ce_{branch}" for branch in (*branches, "regions")} | {"triplet", "loss_mask"}
    names |= {f"teacher_{branch}" for branch in (*branches, "pairs")}
    for line in lines:
        assert names <= line.keys()
        assert all(0 < float(line[name]) < 10 for name in names)


@pytest.mark.parametrize("files", [1, 4, 6], ids=["in epoch 1", "after epoch 1", "in epoch 2"])
def test_a_run_goes_on_to_the_same_result(
    files, whole, recipe, teacher, noise_root, tmp_path, interrupted_after
):
    with interrupted_after(files), pytest.raises(KeyboardInterrupt):
        run(recipe, noise_root, tmp_path, teacher)
    assert (tmp_path / "checkpoint.pt").is_file() == (files > 1)
    found, expected = map(load_file, (run(recipe, noise_root, tmp_path, teacher), whole))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert [line[:-1] for line in log(tmp_path)] == [line[:-1] for line in log(whole.parent)]


def test_a_run_with_other_settings_does_not_go_on(whole, recipe, teacher, noise_root):
    with pytest.raises(MagnifierError, match="another lr"):
        run(recipe, noise_root, whole.parent, teacher, "--lr", "1")


def test_the_teacher_gives_the_mean_of_both_views(whole, recipe, noise_root):
    images = recipe.read(noise_root)
    colours = images.pixels.mean((1, 2))[:, ::-1]  # a mirror image has the same
    expected = colours / np.linalg.norm(colours, axis=1, keepdims=True)
    found = torch.load(whole.parent / "teacher.pt", weights_only=True)
    assert found["names"] == images.names
    np.testing.assert_allclose(found["embeddings"], expected, atol=5e-3)


def test_a_teacher_of_openvino(recipe, teacher, tmp_path):
    openvino = pytest.importorskip("openvino")
    path = tmp_path / "colour.xml"
    openvino.save_model(openvino.Core().read_model(teacher), path)
    embed, shape, _ = recipe.open_file(path)
    assert shape == [1, 3, 16, 8]
    image = np.random.default_rng(0).uniform(0, 255, (1, 3, 16, 8)).astype(np.float32)
    np.testing.assert_allclose(embed(image), image.mean((0, 2, 3)), rtol=1e-3)


def test_start_weights_are_the_backbone_of_the_beginning(recipe, tmp_path):
    osnet = torchreid_models.build_model("osnet_x0_25", num_classes=3, pretrained=False)
    torch.save(osnet.state_dict(), tmp_path / "start.pth")
    args = recipe.options().parse_args(["--out", ".", "--start", str(tmp_path / "start.pth")])
    model = recipe.Learner(args, 4, 0).model
    expected = osnet.state_dict()
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, expected[name])
    other = torchreid_models.build_model("osnet_x0_5", num_classes=3, pretrained=False)
    torch.save(other.state_dict(), args.start)
    with pytest.raises(MagnifierError, match="weights on OSNet x0.25"):
        recipe.Learner(args, 4, 0)


def test_a_second_round_begins_with_all_that_the_first_ended_with(whole, recipe):
    path = whole.parent / "ema.pth"
    args = recipe.options().parse_args(["--out", ".", "--start", str(path)])
    expected = torch.load(path, weights_only=True)["state_dict"]
    found = recipe.Learner(args, 4, 0).model.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_mean_of_rounds(whole, noise_root, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(programs.ROOT / "examples")
    average = programs.load("examples/average_market1501.py")
    monkeypatch.setattr(average, "BATCH", 8)
    first, second = whole.parent / "ema.pth", tmp_path / "second.pth"
    ended = torch.load(first, weights_only=True)
    for value in ended["state_dict"].values():
        value.mul_(3)
    torch.save(ended, second)
    given = ["--root", str(noise_root), "--out", str(tmp_path), str(first)]
    found = torch.load(average.main([*given, str(second)]), weights_only=True)["state_dict"]
    expected = torch.load(first, weights_only=True)["state_dict"]
    for name, value in expected.items():
        if "num_batches" not in name:  # statistics are measured, weights averaged
            assert torch.equal(found[name], 2 * value) != ("running" in name), name
    open_network(tmp_path / "ema.pth")
    ended["network"]["height"] = 64
    for foreign, found in (ended, "'height': 48.* found .*'height': 64"), ({}, "no training wrote"):
        torch.save({"state_dict": ended["state_dict"], **foreign}, second)
        with pytest.raises(MagnifierError, match=f"expected ema.pth of a round .* {found}"):
            average.main([*given, str(second), str(first)])


def test_options_of_the_model_are_those_of_the_result(recipe, noise_root, tmp_path, capsys):
    given = ["--options", "{fusion: gru}"]
    network = open_network(run(recipe, noise_root, tmp_path, None, *given))
    args = recipe.options().parse_args(["--out", ".", "--phases", "32x16:1", *given])
    ended = torch.load(tmp_path / "ema.pth", weights_only=True)["state_dict"]
    images = recipe.read(noise_root)
    images = images._replace(cameras=images.cameras % 2)  # two images of everybody by each
    recipe.test(args, ended, images, np.arange(len(images.names)))
    assert "8 queries held out: rank-1" in capsys.readouterr().out
    assert network.card.options == {"fusion": "gru"}
    assert "--options '{fusion: gru}'" in network.card.command
    assert hasattr(network.model.fusion_branch.fusion, "gru")
    for wrong in ("fusion", "{a: ", "{fusion: gru, fusion: lstm}"):
        with pytest.raises(SystemExit):
            recipe.options().parse_args(["--out", ".", "--options", wrong])
        assert "expected NAME: VALUE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("{fusoin: gru}", "did you mean 'fusion'"),
        ("{fusion: sum}", "Unknown fusion 'sum'"),
        ("{precision: float32}", "multiple values for keyword argument 'precision'"),
        ("{1: 2}", "keywords must be strings"),
    ],
)
def test_wrong_options_stop_before_anything_is_read(wrong, message, recipe, tmp_path):
    with pytest.raises(MagnifierError, match=message):
        recipe.main(["--root", "nowhere", "--out", str(tmp_path / "run"), "--options", wrong])
    assert not (tmp_path / "run").exists()


def test_the_rounds_of_the_weights_that_ship(recipe, tmp_path):
    """Each begins with what an earlier one wrote; the mean comes last."""
    (python := tmp_path / "python").write_text("""#!/bin/bash
for word; do echo "$word"; done; echo
""")
    python.chmod(0o755)
    out = tmp_path / "a log"
    (out / "first").mkdir(parents=True)
    (out / "first" / "teacher.pt").write_text("embeddings")
    script = programs.ROOT / "examples" / "train_market1501.sh"
    for _ in range(2):  # started again
        found = subprocess.run(
            ["bash", script, "root", "osnet.pth", "teacher.xml", out],
            env={**os.environ, "PYTHON": str(python)},
            capture_output=True,
            text=True,
            check=True,
        )
    written = [Path("osnet.pth")]
    for program, *given in (call.split("\n") for call in found.stdout.strip().split("\n\n")):
        if Path(program).name == "train_market1501.py":
            args = recipe.options().parse_args(given)
            assert args.start in written and args.teacher == Path("teacher.xml")
            assert recipe.sizes_of(args.phases)[-1] == (256, 128)
            assert (args.out / "teacher.pt").read_text() == "embeddings"
            written.append(args.out / "ema.pth")
        else:
            assert Path(program).name == "average_market1501.py"
            rounds = given[given.index("--out") + 2 :]
            assert len(rounds) == 2 and set(map(Path, rounds)) <= set(written)
            written.append(Path(given[given.index("--out") + 1], "ema.pth"))
    assert Path(program).name == "average_market1501.py" and Path(program).is_file()


def test_heads_of_a_small_weight_have_no_weight_decay(recipe):
    learner = recipe.Learner(recipe.options().parse_args(["--out", "."]), 4, 0)
    names = {id(value): name for name, value in learner.model.named_parameters()}
    decay = {
        names[id(value)]: group["weight_decay"]
        for group in learner.optimizer.param_groups
        for value in group["params"]
    }
    assert (
        decay["classifier.region_head.weight"] == 0 == decay["fusion_branch.region_necks.0.weight"]
    )
    assert decay["classifier.fusion.weight"] == 5e-4 and decay.keys() == {*names.values()}


def test_a_part_of_the_network_is_trained_alike(recipe, noise_root, tmp_path):
    name = "magnifiernet_osnet_x0_25_g"
    packed = run(recipe, noise_root, tmp_path, None, "--model", name)
    assert open_network(packed).card.model == name


def test_identities_that_are_held_out_are_tested_on(recipe, noise_root, tmp_path, capsys):
    root = tmp_path / "data"
    shutil.copytree(noise_root, root)
    for path in [*root.rglob("*_00.*")]:  # a second image of everybody by every camera
        shutil.copy(path, path.with_name(path.name.replace("_00.", "_01.")))
    packed = run(recipe, root, tmp_path / "out", None, "--hold-out", "2")
    assert open_network(packed).card.num_classes == 2
    # Both images by a camera are equal, but the one by the query's own camera does not count.
    assert "8 queries held out: rank-1" in capsys.readouterr().out


def test_what_cannot_be_meant_is_an_error(recipe, noise_root, tmp_path):
    for phases in ("128x64", "128:3", "100x64:1", "axb:1"):
        with pytest.raises(MagnifierError, match="--phases"):
            run(recipe, noise_root, tmp_path, None, "--phases", phases)
    for batch in ("64", "6"):
        with pytest.raises(MagnifierError, match="multiple of --instances 4, up to 16"):
            run(recipe, noise_root, tmp_path, None, "--batch", batch)
