"""Exported files of every precision, and their runtimes behind the door of this package."""

import importlib
import json
import runpy
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from networks import small
from PIL import Image

from torchreid_magnifier.cli import USAGE_ERROR, main
from torchreid_magnifier.hub import Card, WeightsError
from torchreid_magnifier.inference.embeddings import require_comparable
from torchreid_magnifier.inference.errors import RetrievalError
from torchreid_magnifier.inference.explain.rankings import read_evaluation_set
from torchreid_magnifier.inference.export import (
    ExportError,
    ParityError,
    Settings,
    check_target,
    export_network,
    onnx_file,
    openvino_file,
    writing,
)
from torchreid_magnifier.inference.export.agreement import Agreement, agree
from torchreid_magnifier.inference.export.parity import compare, pedestrians
from torchreid_magnifier.inference.export.program import trace
from torchreid_magnifier.inference.export.running import ExportedModel
from torchreid_magnifier.inference.open import Network, Preprocessing, open_network
from torchreid_magnifier.parts import PARTS

pytestmark = pytest.mark.skipif(torch.__version__ < "2.9", reason="export takes torch 2.9")
ROOT = Path(__file__).resolve().parents[1]
PREPROCESSING = Preprocessing(64, 32)


@pytest.fixture(scope="module")
def network():
    """The global branch and the masks, on a tiny backbone: a small graph."""
    model = small("magnifiernet", adversarial=False, fusion=None).eval()
    with torch.no_grad():  # labels that rounding does not change
        model.mask_module.conv.weight *= 50
    card = Card(
        "tiny",
        "magnifiernet",
        64,
        32,
        sha256="ab" * 32,
        embedding_size=model.embedding_size,
        parts=PARTS,
    )
    return Network(model, card)


@pytest.fixture(scope="module")
def written(network):
    """Its graph by torch's exporter, which takes the most time."""
    program = trace(network.model, 64, 32)
    return program, onnx_file.plain(program, network.card, onnx_file.OPSET)


@pytest.fixture(autouse=True)
def once(request, monkeypatch):
    """The graph is made once for all that export this network."""
    if "network" in request.fixturenames:
        program, proto = request.getfixturevalue("written")
        monkeypatch.setattr(writing, "trace", lambda *given: program)
        monkeypatch.setattr(onnx_file, "plain", lambda *given: deepcopy(proto))


@pytest.fixture
def program(written):
    return written[0]


@pytest.fixture(scope="module")
def people():
    return list(pedestrians(PREPROCESSING, (1, 4)))


def opened(form, program, card, settings, people=()):
    """The contents of a file, and what runs them."""
    files = form.contents(program, card, settings, people)
    assert Card.from_json(form.read_card(files)) == card
    return files, form.runner(files, card)


@pytest.mark.parametrize("form", [onnx_file, openvino_file], ids=lambda form: form.SUFFIX)
def test_pictures_of_any_size_are_brought_to_the_networks(form, network, program, people, tmp_path):
    files, run = opened(form, program, network.card, Settings(pictures=True))
    compare(network.model, run, people).require()  # at the network's size nothing is resized
    chance = np.random.default_rng(0)
    for height, width in ((40, 20), (150, 90), (64, 32)):
        pictures = chance.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
        images = torch.stack([network.preprocessing(Image.fromarray(p)) for p in pictures])
        with torch.no_grad():
            expected = network.model(images)
        found = torch.from_numpy(embeddings(form, files, pictures))
        cosines = torch.cosine_similarity(found, expected)
        assert cosines.min() > 0.9999


def embeddings(form, files, pictures):
    """What the file gives of pictures, by its runtime alone."""
    if form is onnx_file:
        import onnxruntime

        session = onnxruntime.InferenceSession(files[".onnx"])
        return session.run(["embedding"], {"pictures": pictures})[0]
    import openvino

    core = openvino.Core()
    model = core.compile_model(core.read_model(files[".xml"], files[".bin"]), "CPU")
    return model({"pictures": pictures})["embedding"]


def test_half_of_the_numbers_and_a_quarter(network, program, people):
    whole = len(opened(onnx_file, program, network.card, Settings())[0][".onnx"])
    for form, precision, least in (
        (onnx_file, "float16", 0.9999),
        (onnx_file, "int8", 0.9),
        (openvino_file, "int8", 0.9),
    ):
        files, run = opened(form, program, network.card, Settings(precision), people)
        agreement = agree(network.model, run, people)
        assert (agreement.pictures, agreement.before) == (5, None)
        assert least < agreement.cosine <= 1.00001 and agreement.labels > 0.5, (form, precision)
        if precision == "float16":
            assert len(files[".onnx"]) < whole
            kinds = {t.data_type for t in onnx.load_from_string(files[".onnx"]).graph.initializer}
            assert onnx.TensorProto.FLOAT16 in kinds and onnx.TensorProto.FLOAT not in kinds
        if precision == "int8" and form is onnx_file:
            kinds = {t.data_type for t in onnx.load_from_string(files[".onnx"]).graph.initializer}
            assert onnx.TensorProto.INT8 in kinds


def test_an_exported_file_is_a_network(network, noise_root, tmp_path, monkeypatch, capsys):
    """What commands do with it is what they do with the weights."""
    images = read_evaluation_set("market1501", str(noise_root))
    for suffix in (".onnx", ".xml"):
        path = tmp_path / f"a{suffix}"
        done = export_network(network, path, dataset=images)
        assert done.agreement.before == done.agreement.after and done.parity
        assert done.size == sum(file.stat().st_size for file in tmp_path.glob("a.*"))
        found = open_network(path)
        assert (found.card.parts, found.card.sha256) == (PARTS, "ab" * 32)
        batch = torch.stack([network.preprocessing(Image.open(p)) for p in images.paths])
        with torch.no_grad():
            expected = network.model(batch)
        assert (found.model(batch) - expected).abs().max() < 1e-4 * expected.abs().max()
        vectors = found.embed(np.zeros((90, 60, 3), np.uint8), [[5, 5, 40, 80]], order="rgb")
        assert vectors.visibility is not None and vectors.visibility.shape == (1, len(PARTS))
        data = ["--dataset", "market1501", "--root", str(noise_root)]
        assert main(["evaluate", "--weights", str(path), *data]) == 0
        gallery = str(tmp_path / "gallery.npz")
        extract = ["extract", "--weights", str(path), *images.paths[:2], "--out", gallery]
        assert main([*extract, "--overwrite"]) == 0
        assert main(["search", "--gallery", gallery, images.paths[0]]) == 0
        assert "1.0000" in capsys.readouterr().out
        (tmp_path / "gallery.npz").unlink()
        for stray in tmp_path.glob("a.*"):
            stray.unlink()
        with pytest.raises(ExportError, match="give what it was made of"):
            export_network(found, tmp_path / "again.onnx")
        with pytest.raises(WeightsError, match="cannot be saved or exported again"):
            found.save_pretrained(tmp_path / "again")
    assert not list(tmp_path.iterdir())


def test_what_no_other_program_computes(tmp_path, network):
    path = tmp_path / "a.onnx"
    path.write_bytes(b"nothing")
    with pytest.raises(ExportError, match="was not written by"):
        open_network(path)
    run = {"embedding": torch.zeros(2, 4)}
    card = replace(network.card, parts=(), embedding_size=4, channels="BGR")
    seen = []
    model = ExportedModel(lambda images: seen.append(images) or run, card)
    images = torch.rand(2, 3, 64, 32)
    assert model.inspect(images).vector is run["embedding"] and not model.has_parts
    assert torch.equal(seen[0], images.flip(1))


def test_embeddings_of_eight_bits_are_of_another_network(network):
    card = writing.card_for(network, Settings("int8"))
    assert card.quantised == "int8"
    with pytest.raises(RetrievalError, match="quantised"):
        require_comparable(network.card, card)


# ---------------------------------------------------------------------- what is refused


def test_a_file_that_loses_accuracy_is_not_written(network, noise_root, tmp_path, monkeypatch):
    images = read_evaluation_set("market1501", str(noise_root))
    runner = onnx_file.runner

    def shuffled(files, card):
        run = runner(files, card)

        def answer(batch):
            found = run(batch)
            broken = torch.randn(found["embedding"].shape)
            return {**found, "embedding": broken}

        return answer

    monkeypatch.setattr(onnx_file, "runner", shuffled)
    int8 = Settings("int8")
    with pytest.raises(ParityError, match="cosine of .*, expected at least 0.9"):
        export_network(network, tmp_path / "a.onnx", int8, calibration=images.paths[:2])
    torch.manual_seed(0)
    with pytest.raises(ParityError, match="has mAP .* expected at most 1 less"):
        export_network(network, tmp_path / "a.onnx", int8, dataset=images)
    assert not list(tmp_path.iterdir())


def test_what_is_required_of_an_agreement():
    def measured(value):
        return type("Measured", (), {"mAP": value})

    for before, after, right in ((70, 69.01, True), (70, 68.9, False), (70, float("nan"), False)):
        agreement = Agreement(9, 0.5, 0.1, None, measured(before), measured(after))
        if right:
            agreement.require("int8")
        else:
            with pytest.raises(ParityError, match="calibration pictures"):
                agreement.require("int8")
    Agreement(9, 0.95, 0.1, None).require("int8")
    with pytest.raises(ParityError, match="0.9500, expected at least 0.999"):
        Agreement(9, 0.95, 0.1, None).require("float16")


def test_settings_that_a_format_has_not(tmp_path, capsys):
    for name, settings, message in (
        ("a.pt2", Settings("int8"), "takes normalised images and has float32"),
        ("a.pt2", Settings(pictures=True), "takes normalised images"),
        ("a.xml", Settings(opset=20), "an opset is for ONNX files"),
    ):
        with pytest.raises(ExportError, match=message):
            check_target(tmp_path / name, settings)
    (tmp_path / "a.bin").touch()
    with pytest.raises(ExportError, match="a.bin exists already"):
        check_target(tmp_path / "a.xml")
    with pytest.raises(ExportError, match="expected a precision of"):
        Settings("int4")
    out = ["--out", str(tmp_path / "b.onnx")]
    assert main(["export", *out, "--images", str(tmp_path / "no")]) == USAGE_ERROR
    assert "no" in capsys.readouterr().err


@pytest.mark.parametrize("library", ["openvino", "nncf"])
def test_a_missing_library(library, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ExportError, match=r'pip install "torchreid-magnifier\[openvino\]"'):
        check_target(tmp_path / "a.xml", Settings("int8"))


def test_a_second_file_that_cannot_be_put_in_place_takes_the_first_away(
    network, tmp_path, interrupted_after
):
    with interrupted_after(1), pytest.raises(KeyboardInterrupt):
        writing._write(tmp_path / "a.xml", {".xml": b"1", ".bin": b"2"})
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------- the example

WITHOUT = """
import sys
for name in ("torch", "torchvision", "torchreid", "torchreid_magnifier", "cv2"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
exec(compile(open(sys.argv[0]).read(), sys.argv[0], "exec"), {"__name__": "__main__"})
"""


def test_the_example_runs_where_there_is_no_torch(network, program, tmp_path):
    files = onnx_file.contents(program, network.card, Settings(pictures=True))
    (tmp_path / "a.onnx").write_bytes(files[".onnx"])
    chance = np.random.default_rng(0)
    for number, size in enumerate([(80, 40, 3), (64, 32, 3), (200, 90, 3)]):
        pixels = chance.integers(0, 255, size).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    pictures = [str(tmp_path / f"{number}.png") for number in range(3)]
    given = [str(ROOT / "examples" / "search_with_onnxruntime.py"), str(tmp_path / "a.onnx")]
    command = [sys.executable, "-c", WITHOUT, *given, pictures[0], *pictures]
    done = subprocess.run(command, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    nearest, *others = done.stdout.splitlines()
    assert nearest == f"1.0000  {pictures[0]}" and len(others) == 2
    scores = [float(line.split()[0]) for line in others]
    images = torch.stack([network.preprocessing(Image.open(path)) for path in pictures])
    with torch.no_grad():
        vectors = torch.nn.functional.normalize(network.model(images))
    expected = sorted((vectors[1:] @ vectors[0]).tolist(), reverse=True)
    assert scores == pytest.approx(expected, abs=2e-3)
    assert json.loads(onnx_file.read_card(files))["model"] == "magnifiernet"


@pytest.mark.skipif(torch.cuda.is_available(), reason="it runs there")
def test_the_check_of_tensorrt_says_that_it_needs_a_gpu():
    check = runpy.run_path(str(ROOT / "examples" / "check_tensorrt.py"))
    with pytest.raises(SystemExit, match="needs a GPU .* nothing was checked"):
        check["main"]("network.onnx", "network.plan")


def test_the_table_and_picture_of_the_benchmark(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    runtimes = importlib.import_module("runtimes")
    times = {"processor": [2.0, 4.0, 3.0], "clock": [9.0, 9.0, 9.0]}
    facts = {"network": "magnifiernet", "runtime": "torch", "precision": "int8", "trained": "noise"}
    row = {**facts, "MB": 1.25, "rank1": 90.04, "mAP": 70.0, "ms": times}
    lines = runtimes.table([row, {**facts, "MB": 2.0}]).splitlines()
    assert lines[2] == (
        "| magnifiernet | torch | int8 | noise | 90.0 | 70.0 | 3.0 (2.0 to 4.0) | 1.2 |"
    )
    runtimes.save(runtimes.picture([row]), tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 5000
