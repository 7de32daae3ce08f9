"""The YAML files in ``examples/configs``: names, pairs, schedules, and a first batch with each.

The last tests run ``torchreid-magnifier train`` on made data, in the layouts of the real sets, with
the files' own settings. What they change is named at ``build`` and at ``first_images``.
"""

import json
import math
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torchreid
import yaml
from networks import on_slim
from PIL import Image

from torchreid_magnifier.cli import main
from torchreid_magnifier.models import list_models
from torchreid_magnifier.parts import NUM_PARTS
from torchreid_magnifier.synthetic import Settings, generate
from torchreid_magnifier.training import checks
from torchreid_magnifier.training.config import default_config, merge_file

CONFIGS = Path(__file__).parent.parent / "examples" / "configs"
FILES = sorted(CONFIGS.glob("*.yaml"))
FIRST_STAGES = [file for file in FILES if file.stem.endswith("_stage1")]
TESTS = [file for file in FILES if file.stem.endswith("_test")]
TRAINING = [file for file in FILES if file not in TESTS]

each = partial(pytest.mark.parametrize, "path", ids=lambda path: path.stem)


def read(path: Path):
    cfg = default_config()
    merge_file(cfg, path)
    return cfg


def sibling(path: Path, kind: str) -> Path:
    """The file of the same data and model for ``stage1``, ``stage2`` or ``test``."""
    return path.with_stem(re.sub("(stage1|stage2|test)$", kind, path.stem))


def final_weights(path: Path) -> str:
    cfg = read(path)
    return f"{cfg.data.save_dir}/model/model.pth.tar-{cfg.train.max_epoch}"


# ------------------------------------------------------------------ what the files say


def test_all_are_there():
    tested = ["market1501", "dukemtmcreid", "cuhk03_labeled", "cuhk03_detected", "msmt17"]
    tested.append("r18_market1501")
    paired = [*tested, "official_market1501", "official_cuhk03_labeled"]
    paired += ["r18_synthetic", "r18_ablation"]
    names = [f"magnifiernet_{data}_stage{i}" for data in paired for i in (1, 2)]
    names += [f"magnifiernet_{data}_test" for data in tested]
    names += ["magnifiernet_r18_g_synthetic", "san_pg_pit", "san_r18_pg_synthetic"]
    names += ["san_market1501", "san_cuhk03_labeled", "san_r18_synthetic"]
    assert {file.stem for file in FILES} == set(names)


@each(FILES)
def test_passes_the_checks_of_the_command(path, tmp_path, monkeypatch):
    """Known keys and names, a size that fits, sources with masks: all that needs no data."""
    monkeypatch.chdir(tmp_path)
    cfg = read(path)
    checks.check(cfg)
    assert cfg.model.name in list_models()


@each(TRAINING)
def test_training_loses_little_and_leaves_its_heads_weights_to_the_model(path):
    cfg = read(path)
    assert not cfg.test.evaluate
    assert "rerank" not in path.read_text()  # torchreid ignores it in training
    if cfg.loss.name != "softmax":
        assert cfg.loss.triplet.weight_t == cfg.loss.triplet.weight_x == 1
    assert 0 < cfg.test.eval_freq <= 20  # a kill loses no more epochs than that


@each(FIRST_STAGES)
def test_the_stages_of_a_pair_agree(path):
    first, second = read(path), read(sibling(path, "stage2"))
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


@each(TESTS)
def test_a_file_to_test_with_agrees_with_the_stages(path):
    cfg, trained = read(path), read(sibling(path, "stage2"))
    assert cfg.test.evaluate and not cfg.test.rerank and "rerank: False" in path.read_text()
    assert not cfg.model.pretrained
    assert cfg.data.sources == cfg.data.targets == trained.data.targets  # without masks
    assert cfg.data.save_dir == trained.data.save_dir.replace("stage2", "test")
    assert cfg.model.name == trained.model.name
    assert cfg.cuhk03 == trained.cuhk03
    for key in ("height", "width", "workers", "norm_mean", "norm_std"):
        assert cfg.data[key] == trained.data[key]
    for key in ("batch_size", "dist_metric", "normalize_feature", "ranks"):
        assert cfg.test[key] == trained.test[key]


@each([file for file in FILES if file.stem.endswith(("_stage2", "_test"))])
def test_says_which_weights_it_takes(path):
    """``--stages`` hands the weights on by itself, any other command must name them."""
    text = path.read_text()
    before = sibling(path, "stage1" if path in TRAINING else "stage2")
    assert f"model.load_weights {final_weights(before)}\n" in text or "--stages" in text


@each(FILES)
def test_commands_in_comments_name_files_that_exist(path):
    named = re.findall(r"examples/configs/\S+", path.read_text())
    assert f"examples/configs/{path.name}" in named
    assert all((CONFIGS.parent.parent / name).is_file() for name in named)


def test_no_two_runs_share_a_folder():
    folders = [read(path).data.save_dir for path in FILES]
    assert len(set(folders)) == len(folders)


def stages_of(model: str):
    pairs = [(read(path), read(sibling(path, "stage2"))) for path in FIRST_STAGES]
    return [pair for pair in pairs if pair[0].model.name == model]


def check_optimizer_of_both(first, second):
    """What paper and reference implementation have in common."""
    assert (first.data.height, first.data.width) == (384, 192)
    assert (first.train.batch_size, first.sampler.num_instances) == (64, 4)
    assert (first.train.optim, first.train.lr, first.train.weight_decay) == ("adam", 3.5e-4, 5e-4)
    assert (first.train.lr_scheduler, first.train.gamma) == ("warmup_multi_step", 0.1)
    assert first.loss.softmax.label_smooth and first.loss.triplet.margin == 0.3
    assert second.train.max_epoch == 40
    assert (second.train.lr_scheduler, second.train.stepsize) == ("single_step", [40])  # constant


def test_the_papers_network():
    """Section 4.1: sizes and lengths of the two stages; CUHK03's schedule is the reference's."""
    pairs = stages_of("magnifiernet")
    assert len(pairs) == 5
    for first, second in pairs:
        check_optimizer_of_both(first, second)
        of_cuhk = first.data.targets == ["cuhk03"]
        schedule = (560, [40]) if of_cuhk else (460, [40, 70])
        assert (first.train.max_epoch, first.train.stepsize) == schedule
        assert second.train.lr == pytest.approx(last_rate(first))


def last_rate(cfg) -> float:
    return cfg.train.lr * cfg.train.gamma ** len(cfg.train.stepsize)


def test_the_reference_implementation():
    """configs/market-train.yaml and cuhk-l-train.yaml: stage 2 goes on where stage 1 ended."""
    schedules = {}
    for first, second in stages_of("magnifiernet_official"):
        check_optimizer_of_both(first, second)
        schedules[first.data.targets[0]] = (first.train.max_epoch, first.train.stepsize)
        assert second.train.lr == pytest.approx(last_rate(first))
    assert schedules == {"market1501": (460, [40, 70]), "cuhk03": (560, [40])}


def test_cuhk03_takes_the_boxes_it_names():
    files = [path for path in FILES if "cuhk03" in path.stem]
    assert len(files) == 9
    for path in files:
        cfg = read(path)
        assert cfg.cuhk03.labeled_images is ("labeled" in path.stem)
        assert not cfg.cuhk03.classic_split  # the new protocol, 767 and 700 identities


# ------------------------------------------------------------------ made data
# 20 identities of 4 images to train on, a batch takes 16 of them. 4 others of 1 query and 5 gallery
# images: as many as test.ranks asks for.


def people():
    """Yields subset, identity (from 0 in training and in testing), camera (1 or 2), number."""
    for subset, identities, cameras in (
        ("train", 20, (1, 1, 2, 2)),
        ("query", 4, (1,)),
        ("gallery", 4, (2,) * 5),
    ):
        for identity in range(identities):
            for number, camera in enumerate(cameras):
                yield subset, identity, camera, number


def draw(folder: Path, name: str, labelled: bool) -> None:
    """Noise with, for training, part labels in ``<folder>_ps_label``, textures in ``_texture``."""
    generator = np.random.default_rng()
    pixels = generator.integers(0, 256, (64, 32, 3), dtype=np.uint8)
    files = [(folder / name, pixels)]
    if labelled:
        # In blocks, so that labels are not lost where images are made smaller.
        labels = generator.integers(0, NUM_PARTS, (8, 4), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        texture = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8).repeat(16, 0)
        for suffix, array in (("_ps_label", labels), ("_texture", texture.repeat(16, 1))):
            path = folder.with_name(folder.name + suffix) / name
            files.append((path.with_suffix(".png"), array))
    for path, array in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path)


def make_market1501(folder: Path) -> None:
    """Also DukeMTMC-reID's layout."""
    subfolders = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
    for subset, identity, camera, number in people():
        pid = 1 + identity + 700 * (subset != "train")
        name = f"{subfolders[subset]}/{pid:04d}_c{camera}s1_{number:06d}_00.jpg"
        draw(folder, name, subset == "train")


def make_pit(folder: Path) -> None:
    generator = np.random.default_rng()
    for texture in range(20):
        for number in range(4):
            draw(folder / "images", f"{texture:04d}_{number:02d}.jpg", labelled=False)
        path = folder / "textures" / f"{texture:04d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (256, 256, 3), dtype=np.uint8)).save(path)


def make_msmt17(folder: Path) -> None:
    for subset, identity, camera, number in people():
        path = f"{identity:04d}/{identity:04d}_{number:03d}_{camera:02d}_0303morning_0015_0.jpg"
        draw(folder, f"{'train' if subset == 'train' else 'test'}/{path}", subset == "train")
        with open(folder / f"list_{subset}.txt", "a") as listed:
            listed.write(f"{path} {identity}\n")
    (folder / "list_val.txt").touch()


def make_cuhk03(folder: Path) -> None:
    """As torchreid leaves it when it has unpacked the ``.mat`` files."""
    for boxes in ("labeled", "detected"):
        split = {"train": [], "query": [], "gallery": []}
        for subset, identity, camera, number in people():
            pid = 1 + identity + 700 * (subset != "train")
            name = f"1_{pid:03d}_{camera}_{number + 1:02d}.png"
            draw(folder / f"images_{boxes}", name, subset == "train")
            path = str(folder / f"images_{boxes}" / name)
            split[subset].append([path, identity, camera - 1])
        for protocol in ("new", "classic"):
            (folder / f"splits_{protocol}_{boxes}.json").write_text(json.dumps([split]))
        (folder / f"cuhk03_new_protocol_config_{boxes}.mat").touch()
    (folder / "cuhk03_release").mkdir()
    (folder / "cuhk03_release" / "cuhk-03.mat").touch()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("reid-data")
    make_market1501(root / "market1501" / "Market-1501-v15.09.15")
    make_market1501(root / "dukemtmc-reid" / "DukeMTMC-reID")
    make_msmt17(root / "msmt17" / "MSMT17_V1")
    make_cuhk03(root / "cuhk03")
    make_pit(root / "pit")
    few = partial(generate, settings=Settings(train_ids=8, test_ids=4, distractors=0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torchreid_magnifier.synthetic.dataset.generate", few)
        yield root


# ------------------------------------------------------------------ the first batch


@pytest.fixture
def build(root, tmp_path, monkeypatch):
    """The train command with a file and options, on the made data and the CPU.

    On a backbone of four layers, without ImageNet's weights, which would be downloaded, without
    workers, which are slow to start, and without torch's long report on the machine.
    """
    monkeypatch.setattr(torchreid.utils, "collect_env_info", str)

    def build(path: Path, *options: str) -> None:
        model = read(path).model
        small = {**model.options, **on_slim(model.name)}
        given = f"use_gpu False model.pretrained False data.workers 0 data.save_dir {tmp_path}"
        arguments = ["--config-file", str(path), "--root", str(root), *given.split(), *options]
        arguments += ["model.options", yaml.safe_dump(small, default_flow_style=True).strip()]
        assert main(["train", *arguments]) == 0

    return build


def first_images(batch, count: int, step: int):
    """Of a batch the first images, and of these every ``step``-th pixel.

    With a whole batch a ResNet-50 takes tens of seconds for a step on a core.
    """
    return {"img": batch["img"][:count, :, ::step, ::step], "pid": batch["pid"][:count]}


@each(TRAINING)
def test_takes_a_step_of_training(path, build, monkeypatch):
    """The engine as the command builds it, its first batch, and a step with 8 of its images."""
    engines = []
    monkeypatch.setattr(torchreid.engine.Engine, "run", lambda engine, **_: engines.append(engine))
    build(path)
    (engine,) = engines
    cfg = read(path)

    warm_up = 0.01 if "warmup" in cfg.train.lr_scheduler else 1
    assert engine.get_current_lr() == pytest.approx(cfg.train.lr * warm_up)
    batch = next(iter(engine.train_loader))
    masked, textured = (cfg.data.sources[0].endswith(end) for end in ("_masks", "_textures"))
    size = (cfg.data.height, cfg.data.width)
    assert batch["img"].shape == (cfg.train.batch_size, 3 + masked + 6 * textured, *size)
    if cfg.sampler.train_sampler == "RandomIdentitySampler":
        instances = cfg.sampler.num_instances
        images_of_each = batch["pid"].unique(return_counts=True)[1].tolist()
        assert images_of_each == [instances] * (cfg.train.batch_size // instances)

    engine.set_model_mode("train")
    losses = engine.forward_backward(first_images(batch, 8, step=max(1, cfg.data.height // 128)))
    attached = engine.model.loss_log.last
    assert ({"loss"} if cfg.loss.name == "softmax" else {"loss_t", "loss_x"}) <= losses.keys()
    assert ("loss_mask" in attached) == masked
    assert ("loss_l1" in attached) == textured
    assert ("loss_sd" in attached) == (cfg.loss.name == "triplet_sd")
    assert all(math.isfinite(loss) for loss in (*losses.values(), *attached.values()))
    for name, parameter in engine.model.named_parameters():
        if cfg.train.optim == "san_adam" and name.startswith("decoder."):
            assert parameter.grad is None, name  # its gradients are kept apart
            continue
        if "_pg" in cfg.model.name and name.startswith(("fc.", "classifier.")):
            assert not parameter.grad.any(), name  # of identities it learns nothing
        else:
            assert 0 < parameter.grad.abs().sum() < math.inf, name
        assert engine.optimizer.state[parameter]["step"] == 1, name
    if cfg.train.optim == "san_adam":
        apart = engine.optimizer.state_dict()["reconstruction"]["state"]
        assert len(apart) == sum(
            len(list(part.parameters())) for part in (engine.model.backbone, engine.model.decoder)
        )
        assert all(state["step"] == 1 for state in apart.values())


@each(TESTS)
def test_tests_a_model(path, build, capsys):
    """An evaluation without weights, at 96x48: what is not trained here is still ranked."""
    build(path, "data.height", "96", "data.width", "48")
    printed = capsys.readouterr().out
    assert "Done, obtained 4-by-" in printed and "Done, obtained 20-by-" in printed
    assert 0 < float(re.search(r"mAP: ([\d.]+)%", printed)[1]) <= 100
    assert "Rank-20 : 100.0%" in printed
    assert "Start training" not in printed and "re-ranking" not in printed


def test_re_ranking_is_an_option_of_the_command(build, capsys):
    build(CONFIGS / "magnifiernet_r18_market1501_test.yaml", "test.rerank", "True")
    printed = capsys.readouterr().out
    assert "Applying person re-ranking" in printed
    assert 0 < float(re.search(r"mAP: ([\d.]+)%", printed)[1]) <= 100
