"""The YAML files in ``examples/configs``: keys of torchreid, names that are registered, pairs."""

from pathlib import Path

import pytest

import torchreid_magnifier  # noqa: F401 (registers the names)
from torchreid_magnifier.cli import checks
from torchreid_magnifier.cli.config import default_config, merge_file
from torchreid_magnifier.models.magnifiernet import MODELS

CONFIGS = Path(__file__).parent.parent / "examples" / "configs"
FILES = sorted(CONFIGS.glob("*.yaml"))
PAIRS = [file for file in FILES if file.stem.endswith("_stage1")]


def read(path: Path):
    cfg = default_config()
    merge_file(cfg, path)
    return cfg


def test_all_are_there():
    pairs = ["market1501", "dukemtmcreid", "cuhk03_labeled", "cuhk03_detected"]
    pairs += ["r18_market1501", "r18_synthetic"]
    names = [f"magnifiernet_{pair}_stage{i}" for pair in pairs for i in (1, 2)]
    assert {file.stem for file in FILES} == {*names, "magnifiernet_r18_g_synthetic"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_passes_the_checks_of_the_command(path, tmp_path, monkeypatch):
    """Known keys and names, a size that fits, sources with masks: all that needs no data."""
    monkeypatch.chdir(tmp_path)
    cfg = read(path)
    checks.check(cfg)
    assert cfg.model.name in MODELS
    assert cfg.loss.triplet.weight_t == cfg.loss.triplet.weight_x == 1
    assert 0 < cfg.test.eval_freq <= 20  # a kill loses no more epochs than that


@pytest.mark.parametrize("path", PAIRS, ids=lambda path: path.stem)
def test_the_stages_of_a_pair_agree(path):
    first = read(path)
    second = read(path.with_stem(path.stem.replace("_stage1", "_stage2")))
    assert (first.loss.name, second.loss.name) == ("triplet", "triplet_sd")
    assert first.data.save_dir.endswith("/stage1")
    assert second.data.save_dir == first.data.save_dir[:-1] + "2"
    assert not second.model.pretrained  # the weights of stage 1 take their place
    for cfg in (first, second):
        cfg.data.save_dir = ""
    for section in ("data", "sampler", "cuhk03"):
        assert first[section] == second[section]
    assert first.model.name == second.model.name
    assert first.train.batch_size == second.train.batch_size


@pytest.mark.parametrize("path", PAIRS, ids=lambda path: path.stem)
def test_stage_2_says_where_stage_1_ends(path):
    first = read(path)
    second = path.with_stem(path.stem.replace("_stage1", "_stage2"))
    weights = f"{first.data.save_dir}/model/model.pth.tar-{first.train.max_epoch}"
    assert f"model.load_weights {weights}\n" in second.read_text()


def test_the_paper():
    """Section 4.1: sizes, lengths and rates of the two stages; for the paper's network."""
    for path in PAIRS:
        if "r18" in path.stem:
            continue
        first = read(path)
        second = read(path.with_stem(path.stem.replace("_stage1", "_stage2")))
        assert (first.data.height, first.data.width) == (384, 192)
        assert (first.train.max_epoch, second.train.max_epoch) == (460, 40)
        assert (first.train.lr, second.train.lr) == (3.5e-4, 1e-3)
        assert (first.train.batch_size, first.sampler.num_instances) == (64, 4)
        assert (first.train.lr_scheduler, first.train.stepsize) == ("warmup_multi_step", [40, 70])


def test_cuhk03_takes_the_boxes_it_names():
    for kind, labeled in (("labeled", True), ("detected", False)):
        for stage in (1, 2):
            cfg = read(CONFIGS / f"magnifiernet_cuhk03_{kind}_stage{stage}.yaml")
            assert cfg.cuhk03.labeled_images is labeled
            assert not cfg.cuhk03.classic_split  # the new protocol, 767 and 700 identities
