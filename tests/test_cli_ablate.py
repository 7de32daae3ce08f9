"""``torchreid-magnifier ablate``: the grids, what is trained and what is not, tables, errors."""

import argparse
import csv
import json
import math
import shutil
import signal
from pathlib import Path

import pytest
import torch
import torchreid
import yaml
from filelock import FileLock
from networks import small
from noise_data import write_config
from PIL import Image
from processes import killed_at

from torchreid_magnifier.cli import main
from torchreid_magnifier.cli.train import read_configs
from torchreid_magnifier.experiments import ablation_report
from torchreid_magnifier.experiments.ablation import Ablation, Run
from torchreid_magnifier.experiments.ablation_grids import GRIDS, choose
from torchreid_magnifier.models import list_models
from torchreid_magnifier.training import resume as saved
from torchreid_magnifier.training.resume import Result

DATASETS = torchreid.data.register_image_dataset.__globals__["__image_datasets"]


@pytest.fixture(scope="module")
def stages(tmp_path_factory, noise_root) -> list[str]:
    """Two stages of an epoch each, as files."""
    folder = tmp_path_factory.mktemp("configs")
    model = {"name": "magnifiernet_r18", "options": {"backbone": "slim"}}
    data = {"sources": ["market1501_masks"], "targets": ["market1501"], "root": str(noise_root)}
    return [
        str(write_config(folder / f"{loss}.yaml", model=model, data=data, loss={"name": loss}))
        for loss in ("triplet", "triplet_sd")
    ]


@pytest.fixture(scope="module")
def ablate(stages):
    """Run ``ablate`` with the stages above; gives its exit status."""

    def run(out: Path, *arguments: str) -> int:
        return main(["ablate", *arguments, "--out", str(out), "--stages", *stages])

    return run


@pytest.fixture(scope="module")
def grid(tmp_path_factory, ablate) -> Path:
    """The folder of a finished ablation, which tests may add to."""
    out = tmp_path_factory.mktemp("grid")
    assert ablate(out, "table2", "--cells", "G", "all", "all+SD", "--seeds", "1") == 0
    return out


def rows(out: Path) -> list[dict[str, str]]:
    with open(out / "results.csv", newline="") as file:
        return list(csv.DictReader(file))


def result(out: Path, stage: str) -> dict:
    return json.loads((out / "runs" / stage / "results.json").read_text())["market1501"]


def state(out: Path) -> dict[str, int]:
    """Every file of the runs and when it was written."""
    return {str(p): p.stat().st_mtime_ns for p in (out / "runs").rglob("*") if p.is_file()}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "model" / "model.pth.tar-1", weights_only=False)["state_dict"]


# ------------------------------------------------------------------ what is run


@pytest.mark.parametrize("grid", GRIDS)
def test_every_cell_is_a_registered_model(grid):
    grid = GRIDS[grid]
    assert {network + cell.suffix for network in grid.networks for cell in grid.cells} <= set(
        list_models()
    )


def test_runs_with_other_options_have_folders_of_their_own(stages, tmp_path):
    given = argparse.Namespace(root="", sources=[], targets=[], transforms=[], options=[])
    ablation = Ablation(choose(["fusion"], []), read_configs(stages, given), [1], tmp_path)
    assert [run.variant for run in ablation.runs] == [
        "magnifiernet_r18_ab",
        "magnifiernet_r18,fusion=mean",
        "magnifiernet_r18,fusion=gru",
        "magnifiernet_r18",
    ]


def test_what_the_grid_of_san_says_of_a_model_is_what_it_has():
    for cell in GRIDS["san"].cells:
        model = small("san_r18" + cell.suffix)
        has = [True, model.decoder is not None, model.constraints is not None]
        assert [column == "✓" for column in cell.columns] == has


def test_what_table2_says_of_a_model_is_what_it_has():
    for cell in GRIDS["table2"].cells:
        model = small("magnifiernet" + cell.suffix)
        parts = (model.global_branch, model.mask_module, model.adversarial_branch)
        has = [part is not None for part in (*parts, model.fusion_branch)]
        assert [column == "✓" for column in cell.columns] == [*has, cell.sd]


def test_what_fig5_says_of_a_model_is_what_it_draws():
    for cell in GRIDS["fig5"].cells:
        sampling, kept = cell.columns
        model = small("magnifiernet" + cell.suffix, **dict(cell.options))
        counts = [count for _, count in model.sampler.groups]
        assert sum(counts) == int(kept)
        assert len(counts) == {"Random-torso": 2, "Random-baseline": 1}[sampling]


def test_trains_what_is_equal_once(grid):
    folders = {str(p.parent.relative_to(grid / "runs")) for p in grid.rglob("model.pth.tar-1")}
    logs = [log.parent for log in grid.rglob("train.log-*")]
    assert folders == {
        "magnifiernet_r18_g/seed1/stage1_triplet/model",
        "magnifiernet_r18_g/seed1/stage2_triplet/model",
        "magnifiernet_r18/seed1/stage1_triplet/model",
        "magnifiernet_r18/seed1/stage2_triplet/model",
        "magnifiernet_r18/seed1/stage2_triplet_sd/model",
    }
    assert len(logs) == len(set(logs)) == 5


def test_a_cell_is_what_train_makes_of_the_stages(grid, stages, tmp_path):
    """The same weights, bit by bit, although other cells were trained before it."""
    options = ["train.seed", "1", "data.save_dir", str(tmp_path)]
    assert main(["train", "--stages", *stages, *options]) == 0
    alone = weights(tmp_path / "stage2")
    for name, tensor in weights(grid / "runs/magnifiernet_r18/seed1/stage2_triplet_sd").items():
        assert torch.equal(alone[name], tensor), name
    without = weights(grid / "runs/magnifiernet_r18/seed1/stage2_triplet")
    assert not all(torch.equal(alone[name], tensor) for name, tensor in without.items())


def test_a_finished_cell_is_not_run_again(grid, ablate, capsys):
    before = state(grid)
    cells = ["--cells", "G", "SFB", "all", "--seeds", "1"]  # SFB is what Table 2 calls all
    assert ablate(grid, "table2", "fig4", *cells) == 0
    assert state(grid) == before
    found = rows(grid)
    assert [(row["grid"], row["cell"]) for row in found] == [
        ("table2", "G"),
        ("table2", "all"),
        ("fig4", "SFB"),
    ]
    assert found[1]["mAP"] == found[2]["mAP"]
    assert capsys.readouterr().out == f"Tables and plots are in {grid}: begin with results.md\n"


def test_the_engines_text_is_in_the_logs_only(grid, ablate, capsys):
    (grid / "runs/magnifiernet_r18/seed1/stage2_triplet_sd/results.json").unlink()
    before = {path for path in state(grid) if "model.pth" in path}
    assert ablate(grid, "table2", "--cells", "all+SD", "--seeds", "1") == 0
    out, err = capsys.readouterr()
    found = result(grid, "magnifiernet_r18/seed1/stage2_triplet_sd")
    assert out.splitlines() == [
        f"table2 all+SD, seed 1: market1501: rank-1 {100 * found['rank1']:.1f}, "
        f"mAP {100 * found['mAP']:.1f}",
        f"Tables and plots are in {grid}: begin with results.md",
    ]
    assert "table2 all+SD, seed 1: 100%" in err and "2/2" in err  # epochs: tested, not trained
    assert {path for path in state(grid) if "model.pth" in path} == before
    (row,) = rows(grid)
    assert row["minutes"] == ""  # a run that was not done in one go
    logs = sorted((grid / "runs/magnifiernet_r18/seed1/stage2_triplet_sd").glob("train.log-*"))
    assert ["Start training" in log.read_text() for log in logs] == [True, False]


def test_after_a_kill(grid, ablate, tmp_path):
    """Killed in stage 2: stage 1 stays, and the rest is as if nothing had happened."""
    arguments = ["table2", "--cells", "all+SD", "--seeds", "1"]
    reached = tmp_path / "runs/magnifiernet_r18/seed1/stage1_triplet/results.json"
    killed_at(reached, ablate, tmp_path, *arguments)
    assert not (reached.parent.parent / "stage2_triplet_sd" / "results.json").exists()
    assert rows(tmp_path) == []
    assert "0 of 1 runs are in." in (tmp_path / "results.md").read_text()
    before = state(tmp_path)

    assert ablate(tmp_path, *arguments) == 0
    assert before.items() <= state(tmp_path).items()
    ablate(grid, *arguments)
    timeless = [[{**row, "minutes": ""} for row in rows(out)] for out in (tmp_path, grid)]
    assert timeless[0] == timeless[1]
    one, other = (
        weights(out / "runs/magnifiernet_r18/seed1/stage2_triplet_sd") for out in (tmp_path, grid)
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_ctrl_c(grid, ablate, capsys, monkeypatch):
    """The tables of what is finished are there; the command goes on where it was."""
    record = saved.record

    def interrupt(cfg):
        record(cfg)
        if cfg.data.save_dir.endswith("seed2/stage2_triplet"):
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(saved, "record", interrupt)
        assert ablate(grid, "table2", "--cells", "G", "--seeds", "1", "2") == 130
    assert capsys.readouterr().err.endswith("torchreid-magnifier ablate: interrupted\n")
    assert "1 of 2 runs are in." in (grid / "results.md").read_text()
    assert [row["seed"] for row in rows(grid)] == ["1"]

    before = state(grid)
    assert ablate(grid, "table2", "--cells", "G", "--seeds", "1", "2") == 0
    changed = {path for path, written in before.items() if state(grid)[path] != written}
    assert changed == {str(grid / "runs/magnifiernet_r18_g/seed2/stage2_triplet/config.yaml")}
    assert [row["seed"] for row in rows(grid)] == ["1", "2"]


def test_several_targets(grid, ablate):
    """All are in the CSV, the first in the table; what is trained is only tested again."""

    class Other(DATASETS["market1501"]):
        pass

    torchreid.data.register_image_dataset("other", Other)
    try:
        options = ["--cells", "G", "--seeds", "1", "-t", "other", "market1501"]
        assert ablate(grid, "table2", *options) == 0
    finally:
        del DATASETS["other"]
    assert [row["dataset"] for row in rows(grid)] == ["other", "market1501"]
    assert "tested on other" in (grid / "results.md").read_text()


# ------------------------------------------------------------------ what is written


def test_rows_hold_what_the_runs_found(grid, ablate):
    assert ablate(grid, "table2", "--cells", "G", "all+SD", "--seeds", "1") == 0
    one, two = rows(grid)
    assert list(one) == ("grid cell model sd seed dataset epochs rank1 mAP minutes".split())
    assert (one["model"], one["sd"], one["epochs"]) == ("magnifiernet_r18_g", "False", "2")
    assert (two["model"], two["sd"], two["seed"]) == ("magnifiernet_r18", "True", "1")
    for row, folder in (
        (one, "magnifiernet_r18_g/seed1/stage2_triplet"),
        (two, "magnifiernet_r18/seed1/stage2_triplet_sd"),
    ):
        found = result(grid, folder)
        assert float(row["mAP"]) == found["mAP"] and float(row["rank1"]) == found["rank1"]


def table(out: Path, title: str) -> dict[tuple[str, ...], list[str]]:
    """The last three columns of a table in ``results.md`` by those before them."""
    text = (out / "results.md").read_text().partition(f"## {title}")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {tuple(row[:-3]): row[-3:] for row in cells[2:]}


TORSO2 = (("sampling", "torso"), ("num_kept_regions", 2))
BASELINE3 = (("sampling", "baseline"), ("num_kept_regions", 3))
MADE = {  # rank-1 and mAP of each seed, by the model's suffix or options and the last loss
    ("_g", "triplet"): [(0.50, 0.301), (0.60, 0.322), (0.70, 0.334)],
    ("_g_m", "triplet"): [(0.61, 0.30), (0.62, 0.31), (0.66, 0.32)],
    ("", "triplet"): [(0.71, 0.42), (0.75, 0.40)],
    ("", "triplet_sd"): [(0.8, 0.5)],
    (TORSO2, "triplet"): [(0.4, 0.2), (0.5, 0.25)],
    (BASELINE3, "triplet"): [(0.4, 0.1), (0.5, 0.15), (0.5, 0.16)],
}


def expected(found: list[float], over: list[float] | None = None) -> str:
    """Mean, sample standard deviation and gain in percent, in plain loops."""
    mean = sum(found) / len(found)
    text = f"{100 * mean:.1f}"
    if len(found) > 1:
        squares = sum((value - mean) ** 2 for value in found)
        text += f" ± {100 * math.sqrt(squares / (len(found) - 1)):.1f}"
    if over:
        text += f" ({100 * (mean - sum(over) / len(over)):+.1f})"
    return text


@pytest.fixture(scope="module")
def made_up(stages, tmp_path_factory) -> Path:
    """The folder of an ablation with made-up results, some of them missing."""
    out = tmp_path_factory.mktemp("made-up")
    options = argparse.Namespace(root="", sources=[], targets=[], transforms=[], options=[])
    grids = choose(["table2", "fig4", "fig5", "fusion"], [])
    ablation = Ablation(grids, read_configs(stages, options), [1, 2, 3], out)
    for (variant, loss), found in MADE.items():
        suffix, options = (variant, ()) if isinstance(variant, str) else ("", variant)
        for seed, (rank1, mean_ap) in enumerate(found, 1):
            run = Run("magnifiernet_r18" + suffix, options, ("triplet", loss), seed)
            assert run in ablation.runs
            ablation.results[run] = {"market1501": Result(rank1, mean_ap, 1, None)}
    ablation_report.write(ablation, "the command")
    return out


def test_tables_against_plain_loops(made_up):
    def row(name: tuple[str, str], over: tuple[str, str] | None = None) -> list[str]:
        columns = []
        for measure in (0, 1):
            base = [pair[measure] for pair in MADE[over]] if over else None
            columns.append(expected([pair[measure] for pair in MADE[name]], base))
        return [*columns, str(len(MADE[name]))]

    g, missing = ("_g", "triplet"), ["–", "–", "0"]
    assert table(made_up, "Table 2: the components") == {
        ("✓", "", "", "", ""): row(g),
        ("✓", "✓", "", "", ""): row(("_g_m", "triplet"), g),
        ("✓", "✓", "✓", "", ""): missing,
        ("✓", "✓", "", "✓", ""): missing,
        ("✓", "✓", "✓", "✓", ""): row(("", "triplet"), g),
        ("✓", "✓", "✓", "✓", "✓"): row(("", "triplet_sd"), g),
    }
    assert row(g) == ["60.0 ± 10.0", "31.9 ± 1.7", "3"]
    assert row(("", "triplet_sd"), g) == ["80.0 (+20.0)", "50.0 (+18.1)", "1"]
    fig4 = table(made_up, "Figure 4: SFB against the ablation branch")
    assert fig4 == {("ablation branch",): missing, ("SFB",): row(("", "triplet"))}
    fig5 = table(made_up, "Figure 5: the regions that SAB keeps")
    assert fig5[("Random-torso", "2")] == row((TORSO2, "triplet"))
    assert fig5[("Random-torso", "4")] == row(("", "triplet"))
    assert fig5[("Random-baseline", "3")] == row((BASELINE3, "triplet"))


def test_the_report_says_what_it_is_of(made_up):
    text = (made_up / "results.md").read_text()
    assert "```bash\nthe command\n```" in text
    assert "1 + 1 epochs in every cell" in text and "64x32 pixels" in text
    states = [line for line in text.splitlines() if line.endswith("runs are in.")]
    assert states == [f"{n} runs are in." for n in ("9 of 18", "2 of 6", "7 of 24", "2 of 12")]


def test_a_plot_for_each_grid(made_up):
    plots = {path.stem for path in made_up.glob("*.png")}
    assert plots == {"table2", "fig4", "fig5", "fusion"}
    for plot in plots:
        assert f"({plot}.png)" in (made_up / "results.md").read_text()
        with Image.open(made_up / f"{plot}.png") as picture:
            assert picture.format == "PNG" and min(picture.size) > 400


# ------------------------------------------------------------------ mistakes


WHOLE = " or ".join(GRIDS["table2"].networks)


def error_of(capsys) -> str:
    """The message of a run that failed."""
    err = capsys.readouterr().err
    prefix = "torchreid-magnifier ablate: error: "
    return err[err.index(prefix) + len(prefix) :].rstrip("\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("tabel2", "there is no grid 'tabel2'; did you mean 'table2'? (all: table2, fig4, fig5"),
        (
            "table2 fig4 --cells ABC",
            "--cells: table2 and fig4 have no cell 'ABC'; did you mean 'AB'? (all: G, G+M, ",
        ),
        ("table2 --seeds 1 x", "--seeds takes whole numbers, found 'x'"),
        (
            "table2 train.seed 3",
            "the option train.seed does not go with ablate: --seeds sets it",
        ),
        ("table2 data.save_dir x", "the option data.save_dir does not go with ablate: --out sets"),
        ("table2 model.name x", "the option model.name does not go with ablate: the grid sets it"),
        ("table2 loss.name x", "the option loss.name does not go with ablate: the grid and"),
        ("table2 model.load_weights x", "the option model.load_weights does not go with ablate: "),
        ("table2 model.resume x", "the option model.resume does not go with ablate: "),
        ("table2 test.evaluate True", "the option test.evaluate does not go with ablate: every"),
        ("table2 data.height 60", "magnifiernet_r18_g needs data.height and data.width divisible"),
        ("table2 -s market1501", "magnifiernet_r18_g_m trains with part labels, but data.sources"),
        ("table2 train.lrr 1", "command line: there is no option 'train.lrr'"),
        ("table2 --out /dev/null/x", "[Errno 20] Not a directory: '/dev/null/x'"),
    ],
)
def test_a_mistake_is_reported_at_once(stages, tmp_path, capsys, arguments, message):
    out = [] if "--out" in arguments else ["--out", str(tmp_path / "out")]
    assert main(["ablate", *out, *arguments.split(), "--stages", *stages]) == (
        1 if "Errno" in message else 2
    )
    assert error_of(capsys).startswith(message)
    assert not list(tmp_path.rglob("*.log*")) and not list(tmp_path.rglob("results.*"))


@pytest.fixture
def changed(stages, tmp_path):
    """The stages' files with changes ``section={key: value}`` in those of ``numbers``."""

    def write(*numbers: int, **changes: dict) -> list[str]:
        paths = []
        for number, stage in enumerate(stages, 1):
            tree = yaml.safe_load(Path(stage).read_text())
            for section, keys in changes.items() if number in numbers else ():
                tree[section] = tree[section] | keys
            path = tmp_path / f"stage{number}.yaml"
            path.write_text(yaml.safe_dump(tree))
            paths.append(str(path))
        return paths

    return write


@pytest.mark.parametrize(
    ("numbers", "changes", "message"),
    [
        (
            (1, 2),
            {"model": {"name": "magnifiernet_r18_g"}},
            "for table2 the stages' files must all have the whole network as model.name "
            f"({WHOLE}), found magnifiernet_r18_g: the grid adds",
        ),
        (
            (2,),
            {"model": {"name": "magnifiernet"}},
            "for table2 the stages' files must all have the whole network as model.name "
            f"({WHOLE}), found magnifiernet_r18 and magnifiernet: the",
        ),
        (
            (1, 2),
            {"model": {"name": "san_r18"}},
            "for table2 the stages' files must all have the whole network as model.name "
            f"({WHOLE}), found san_r18: the grid",
        ),
        (
            (1,),
            {"loss": {"name": "softmax"}},
            "the stages' files must have the loss.name triplet and, after it, triplet_sd; found "
            "softmax, triplet_sd",
        ),
        ((1,), {"model": {"load_weights": "w"}}, "stage 1's file sets model.load_weights, which"),
        ((2,), {"model": {"resume": "w"}}, "stage 2's file sets model.resume, which does not go"),
        (
            (2,),
            {"loss": {"name": "triplet"}},
            "table2 all+SD need a stage with the loss.name triplet_sd, found triplet, triplet: ",
        ),
    ],
)
def test_stages_that_do_not_go_with_a_grid(changed, tmp_path, capsys, numbers, changes, message):
    files = changed(*numbers, **changes)
    assert main(["ablate", "table2", "--out", str(tmp_path), "--stages", *files]) == 2
    assert error_of(capsys).startswith(message)


@pytest.mark.parametrize(
    ("key", "value", "was"),
    [("train.max_epoch", "2", "1"), ("train.lr", "0.1", "0.0003")]
    + [("test.dist_metric", "cosine", "'euclidean'"), ("test.normalize_feature", "True", "False")],
)
def test_other_settings_in_the_same_folder(grid, ablate, capsys, key, value, was):
    """Numbers that do not compare never stand in one table."""
    before, tables = state(grid), (grid / "results.md").read_bytes()
    assert ablate(grid, "table2", "--cells", "G", "--seeds", "1", key, value) == 2
    shown = value if value != "cosine" else "'cosine'"
    assert error_of(capsys) == (
        f"{grid}/runs/magnifiernet_r18_g/seed1/stage1_triplet holds checkpoints of another run "
        f"({key} was {was} and is {shown}): give another folder, or move that one away"
    )
    assert state(grid) == before and (grid / "results.md").read_bytes() == tables


def test_two_at_once(ablate, tmp_path, capsys):
    with FileLock(tmp_path / ".lock"):
        assert ablate(tmp_path, "table2", "--cells", "G") == 2
    assert error_of(capsys) == (
        f"another ablation is writing into {tmp_path}: wait until it has ended, or give another "
        "--out"
    )


def test_a_missing_mask_shows_before_anything_is_trained(ablate, noise_root, tmp_path, capsys):
    root = tmp_path / "data"
    shutil.copytree(noise_root, root)
    next((root / "market1501").rglob("0003_c2*.png")).unlink()
    options = ["--cells", "G", "--seeds", "1", "--root", str(root)]
    assert ablate(tmp_path / "out", "table2", *options) == 2
    assert "1 of 16 images cannot be used with their part masks" in error_of(capsys)
    assert not list(tmp_path.rglob("train.log*"))


def test_a_run_that_fails(grid, ablate, capsys):
    """The message names the cell and its log, which has the traceback; the finished ones stay."""
    folder = grid / "runs/magnifiernet_r18_g_m/seed1/stage1_triplet"
    folder.mkdir(parents=True)
    (folder / "model").write_text("in the way of the folder for checkpoints")
    before = state(grid)
    assert ablate(grid, "table2", "--cells", "G", "G+M", "--seeds", "1") == 1
    (log,) = folder.glob("train.log-*")
    first, second = error_of(capsys).splitlines()
    assert first.startswith(f"table2 G+M, seed 1 failed (its log: {log}): FileExistsError: ")
    assert second.startswith("What was finished before it stays: run the same command again")
    assert "Traceback" in log.read_text()
    assert before.items() <= state(grid).items()
    assert [row["cell"] for row in rows(grid)] == ["G"]
    shutil.rmtree(grid / "runs/magnifiernet_r18_g_m")
