"""Training with a teacher: the losses, what is kept, going on, both torchreids, mistakes."""

import builtins
import re

import onnx
import pytest
import torch
import torch.nn.functional as F
import yaml
from networks import small
from onnx import TensorProto, helper
from PIL import Image

from torchreid_magnifier import open_network
from torchreid_magnifier.cli import main
from torchreid_magnifier.losses.distillation import cosine_distillation, similarity_distillation
from torchreid_magnifier.training import teacher as teachers

TREE = {
    "model": {
        "name": "magnifiernet_r18",
        "pretrained": False,
        "options": {"backbone": "slim"},
    },
    "data": {
        "sources": ["market1501_masks"],
        "height": 32,
        "width": 16,
        "workers": 0,
        "transforms": ["random_flip", "random_erase"],
    },
    "sampler": {"train_sampler": "RandomIdentitySampler"},
    "train": {"max_epoch": 2, "batch_size": 8, "stepsize": [10]},
    "loss": {"name": "triplet", "triplet": {"weight_x": 1.0}},
    "test": {"ranks": [1]},
    "use_gpu": False,
}

PLAIN = "model.name osnet_x0_25 model.options {} data.sources ['market1501']".split()


def write_network(path, shape=(1, 3, 16, 8), kind=TensorProto.FLOAT, op="GlobalAveragePool"):
    """A network whose embedding is the mean colour."""
    images = helper.make_tensor_value_info("images", kind, shape)
    colour = helper.make_tensor_value_info("colour", kind, None)
    node = helper.make_node(op, ["images"], ["colour"])
    graph = helper.make_graph([node], "colour", [images], [colour])
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def colour(tmp_path_factory):
    return write_network(tmp_path_factory.mktemp("teacher") / "colour.onnx")


@pytest.fixture
def train(tmp_path, noise_root, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(TREE))

    def run(teacher, *options, folder="log", root=noise_root):
        given = ["--config-file", str(file), "--root", str(root), *options]
        more = ["teacher.weights", str(teacher), "data.save_dir", str(tmp_path / folder)]
        return main(["train", *given, *more])

    return run


def test_losses_equal_plain_loops():
    ours, theirs = torch.randn(5, 4).double(), torch.randn(5, 3).double()

    def cosine(a, b):
        return float(a @ b / a.norm() / b.norm())

    pairs = [(i, j) for i in range(5) for j in range(5) if i != j]
    expected = sum(
        (cosine(ours[i], ours[j]) - cosine(theirs[i], theirs[j])) ** 2 for i, j in pairs
    ) / len(pairs)
    assert float(similarity_distillation(ours, theirs)) == pytest.approx(expected)
    others = torch.randn(5, 4).double()
    expected = sum(1 - cosine(a, b) for a, b in zip(ours, others)) / 5
    assert float(cosine_distillation(ours, 3 * others)) == pytest.approx(expected)
    assert similarity_distillation(ours[:1], theirs[:1]) == 0  # a batch of one


@pytest.mark.parametrize("name", ["magnifiernet_r18", "san_r18_encoder"])
def test_the_teachers_losses_join_the_engines(name):
    """Gradients with a teacher less those without are those of the two losses, written out."""
    target, pids = F.normalize(torch.randn(8, 3)), torch.arange(8) // 4
    images = torch.randn(8, 3, 32, 32)
    gradients = []
    for taught in (False, True):
        model = small(name).train()
        model.learn_from(3, cosine=2.0, similarity=7.0)
        extra = torch.zeros(8, 1, 32, 32) if model.needs else torch.zeros(8, 0, 32, 32)
        torch.manual_seed(1)
        given = {"teacher": target} if taught else {}
        logits, _ = model(torch.cat([images, extra], 1), **given)
        F.cross_entropy(logits[0], pids).backward()
        last = model.backbone
        gradients.append({n: p.grad for n, p in last.named_parameters() if p.grad is not None})
    torch.manual_seed(1)
    model = small(name).train()
    model.learn_from(3)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        rgb, given = model._split_input(torch.cat([images, extra], 1))
        model._pass = model._enter_forward_pass(8)
        found = model.forward_train(rgb, model.prepare(rgb, given))
    own = found.embeddings
    assert list(own) == list(model.branches)
    loss = 7 * similarity_distillation(torch.cat(list(own.values()), 1), target)
    for branch, layer in model.classifier.teacher.items():
        loss = loss + 2 * cosine_distillation(layer(own[branch]), target)
    loss.backward()
    for key, parameter in model.backbone.named_parameters():
        difference = gradients[1][key] - gradients[0][key]
        torch.testing.assert_close(difference, parameter.grad, rtol=1e-3, atol=1e-5)


def test_a_run_with_a_teacher_goes_on_to_the_same_weights(train, colour, tmp_path, monkeypatch):
    assert train(colour, folder="whole") == 0
    (cache,) = (tmp_path / "torch").rglob("teacher-*.pt")
    # Computed once for each image and its mirror image: later runs read what is kept.
    monkeypatch.setattr(teachers, "_embeddings", lambda *_: pytest.fail("computed again"))
    assert train(colour, "train.max_epoch", "1", folder="parts") == 0
    assert train(colour, folder="parts") == 0
    ends = [
        torch.load(tmp_path / name / "model" / "model.pth.tar-2") for name in ("whole", "parts")
    ]
    assert ends[0]["state_dict"]["classifier.teacher.fusion.weight"].shape[0] == 3
    for name, tensor in ends[0]["state_dict"].items():
        assert torch.equal(tensor, ends[1]["state_dict"][name]), name
    log = "".join(path.read_text() for path in (tmp_path / "whole").glob("train.log*"))
    assert "loss_teacher_global" in log and "loss_teacher_pairs" in log
    card = open_network(tmp_path / "whole" / "model" / "model.pth.tar-2").card
    assert card.start == "teacher colour.onnx"
    monkeypatch.undo()
    cache.write_bytes(cache.read_bytes()[:100])  # damaged: made again
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    assert train(colour, "train.max_epoch", "1", folder="again") == 0
    assert len(torch.load(cache)["embeddings"]) == 16


def test_embeddings_are_the_mean_of_both_views(colour, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    Image.new("RGB", (8, 16), (200, 100, 50)).save(tmp_path / "a.png")
    cfg = teachers_config(colour, "bgr")
    found = teachers.Targets(teachers.open_teacher(cfg), [str(tmp_path / "a.png")])
    expected = F.normalize(torch.tensor([[50.0, 100, 200]]))
    torch.testing.assert_close(found([str(tmp_path / "a.png")]), expected)


def test_a_network_of_this_package_teaches():
    cfg = teachers_config("magnifiernet_osnet_x0_25_market1501", "normalised")
    teacher = teachers.open_teacher(cfg)
    assert (teacher.height, teacher.width) == (256, 128) and teacher.size == 1024


def teachers_config(weights, given):
    from torchreid_magnifier.training.config import default_config

    cfg = default_config()
    cfg.teacher.weights, cfg.teacher.input = str(weights), given
    return cfg


def test_mistakes_are_found_before_the_data_is_read(train, colour, tmp_path, capsys, monkeypatch):
    (tmp_path / "torn.onnx").write_bytes(colour.read_bytes()[:40])
    (tmp_path / "torn.xml").write_text("<net>")
    wide = write_network(tmp_path / "wide.onnx", (1, 6, 16, 8))
    many = write_network(tmp_path / "many.onnx", (4, 3, 16, 8))
    double = write_network(tmp_path / "double.onnx", kind=TensorProto.DOUBLE, op="Identity")
    cases = {
        ("none.onnx",): "there is no file none.onnx",
        ("none",): "there are no weights 'none'",
        (tmp_path / "torn.onnx",): "cannot use .*torn.onnx",
        (tmp_path / "torn.xml",): "cannot use .*torn.xml",
        (wide,): "takes 1 x 6 x 16 x 8: expected a network of one input, images",
        (many,): "takes 4 x 3 x 16 x 8",
        (double,): "expected a network of one input",
        (colour, "teacher.input", "grey"): "teacher.input: expected normalised, rgb, bgr, found",
        (colour, "teacher.cosine", "-1.0"): "neither may be negative",
        (colour, *PLAIN): "for models of this package",
    }
    for given, message in cases.items():
        assert train(*map(str, given), root="nowhere") == 2
        assert re.search(message, capsys.readouterr().err), given

    imported = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "onnxruntime":
            raise ImportError("no module")
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    teachers._open.cache_clear()
    assert train(colour) == 2
    assert 'pip install "torchreid-magnifier[teacher]"' in capsys.readouterr().err
