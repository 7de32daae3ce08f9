"""``benchmarks/speed.py``: how it measures and what it makes of it."""

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from torchreid_magnifier.models import build as build_model
from torchreid_magnifier.parts import NUM_PARTS

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
# Of PyTorch, where oneDNN is turned off and on again.
pytestmark = pytest.mark.filterwarnings("ignore:TF32 acceleration")
NETWORKS = ["magnifiernet_r18", "magnifiernet_r18_g", "osnet_x0_25"]


@pytest.fixture(scope="module", autouse=True)
def importable():
    """As when Python runs a file of that folder."""
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def speed():
    return importlib.import_module("speed")


@pytest.fixture(scope="module")
def measured(speed, tmp_path_factory):
    """Folder and status of one run, whose processes are all this one."""
    worker = importlib.import_module("measuring.worker")
    growth = importlib.import_module("measuring.growth")
    measurement = importlib.import_module("measuring.measurement")

    class Here(worker.Process):
        def __init__(self, contestant, device, threads):
            self.worker = worker.Worker(contestant, device, threads)

        def call(self, method, *args):
            try:
                return getattr(self.worker, method)(*args)
            except Exception as error:
                raise worker.WorkerError(str(error)) from error

        def __exit__(self, *_):
            pass

    folder = tmp_path_factory.mktemp("speed")
    words = f"--ours {NETWORKS[0]} {NETWORKS[1]} --stock {NETWORKS[2]} --sizes 64x32 --growth "
    words += "--eval-batches 1 2 --train-batch 8 --turns 2 --seconds 0 --threads 1 --out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measurement, "Process", Here)
        patch.setattr(measurement, "MATRIX_SIZES", {"cpu": (32, 64)})
        patch.setattr(growth, "SIZES", ((64, 32),))
        patch.setattr(growth, "BATCHES", (1, 4))
        assert speed.main([*words.split(), str(folder / "run")]) == 0
    return folder


@pytest.fixture(scope="module")
def report(measured):
    return json.loads((measured / "run.json").read_text())


def test_every_network_is_measured_in_every_turn(report):
    trained = {n: {("eval", 1), ("eval", 2), ("train", 8)} for n in NETWORKS}
    found: dict = {}
    for result in report["results"]:
        name = result["contestant"].removesuffix(", optimized")
        if name == result["contestant"]:
            found.setdefault(name, set()).add((result["task"], result["batch"]))
        assert len(result["clock"]) == len(result["processor"]) == 2
        assert min(result["clock"]) > 0
    assert found == trained
    for memory in report["memory"]:
        assert min(memory[key] for key in ("imports", "build", "eval")) > 2**26  # torch alone
    points = {(p["task"], p["batch"]) for p in report["growth"]["points"]}
    assert points == {("eval", 1), ("eval", 4), ("train", 4)}


@pytest.mark.parametrize("name", NETWORKS[:2])
def test_operations_are_those_of_the_layers(report, name):
    counted = 0

    def count(module, inputs, output):
        nonlocal counted
        if isinstance(module, nn.ConvTranspose2d):
            counted += 2 * module.weight.numel() * inputs[0][0, 0].numel()
        elif isinstance(module, nn.Conv2d | nn.Linear):
            counted += 2 * module.weight.numel() * output[0, 0].numel()

    model = build_model(name, 1, pretrained=False).eval()
    for module in model.modules():
        module.register_forward_hook(count)
    with torch.no_grad():
        model(torch.rand(1, 3, 64, 32))
    if model.fusion_branch is not None:  # its LSTM steps over the regions
        parameters = model.fusion_branch.fusion.parameters()
        counted += 2 * NUM_PARTS * sum(p.numel() for p in parameters if p.dim() == 2)
    entry = next(f for f in report["flops"] if f["contestant"] == name)
    assert entry["eval"] == counted
    assert 2.5 < entry["train"] / entry["eval"] < 3.5  # backward: towards input and weights


def test_tables(measured, report):
    text = (measured / "run.md").read_text()
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    first = [row for row in rows if row[0] == f"| {NETWORKS[0]}"]
    # Every ratio of the first is that to itself.
    assert [cell for row in first for cell in row if "; " in cell] == [
        "1.00 (1.00 to 1.00); 1.00",
        "1.00 (1.00 to 1.00); 1.00",
        "1.00 (1.00 to 1.00); 1.00 |",
    ]
    assert (measured / "run.png").stat().st_size > 10_000


def test_arithmetic():
    tables = importlib.import_module("measuring.report")
    shared = {"contestant": "a", "task": "train", "height": 64, "width": 32}
    ours = shared | {"batch": 8, "clock": [1.0, 2.0, 4.0]}
    theirs = shared | {"batch": 8, "clock": [2.0, 2.0, 2.0]}
    assert tables.rates(ours) == [8, 4, 2]
    assert tables.ratios(ours, theirs) == [2, 1, 0.5]
    report = {
        "contestants": {"a": {"arithmetic": "float32"}},
        "flops": [shared | {"train": 5e9}],
        "matrix": {"float32": {"64": [1e9, 9e9, 2e9], "128": [4e10, 5e10, 9e10]}},
    }
    assert tables.share(report, ours) == pytest.approx(4 * 5e9 / 5e10)
    assert tables.schedule_hours(500 * 12936 / 3600) == pytest.approx(1)
    assert tables.schedule_hours(500 * 12936 / 3600, start=7.2) == pytest.approx(2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--reference {here}", "with its file engine/mt_trainer.py, which {here} has not"),
        ("--train-batch 6", "a multiple of 4 from 8"),
        ("--turns 0", "a whole number from 1, found 0"),
        ("--sizes 100x50", "multiples of 32, found 100x50"),
        ("--ours nothing", "invalid choice: 'nothing'"),
        ("--out {here}/none/run", "cannot write into {here}/none"),
        ("--loader-root {here}/none", "there is no folder {here}/none"),
    ],
)
def test_mistakes_are_reported_at_once(speed, tmp_path, capsys, words, message):
    words, message = words.format(here=tmp_path), message.format(here=tmp_path)
    with pytest.raises(SystemExit) as stopped:
        speed.main(["--out", str(tmp_path / "run"), *words.split()])
    assert stopped.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


def test_a_process_tells_what_went_wrong():
    worker = importlib.import_module("measuring.worker")
    with worker.Process(None, "cpu", 1) as process:
        assert process.call("matrix", "float32", 32, 0.0) > 0
        with pytest.raises(worker.WorkerError, match="AttributeError"):
            process.call("time", "eval", 64, 32, 1, 0.0)  # it has built no network
        process._process.kill()
        with pytest.raises(worker.WorkerError, match="ended with -9"):
            process.call("matrix", "float32", 32, 0.0)
