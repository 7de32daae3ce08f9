"""``torchreid-magnifier demo``, with few drawn people, small images and an epoch a stage."""

import csv
import json
import re
from functools import partial
from types import SimpleNamespace

import pytest
from networks import on_slim
from PIL import Image
from torchreid import data as torchreid_data
from torchreid import engine as torchreid_engine
from tqdm import tqdm

from torchreid_magnifier import models
from torchreid_magnifier.checkpoint import read_checkpoint
from torchreid_magnifier.cli import main
from torchreid_magnifier.evaluation import EvaluationError
from torchreid_magnifier.experiments import comparison, demo
from torchreid_magnifier.experiments.comparison import GLOBAL, WHOLE, Comparison, Settings
from torchreid_magnifier.synthetic import Settings as People
from torchreid_magnifier.synthetic import generate
from torchreid_magnifier.synthetic.plan import plan
from torchreid_magnifier.training.engine import Engine

TINY = Settings(epochs=(1, 1), height=64, width=32, batch_size=16, workers=0)
FEW = People(train_ids=6, test_ids=8, distractors=5)  # torchreid ranks 50 images at least


@pytest.fixture(scope="module", autouse=True)
def few_people():
    """And small networks."""

    def build(name, num_classes, loss):
        return models.build(name, num_classes, loss, **on_slim(name))

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(comparison, "models", SimpleNamespace(build=build))
        few = partial(generate, settings=FEW)
        monkeypatch.setattr("torchreid_magnifier.synthetic.dataset.generate", few)
        monkeypatch.setattr(demo, "generate", few)
        monkeypatch.setattr(demo, "plan", partial(plan, FEW))
        monkeypatch.setattr("torchreid_magnifier.cli.demo.Settings", lambda seed: TINY)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("demo") / "out"


@pytest.fixture(scope="module")
def table(folder, few_people):
    return demo.run(folder, TINY)


def test_one_table_of_both_networks_in_both_stages(table, folder):
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    assert lines[0] == list(demo.COLUMNS.values())
    networks = [GLOBAL] * 2 + [WHOLE] * 2
    assert [line[:3] for line in lines[2:]] == [
        [network, stage, stage] for network, stage in zip(networks, "1212", strict=True)
    ]
    assert len({len(line) for line in table.splitlines()}) == 1  # aligned
    rows = json.loads((folder / "results.json").read_text())["results"]
    with open(folder / "results.csv", newline="") as file:
        cells = list(csv.DictReader(file))
    for line, row, cell in zip(lines[2:], rows, cells, strict=True):
        assert line[3:7] == [f"{100 * row[key]:.1f}" for key in list(demo.COLUMNS)[3:7]]
        assert float(cell["mAP"]) == row["mAP"]
        assert all(0 <= row[key] <= 1 for key in list(demo.COLUMNS)[3:7])
        assert (row["mask_miou"] is None) == (row["network"] == GLOBAL)
    assert table in (folder / "results.md").read_text()


def test_the_numbers_are_those_that_the_stock_engine_printed(table, folder):
    log = (folder / "train.log").read_text()
    printed = zip(
        re.findall(r"^Rank-1  : ([\d.]+)%", log, re.M),
        re.findall(r"^mAP: ([\d.]+)%", log, re.M),
        strict=True,
    )
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    assert [tuple(line[3:5]) for line in lines[2:]] == list(printed)


def test_pictures_and_nothing_left_over(table, folder):
    for name in ("search", "masks", "rankings", "losses"):
        with Image.open(folder / f"{name}.png") as picture:
            assert min(picture.size) > 400
        assert f"({name}.png)" in (folder / "results.md").read_text()
    assert {path.name for path in folder.iterdir()} == {
        *(f"results.{kind}" for kind in ("md", "csv", "json")),
        *(f"{name}.png" for name in ("search", "masks", "rankings", "losses")),
        "train.log",
        "reid-data",
    }


def test_occluded_queries_are_those_of_the_registered_dataset(tmp_path):
    """Equal to torchreid's test of ``synthetic_pedestrians_occluded``, run for itself."""
    compared = Comparison(tmp_path / "data", tmp_path, TINY)
    stage = next(compared.run(tqdm(disable=True)))
    assert 0 < compared.occluded.sum() < len(compared.images.query)
    datamanager = torchreid_data.ImageDataManager(
        root=str(tmp_path / "data"),
        sources="synthetic_pedestrians",
        targets="synthetic_pedestrians_occluded",
        height=64,
        width=32,
        batch_size_train=4,
        workers=0,
    )
    engine = torchreid_engine.ImageTripletEngine(datamanager, stage.model, None)
    rank1 = engine.test(dist_metric="cosine", ranks=[1])
    assert stage.search.rank1_and_map(compared.occluded)[0] == pytest.approx(rank1)


def test_a_test_that_fails_loses_no_training(tmp_path, monkeypatch, capsys):
    def fail(*args, **kwargs):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Engine, "_rank", fail)
    assert main(["demo", "--out", str(tmp_path)]) == 1
    message = capsys.readouterr().err
    (weights,) = tmp_path.glob("weights-*/magnifiernet_r18_g_stage1/model/model.pth.tar-1")
    assert "the test failed: out of memory" in message and str(weights) in message
    assert "classifier.global.weight" in read_checkpoint(weights)["state_dict"]


def test_it_begins_with_a_search_in_images_of_the_users(noise_root, tmp_path, monkeypatch, capsys):
    def stop(*args):
        raise EvaluationError("enough")

    monkeypatch.setattr(demo, "Comparison", stop)
    folder = noise_root / "market1501" / "Market-1501-v15.09.15" / "bounding_box_train"
    assert main(["demo", str(folder), "--out", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert out.startswith(f"{tmp_path}/search.png: 16 images searched by magnifiernet_")
    # how long it will take is said before anything is trained
    assert re.search(r"drawing people: +\d+%\|.*\| 0\d:\d\d, about [\d:]+ left", err)
    assert ": :" not in err
    with Image.open(tmp_path / "search.png") as picture:
        assert min(picture.size) > 400


def test_a_folder_to_search_in_that_is_not_there(tmp_path, capsys):
    assert main(["demo", str(tmp_path / "none"), "--out", str(tmp_path)]) == 2
    assert str(tmp_path / "none") in capsys.readouterr().err


def test_a_folder_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["demo", "--out", str(tmp_path / "file")]) == 1
    out, err = capsys.readouterr()
    assert err.startswith("torchreid-magnifier demo: error: [Errno 17] File exists: ")
    assert out == ""
