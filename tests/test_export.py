"""Exported networks: the same answers as the network's own, in one file that says what it is."""

import os
import sys
from pathlib import Path

import onnx
import pytest
import torch

import torchreid_magnifier
from torchreid_magnifier.cli import FAILED, USAGE_ERROR, main
from torchreid_magnifier.hub import Card
from torchreid_magnifier.inference.export import (
    ExportError,
    ParityError,
    Settings,
    export_network,
    onnx_file,
    pt2_file,
    read_card,
)
from torchreid_magnifier.inference.export.parity import TOLERANCE, compare, pedestrians
from torchreid_magnifier.inference.export.program import (
    InferenceGraph,
    output_names,
    outputs_of,
    trace,
)
from torchreid_magnifier.inference.export.writing import card_for
from torchreid_magnifier.inference.open import Network, Preprocessing
from torchreid_magnifier.models import _ENTRIES, list_models
from torchreid_magnifier.models import build as build_model
from torchreid_magnifier.parts import PARTS

SMALLEST = "magnifiernet_r18_g"
PREPROCESSING = Preprocessing(64, 32, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
# Options of variants that only training reads: by them, several names share one graph.
TRAINING_ONLY = {
    "sampling",
    "num_kept_regions",
    "decoder_widths",
    "constraints",
    "identity",
    "precision",
}


def build(name, num_classes=3, **options):
    torch.manual_seed(0)
    model = build_model(name, num_classes=num_classes, loss="triplet", **options)
    for module in model.modules():  # as if trained: none of them is left out without being seen
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.normal_(module.running_mean, std=0.1)
    return model.eval()


def graph_options(name):
    """What the graph of a variant depends on."""
    cls, options = _ENTRIES[name]
    return {k: v for k, v in options.items() if k not in TRAINING_ONLY} | {"class": cls}


SMALL = [name for name in list_models() if "r18" in name]
GRAPHS = [n for i, n in enumerate(SMALL) if graph_options(n) not in map(graph_options, SMALL[:i])]


def opened(model, name, weights="weights/some.pth"):
    """A network as ``open_network`` would give it."""
    card = Card(
        weights,
        name,
        **vars(PREPROCESSING),
        sha256="ab" * 32,
        embedding_size=model.embedding_size,
        parts=PARTS if model.has_parts else (),
    )
    return Network(model, card)


@pytest.fixture
def network():
    """The smallest one."""
    return opened(build(SMALLEST), SMALLEST)


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "weights" / "some.pth"
    path.parent.mkdir()
    torch.save(build(SMALLEST).state_dict(), path)
    return path


def export(*arguments):
    return main(["export", *map(str, arguments)])


def options(checkpoint, model=SMALLEST, height=64, width=32):
    return ["--weights", checkpoint, "--model", model, "--height", height, "--width", width]


# ------------------------------------------------------------------ answers


@pytest.mark.parametrize(
    ("name", "options"),
    [*((name, {}) for name in GRAPHS), ("magnifiernet_r18", {"fusion": "mean"})],
)
def test_every_graph_in_both_formats(name, options):
    model = build(name, num_classes=1000, **options)
    card = opened(model, name).card
    program = trace(model, 64, 32)
    for form in (onnx_file, pt2_file):
        data = form.contents(program, card, Settings())
        batches = [*pedestrians(PREPROCESSING), torch.randn(3, 3, 64, 32)]
        parity = compare(model, form.runner(data, card), batches)
        parity.require()
        assert parity.images == 11 and parity.other_images <= 1
        assert parity.labels == (0 if not card.parts else 11 * 8 * 4)
        # Every tensor once, and nothing of training: classifiers of 1000 people would be a tenth.
        needed = sum(t.numel() * t.element_size() for t in program.state_dict.values())
        assert len(data[form.SUFFIX]) == pytest.approx(needed, rel=0.03)


@pytest.mark.parametrize("name", [n for n in SMALL if n not in GRAPHS])
def test_names_that_differ_in_training_alone_share_a_graph(name):
    twin = next(n for n in GRAPHS if graph_options(n) == graph_options(name))
    images = torch.randn(2, 3, 64, 32)
    ours, theirs = (InferenceGraph(build(n), images) for n in (name, twin))
    theirs.load_state_dict(ours.state_dict(), strict=True)
    for key, output in ours(images).items():
        assert torch.equal(output, theirs(images)[key])


def test_a_network_of_mixed_precision_is_exported_in_float32(tmp_path):
    model = build_model(SMALLEST, 3, loss="triplet", precision="bfloat16").eval()
    export = export_network(opened(model, SMALLEST), tmp_path / "a.pt2")
    assert export.parity.deviation < TOLERANCE and model.precision == "bfloat16"


def test_what_only_training_needs_is_left_out():
    for name in ("magnifiernet_r18", "san_r18"):
        program = trace(build(name), 64, 32)
        unused = [
            spec.target
            for spec, node in zip(
                program.graph_signature.input_specs,
                (node for node in program.graph.nodes if node.op == "placeholder"),
            )
            if not node.users and not str(spec.target).endswith("num_batches_tracked")
        ]
        assert not unused
        assert not [n for n in program.state_dict if "classifier" in n or "region_necks" in n]


def test_the_network_stays_as_it_is(network, tmp_path):
    before = {name: tensor.clone() for name, tensor in network.model.state_dict().items()}
    export_network(network, tmp_path / "a.pt2")
    after = network.model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)
    assert all(parameter.requires_grad for parameter in network.model.parameters())


# ------------------------------------------------------------------ the comparison itself


@pytest.fixture(scope="module")
def with_labels():
    """A network with a mask module that chooses clearly, and images."""
    model = build("magnifiernet_r18_g_m")
    return model, torch.randn(4, 3, 64, 32, generator=torch.Generator().manual_seed(0))


def answers(model, change=lambda outputs: None):
    """The network as an exported one, with a problem."""

    def run(images):
        seen = model.inspect(images)
        outputs = {name: output.clone() for name, output in outputs_of(seen).items()}
        change(outputs)
        return outputs

    return run


def test_parity_of_a_network_with_itself(with_labels):
    model, images = with_labels
    parity = compare(model, answers(model), [images])
    parity.require()
    assert (parity.images, parity.deviation, parity.labels) == (4, 0, 4 * 8 * 4)


@pytest.mark.parametrize("value", [1e-2, float("nan"), float("inf")])
def test_one_wrong_number_is_found(with_labels, value):
    model, images = with_labels

    def change(outputs):
        outputs["embedding"][3, 5] += value * outputs["embedding"].abs().max()

    parity = compare(model, answers(model, change), [images])
    if value == 1e-2:
        assert parity.deviation == pytest.approx(value, rel=1e-3)
    with pytest.raises(ParityError, match="embeddings by .* expected at most 0.0001"):
        parity.require()


def test_a_wrong_visibility_is_found(with_labels):
    model, images = with_labels
    run = answers(model, lambda outputs: outputs["visibility"][2].add_(1e-3))
    with pytest.raises(ParityError, match="visibilities by 0.001"):
        compare(model, run, [images]).require()


def test_a_wrong_label_is_found_where_the_network_is_sure(with_labels):
    model, images = with_labels

    def change(outputs):
        outputs["labels"][1, 2, 3] = (outputs["labels"][1, 2, 3] + 1) % len(PARTS)

    parity = compare(model, answers(model, change), [images])
    assert (parity.other_labels, parity.other_images) == (1, 1) and parity.margin > TOLERANCE
    with pytest.raises(ParityError, match="logits of part labels by"):
        parity.require()


def test_an_undecided_label_may_differ_and_its_image_is_left_out(with_labels):
    model, images = build("magnifiernet_r18_g_m"), with_labels[1]
    with torch.no_grad():  # the labels 2 and 3 are equal everywhere, and the largest
        model.mask_module.conv.weight[3] = model.mask_module.conv.weight[2]
        model.mask_module.conv.bias[2:4] = 1000

    def change(outputs):
        assert (outputs["labels"] == 2).all()
        outputs["labels"][1, 2, 3] = 3
        outputs["embedding"][1] = 0  # what came of the other label

    parity = compare(model, answers(model, change), [images])
    parity.require()
    assert (parity.other_labels, parity.other_images, parity.deviation) == (1, 1, 0)


def test_other_labels_everywhere_are_no_rounding(with_labels):
    model, images = with_labels
    run = answers(model, lambda outputs: outputs.update(labels=7 - outputs["labels"]))
    with pytest.raises(ParityError, match="all 4 images other part labels"):
        compare(model, run, [images]).require()


def test_outputs_of_another_shape_are_found(with_labels):
    model, images = with_labels
    run = answers(model, lambda outputs: outputs.update(labels=outputs["labels"][:, :4]))
    with pytest.raises(ParityError, match=r"gives .*\(4, 4, 4\).*, expected .*\(4, 8, 4\)"):
        compare(model, run, [images])


# ------------------------------------------------------------------ the file


def test_one_file_that_says_what_it_is(checkpoint, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    for suffix in (".onnx", ".pt2"):
        assert export(*options(checkpoint), "--out", out / f"a{suffix}") == 0
        printed = capsys.readouterr()
        assert f"Wrote {out}/a{suffix}: {SMALLEST}, float32, " in printed.out and not printed.err
        assert "images (N, 3, 64, 32) -> embedding (N, 512)\n" in printed.out
        assert "checked on 8 drawn people" in printed.out
        card = read_card(out / f"a{suffix}")
        assert (card.model, card.name, card.parts) == (SMALLEST, "some.pth", ())
        assert (card.height, card.width, card.mean) == (64, 32, Preprocessing(64, 32).mean)
        assert len(card.sha256) == 64 and card.embedding_size == 512
    assert sorted(os.listdir(out)) == ["a.onnx", "a.pt2"]

    for path in out.iterdir():  # nothing of the machine that wrote it
        assert str(Path(__file__).parent.parent).encode() not in path.read_bytes()
    graph = onnx.load(out / "a.onnx").graph
    dims = [
        [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    ]
    assert dims == [["batch", 3, 64, 32], ["batch", 512]]


def test_cards_round_trip():
    network = opened(build("magnifiernet_r18_g_m"), "magnifiernet_r18_g_m")
    card = card_for(network)
    assert Card.from_json(card.to_json()) == card
    assert card.version == torchreid_magnifier.__version__ and card.parts == PARTS
    assert output_names(card) == ("embedding", "labels", "visibility")


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_files_of_others_have_no_description(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"something else")
    with pytest.raises(ExportError, match="was not written by torchreid-magnifier export"):
        read_card(path)
    with pytest.raises(ExportError, match=f"b{suffix}: No such file"):
        read_card(tmp_path / f"b{suffix}")


def test_an_onnx_file_without_description(tmp_path):
    path = tmp_path / "a.onnx"
    graph = onnx.helper.make_graph([], "empty", [], [])
    onnx.save(onnx.helper.make_model(graph), path)
    with pytest.raises(ExportError, match="was not written by"):
        read_card(path)


def test_the_opset_that_was_asked_for(network, tmp_path):
    export_network(network, tmp_path / "a.onnx", Settings(opset=20))
    assert [o.version for o in onnx.load(tmp_path / "a.onnx").opset_import if not o.domain] == [20]


# ------------------------------------------------------------------ what goes wrong


def failing(tmp_path, checkpoint, capsys, *arguments):
    """Runs the command, which must say why it fails and leave nothing behind."""
    before = sorted(tmp_path.rglob("*"))
    status = export(*options(checkpoint), *arguments)
    printed = capsys.readouterr().err
    assert printed.startswith("torchreid-magnifier export: error: ") and "Traceback" not in printed
    assert sorted(tmp_path.rglob("*")) == before
    return status, printed


def test_mistakes_are_reported_before_anything_else(checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("torchreid_magnifier.cli.export.chosen_network", pytest.fail)
    existing = tmp_path / "old.onnx"
    existing.write_bytes(b"old")
    for arguments, message in (
        (["--out", tmp_path / "a.pth"], "a name that ends in .onnx, .xml, .pt2, got 'a.pth'"),
        (["--out", tmp_path / "no" / "a.onnx"], f"there is no folder {tmp_path / 'no'}"),
        (["--out", existing], f"{existing} exists already"),
        (["--out", tmp_path / "a.onnx", "--opset", 17], "an opset from 18 to "),
        (["--out", tmp_path / "a.onnx", "--opset", 999], "got 999"),
        (["--out", tmp_path / "a.pt2", "--opset", 18], "an opset is for ONNX files"),
    ):
        status, printed = failing(tmp_path, checkpoint, capsys, *arguments)
        assert status == USAGE_ERROR and message in printed
    assert existing.read_bytes() == b"old"


@pytest.mark.parametrize("library", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_library(checkpoint, tmp_path, capsys, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    status, printed = failing(tmp_path, checkpoint, capsys, "--out", tmp_path / "a.onnx")
    assert status == USAGE_ERROR and 'pip install "torchreid-magnifier[export]"' in printed


def test_an_older_torch(checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.8.1"))
    status, printed = failing(tmp_path, checkpoint, capsys, "--out", tmp_path / "a.pt2")
    assert status == USAGE_ERROR and "needs torch 2.9 or newer, found 2.8.1" in printed


def test_a_checkpoint_of_another_variant(checkpoint, tmp_path, capsys):
    out = ["--out", tmp_path / "a.pt2"]
    assert export(*options(checkpoint, model="magnifiernet_r18"), *out) == USAGE_ERROR
    assert "is a checkpoint of another model" in capsys.readouterr().err


def test_a_size_that_the_network_cannot_take(checkpoint, tmp_path, capsys):
    out = ["--out", tmp_path / "a.pt2"]
    assert export(*options(checkpoint, height=100), *out) == FAILED
    assert "divisible by 16, got 100x32" in capsys.readouterr().err


def test_a_file_that_answers_wrongly_is_not_written(checkpoint, tmp_path, capsys, monkeypatch):
    run = pt2_file.runner

    def wrong(*data):
        answer = run(*data)
        return lambda images: {name: 1.01 * output for name, output in answer(images).items()}

    monkeypatch.setattr(pt2_file, "runner", wrong)
    status, printed = failing(tmp_path, checkpoint, capsys, "--out", tmp_path / "a.pt2")
    assert status == FAILED
    assert "embeddings by 0.01 of their largest value, expected at most 0.0001" in printed


def test_a_file_that_cannot_be_run_is_not_written(checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(onnx_file, "contents", lambda *_: {".onnx": b"no network"})
    status, printed = failing(tmp_path, checkpoint, capsys, "--out", tmp_path / "a.onnx")
    assert status == FAILED and "cannot be exported to a.onnx" in printed


def test_ctrl_c_leaves_nothing(checkpoint, tmp_path, capsys, interrupted_after):
    before = sorted(tmp_path.rglob("*"))
    with interrupted_after(0):
        assert export(*options(checkpoint), "--out", tmp_path / "a.pt2") == 130
    assert sorted(tmp_path.rglob("*")) == before
    assert "interrupted" in capsys.readouterr().err
