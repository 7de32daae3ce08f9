"""Runs of training: nothing is lost, what goes on is what an undisturbed run would be."""

import gc
import os
import random
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torchreid
from networks import small
from noise_data import SLIM, write_config
from PIL import Image

from torchreid_magnifier import SAN, open_network
from torchreid_magnifier.cli import main
from torchreid_magnifier.files import locked
from torchreid_magnifier.training import loaders, resume
from torchreid_magnifier.training.checks import TRANSFORMS
from torchreid_magnifier.training.config import (
    ConfigError,
    default_config,
    flatten,
    merge_file,
    merge_list,
)
from torchreid_magnifier.training.engine import Engine


@pytest.fixture
def train(tmp_path, noise_root):
    """``train("train.max_epoch 2")``: the exit status of a small run into ``tmp_path / "log"``."""
    file = write_config(tmp_path / "run.yaml", model=SLIM, test={"eval_freq": 1})

    def run(options: str = "", root: Path = noise_root) -> int:
        given = ["--config-file", str(file), "--root", str(root), *options.split()]
        return main(["train", *given, "data.save_dir", str(tmp_path / "log")])

    return run


def saved(folder: Path, epoch: int) -> dict:
    return torch.load(folder / "log" / "model" / f"model.pth.tar-{epoch}")


# ------------------------------------------------------------------ weights before any test


@pytest.mark.parametrize(
    "failure", [RuntimeError("out of memory"), AssertionError(), OSError("a file is gone")]
)
def test_a_test_that_fails_loses_no_training(train, tmp_path, monkeypatch, capsys, failure):
    def fail(*args, **kwargs):
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "_rank", fail)
        assert train() == 1
    weights = tmp_path / "log" / "model" / "model.pth.tar-1"
    message = capsys.readouterr().err
    assert f"error: the test failed: {str(failure) or 'AssertionError'}\n" in message
    assert f"its weights are in {weights}" in message and "Traceback" not in message
    assert f"test.evaluate True model.load_weights {weights}" in message
    before = saved(tmp_path, 1)["state_dict"]

    assert train(f"test.evaluate True model.load_weights {weights}") == 0
    assert train() == 0  # tests it again, without training
    printed = capsys.readouterr().out
    assert "not yet tested" in printed and "Start training" not in printed
    after = saved(tmp_path, 1)["state_dict"]
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert (tmp_path / "log" / "results.json").is_file()


@pytest.fixture
def people(tmp_path):
    """Write Market-1501's layout of ``{folder: [(pid, camera), ...]}``; gives the root."""

    def write(**folders) -> Path:
        images = tmp_path / "people" / "market1501" / "Market-1501-v15.09.15"
        for folder in ("bounding_box_train", "query", "bounding_box_test"):
            (images / folder).mkdir(parents=True)
            for number, (pid, camera) in enumerate(folders[folder]):
                name = f"{pid:04d}_c{camera}s1_{number:06d}_00.jpg"
                Image.new("RGB", (16, 32), (pid * 20, camera * 20, 0)).save(images / folder / name)
        return tmp_path / "people"

    return write


TRAIN = [(pid, camera) for pid in (1, 2, 3, 4) for camera in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("query", "gallery", "message"),
    [
        ([], [(5, 1)], "made has no query images to test on"),
        ([(5, 1)], [], "made has no gallery images to test on"),
    ],
)
def test_a_test_without_images_is_reported(noise_root, query, gallery, message):
    image = next(noise_root.rglob("*.jpg"))
    with pytest.raises(ConfigError, match=message):
        samples = ([(image, *who, 0) for who in split] for split in (query, gallery))
        loaders._check_test("made", *samples, whole=True)


def test_a_test_with_nobody_to_find_is_reported_before_training(train, people, capsys):
    root = people(bounding_box_train=TRAIN, query=[(5, 1)], bounding_box_test=[(5, 1), (6, 2)])
    assert train(root=root) == 2
    printed = capsys.readouterr()
    assert "no query's person is in the gallery of market1501 by another camera" in printed.err
    assert "Start training" not in printed.out


@pytest.mark.parametrize("folder", ["query", "bounding_box_train"])
def test_an_image_that_was_cut_is_reported_before_training(train, people, capsys, folder):
    root = people(bounding_box_train=TRAIN, query=[(5, 1)], bounding_box_test=[(5, 2)])
    image = next(root.rglob(f"{folder}/*.jpg"))
    image.write_bytes(image.read_bytes()[:-20])
    assert train(root=root) == 2
    printed = capsys.readouterr()
    assert str(image) in printed.err and "Start training" not in printed.out


# ------------------------------------------------------------------ steps


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            "sampler.train_sampler RandomSampler train.batch_size 17",
            "no step would be taken in an epoch: RandomSampler gives no batch of train.batch_size "
            "17, found 16 images of 4 identities in market1501",
        ),
        ("sampler.train_sampler SequentialSampler train.batch_size 64", "no step would be taken"),
        ("train.batch_size 20", "Sampler cannot make batches of train.batch_size 20 with num_ins"),
        ("train.batch_size 3", "(batch_size=3 must be no less than num_instances=4)"),
        (
            "sampler.train_sampler RandomDomainSampler sampler.num_cams 3",
            "with num_instances 4, nu",
        ),
    ],
)
def test_an_epoch_without_a_step_is_an_error(train, capsys, options, message):
    assert train(options) == 2
    printed = capsys.readouterr()
    assert message in printed.err and "Start training" not in printed.out


def test_counting_the_steps_draws_nothing(noise_root):
    cfg = default_config()
    merge_list(cfg, ["data.root", str(noise_root), "data.workers", "0", "use_gpu", "False"])
    merge_list(cfg, ["sampler.train_sampler", "RandomIdentitySampler", "train.batch_size", "8"])
    torchreid.utils.set_random_seed(3)
    expected = random.random(), np.random.random(), torch.rand(1)
    torchreid.utils.set_random_seed(3)
    loaders.read_data(cfg)
    assert (random.random(), np.random.random(), torch.rand(1)) == expected


# ------------------------------------------------------------------ going on


def images_of_first_steps(monkeypatch) -> list[torch.Tensor]:
    """The images of each step that will be taken."""
    seen = []
    step = Engine.forward_backward

    def watched(self, data):
        seen.append(data["img"].clone())
        return step(self, data)

    monkeypatch.setattr(Engine, "forward_backward", watched)
    return seen


def test_each_resumed_epoch_draws_anew(train, tmp_path, monkeypatch):
    """Not the batches and the augmentation of the epoch that another resumed run began with.

    Of checkpoints that hold no random state: those of stock main.py.
    """
    seen = images_of_first_steps(monkeypatch)
    for epochs in (1, 2, 3):
        assert train(f"train.max_epoch {epochs}") == 0
        path = tmp_path / "log" / "model" / f"model.pth.tar-{epochs}"
        state = torch.load(path)
        del state["random"]
        torch.save(state, path)
    assert len(seen) == 3
    assert not torch.equal(seen[1], seen[2]) and not torch.equal(seen[0], seen[1])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_goes_on_is_an_undisturbed_one_to_the_last_bit(train, tmp_path, workers):
    """Images, batches, weights and the optimizer's state, however often it tests."""
    given = f"data.workers {workers} data.transforms ['random_flip','random_crop','random_erase']"
    given += " train.batch_size 8 train.stepsize [2]"
    ends = []
    for name, epochs in {"whole": (4,), "parts": (1, 3, 4)}.items():
        for end in epochs:
            freq = 1 if name == "parts" else 4
            assert train(f"{given} test.eval_freq {freq} train.max_epoch {end}") == 0
        ends.append(saved(tmp_path, 4))
        (tmp_path / "log").rename(tmp_path / name)
    for name, tensor in ends[0]["state_dict"].items():
        assert torch.equal(tensor, ends[1]["state_dict"][name]), name
    for key, state in ends[0]["optimizer"]["state"].items():
        assert all(torch.equal(v, ends[1]["optimizer"]["state"][key][n]) for n, v in state.items())
    assert ends[0]["rank1"] == ends[1]["rank1"]
    assert ends[0]["scheduler"]["_last_lr"] == ends[1]["scheduler"]["_last_lr"]


# What may differ when a run goes on; all else decides what is trained.
FREE = {
    *("data.root", "data.workers", "data.targets", "data.save_dir", "model.resume"),
    *("train.max_epoch", "train.start_epoch", "train.print_freq", "cuhk03.use_metric_cuhk03"),
}


@pytest.mark.parametrize("key", sorted(flatten(default_config())))
def test_a_run_goes_on_with_what_decides_its_training_unchanged(tmp_path, key):
    cfg = default_config()
    cfg.data.save_dir = str(tmp_path)
    resume.record(cfg)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.pth.tar-1").touch()
    resume.check_same_run(cfg)
    value = flatten(cfg)[key]
    kinds = {bool: lambda: not value, str: lambda: f"{value}x", list: lambda: [*value, *value]}
    if key == "model.options":
        other = "{fusion: gru}"
    elif key == "data.save_dir":
        other = f"{tmp_path}/../{tmp_path.name}"
    else:
        other = kinds.get(type(value), lambda: value + 1)()
    merge_list(cfg, [key, str(other)])
    if key in FREE or key.startswith("test."):
        resume.check_same_run(cfg)
    else:
        with pytest.raises(ConfigError, match=f"{re.escape(key)} was .* and is "):
            resume.check_same_run(cfg)


SCHEDULES = {
    "cosine": "",
    "single_step": "train.stepsize [2]",
    "multi_step": "train.stepsize [1,3]",
    "warmup_multi_step": "train.stepsize [4,6]",
    "exponential_warmup_multi_step": "train.stepsize [3,6]",
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_run_that_is_extended_has_the_rates_of_an_undisturbed_one(
    train, tmp_path, monkeypatch, schedule
):
    """Equal to the last bit: those of the epochs that follow."""
    rates = []
    epoch = Engine.train

    def watched(self, *args, **kwargs):
        rates.append(self.optimizer.param_groups[0]["lr"])
        monkeypatch.setattr(self, "forward_backward", lambda data: {"loss": 0.0})
        epoch(self, *args, **kwargs)

    monkeypatch.setattr(Engine, "train", watched)
    given = f"train.lr_scheduler {schedule} train.optim sgd {SCHEDULES[schedule]} test.eval_freq -1"
    assert train(f"{given} train.max_epoch 4") == 0
    whole = rates.copy()
    (tmp_path / "log").rename(tmp_path / "whole")
    rates.clear()
    assert train(f"{given} train.max_epoch 2") == 0
    assert train(f"{given} train.max_epoch 4") == 0
    assert rates[2:] == whole[2:] and len(set(whole)) > 1


def test_other_identities_are_named(train, people, tmp_path, capsys):
    test = {"query": [(8, 1)], "bounding_box_test": [(8, 2)]}
    root = people(bounding_box_train=TRAIN, **test)
    assert train(root=root) == 0
    more = root.rglob("bounding_box_train/0004_c1*")
    (image,) = more
    fifth = [image.with_name(f"0005_c{i}s1_000099_00.jpg") for i in (1, 2, 3, 4)]
    for path in fifth:
        Image.new("RGB", (16, 32)).save(path)
    capsys.readouterr()
    assert train("train.max_epoch 2", root) == 2
    message = capsys.readouterr().err
    assert "it was trained on 4 identities, and the sources have 5" in message

    for path in image.parent.glob("0002_*"):  # as many as before, but others
        path.unlink()
    assert train("train.max_epoch 2", root) == 2
    message = capsys.readouterr().err
    assert (
        "3 of its 4 identities are other people now: number 1 was the person of 0002_c1" in message
    )
    assert "and is that of 0003_c1" in message and "model.name" not in message


def test_other_identities_of_a_checkpoint_of_main_py_are_counted(train, people, tmp_path, capsys):
    """It has no record of who they were."""
    assert train() == 0
    path = tmp_path / "log" / "model" / "model.pth.tar-1"
    state = saved(tmp_path, 1)
    del state["identities"], state["network"]
    torch.save(state, path)
    (tmp_path / "log" / "config.yaml").unlink()
    root = people(bounding_box_train=TRAIN[:12], query=[(8, 1)], bounding_box_test=[(8, 2)])
    capsys.readouterr()
    assert train("train.max_epoch 2 train.batch_size 12", root) == 2
    message = capsys.readouterr().err
    assert "is of a training on 4 identities, and the training set has 3" in message


def test_two_runs_at_once_are_refused(train, tmp_path, capsys):
    (tmp_path / "log").mkdir()
    with locked(tmp_path / "log" / ".lock"):
        assert train() == 2
    assert f"another run is writing into {tmp_path}/log" in capsys.readouterr().err
    assert train() == 0


def test_what_a_killed_run_left_half_written_is_removed(train, tmp_path):
    half = tmp_path / "log" / "model" / ".model.pth.tar-1.4711.partial"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    assert train() == 0
    assert [path.name for path in half.parent.iterdir()] == ["model.pth.tar-1"]


# ------------------------------------------------------------------ checkpoints


def test_checkpoints_load_without_this_package(train, tmp_path):
    """And carry what is needed to build their network, and to feed it."""
    paths = []
    for schedule, options in SCHEDULES.items():
        assert train(f"train.lr_scheduler {schedule} {options}") == 0
        paths.append((tmp_path / "log").rename(tmp_path / schedule) / "model" / "model.pth.tar-1")
    code = (
        "import sys, torch\n"
        "found = [torch.load(path, weights_only=True) for path in sys.argv[1:]]\n"
        "assert 'torchreid_magnifier' not in sys.modules\n"
        "print(*((c['network'], len(c['identities'])) for c in found), sep='\\n')"
    )
    environment = os.environ | {"TORCHREID_MAGNIFIER_AUTOLOAD": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code, *paths], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    network = {
        "model": "magnifiernet_r18_g",
        "options": {"backbone": "slim"},
        "loss": "triplet",
        "num_classes": 4,
        "sources": ["market1501"],
        "height": 64,
        "width": 32,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }
    assert done.stdout.splitlines() == [str((network, 4))] * len(SCHEDULES)


def test_a_checkpoint_alone_says_how_its_network_is_opened(train, tmp_path):
    assert train("model.options.biases true") == 0
    path = tmp_path / "elsewhere.pth"
    (tmp_path / "log" / "model" / "model.pth.tar-1").rename(path)
    network = open_network(path)
    options = {"backbone": "slim", "biases": True}
    assert (network.card.model, network.card.options) == ("magnifiernet_r18_g", options)
    assert (network.card.height, network.card.width) == (64, 32)
    assert network.card.dataset == "market1501"
    assert network.model.trained_size == (64, 32)


def test_weights_know_the_size_of_their_images(train, tmp_path):
    """Of a model of this package, in evaluation; torchreid's FeatureExtractor loads them so."""
    assert train() == 0
    path = str(tmp_path / "log" / "model" / "model.pth.tar-1")
    model = small("magnifiernet_r18_g", "softmax", 4).eval()
    torchreid.utils.load_pretrained_weights(model, path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(torch.zeros(1, 3, 64, 32))
    with pytest.warns(UserWarning, match="trained on images of 64x32 pixels and is given 128x64"):
        model(torch.zeros(1, 3, 128, 64))
    options = f"test.evaluate True model.load_weights {path} data.height 96 data.width 48"
    with pytest.warns(UserWarning, match="of 64x32 pixels and is given 96x48"):
        assert train(options) == 0


# ------------------------------------------------------------------ options of a model


def test_options_of_a_model_in_files_and_on_the_command_line(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("model:\n  options: {fusion: lstm, widths: [4, 2]}\n")
    cfg = default_config()
    merge_file(cfg, file)
    assert flatten(cfg)["model.options"] == {"fusion": "lstm", "widths": [4, 2]}
    again = default_config()
    (tmp_path / "dumped.yaml").write_text(cfg.dump())
    merge_file(again, tmp_path / "dumped.yaml")
    assert again == cfg
    merge_list(cfg, ["model.options", "{fusion: mean}"])
    assert flatten(cfg)["model.options"] == {"fusion": "mean"}
    merge_list(cfg, ["model.options.mask_weight", "1e-3"])
    assert flatten(cfg)["model.options"] == {"fusion": "mean", "mask_weight": 0.001}
    merge_list(cfg, ["model.options", "{fusion: mean, sd_weight: -1.5E2, region_scaling: 1e}"])
    expected = {"fusion": "mean", "sd_weight": -150.0, "region_scaling": "1e"}
    assert flatten(cfg)["model.options"] == expected
    merge_list(cfg, ["model.options", "{fusion: mean}"])
    merge_list(cfg, ["model.options.num_kept_regions", "2", "model.options.fusion", "gru"])
    assert flatten(cfg)["model.options"] == {"fusion": "gru", "num_kept_regions": 2}
    assert flatten(default_config())["model.options"] == {}


@pytest.mark.parametrize("value", ["lstm", "[1]", "{1: 2}", "{a: "])
def test_options_that_are_no_mapping(value):
    with pytest.raises(ConfigError, match="command line: model.options takes a mapping of option"):
        merge_list(default_config(), ["model.options", value])


# ------------------------------------------------------------------ memory


def test_random_patch_begins_each_epoch_with_an_empty_pool(noise_root):
    """As in torchreid, whose pools end with their worker: else they grow for ever."""
    cfg = default_config()
    merge_list(cfg, ["data.root", str(noise_root), "data.workers", "0", "use_gpu", "False"])
    merge_list(cfg, ["data.transforms", "['random_patch']", "train.batch_size", "4"])
    for name in ("market1501", "market1501_masks"):
        cfg.data.sources = [name]
        data = loaders.read_data(cfg)
        (patches,) = [t for t in data.transform_tr.transforms if hasattr(t, "patchpool")]
        for _ in range(4):
            assert sum(len(batch["pid"]) for batch in data.train_loader) == 16
            assert 0 < len(patches.patchpool) <= 16


@pytest.mark.parametrize("transforms", [["random_patch"], sorted({*TRANSFORMS} - {"random_patch"})])
def test_memory_is_flat_over_epochs(noise_root, transforms):
    """At 384x192: torchreid's pool of random_patch would grow by a megabyte in each."""
    cfg = default_config()
    merge_list(cfg, ["data.root", str(noise_root), "data.workers", "0", "use_gpu", "False"])
    merge_list(cfg, ["data.height", "384", "data.width", "192", "train.batch_size", "16"])
    cfg.data.transforms = transforms
    data = loaders.read_data(cfg)
    used = []
    for _ in range(12):
        assert sum(1 for _ in data.train_loader) == 1
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        used.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
    slope = np.polyfit(range(8), used[4:], 1)[0]
    assert slope < 0.3, used  # MB an epoch


def test_too_little_shared_memory_is_reported(train, monkeypatch, capsys):
    monkeypatch.setattr(loaders, "shared_memory", lambda: 2 * 100 * 3 * 64 * 32 * 4)
    assert train("data.workers 2") == 2
    message = capsys.readouterr().err
    assert "data.workers 2 hand batches over in /dev/shm" in message
    assert "--shm-size 1g), or set data.workers 1" in message
    assert train("data.workers 0") == 0


# ------------------------------------------------------------------ options that are all used


def test_an_option_between_two_lists_of_targets_is_not_dropped(train, capsys):
    with pytest.raises(SystemExit, match="2"):
        train("-t market1501 model.name resnet18 -t market1501")
    assert "argument -t/--targets: given twice" in capsys.readouterr().err


def test_what_a_run_uses_is_printed(train, capsys):
    assert train("-t market1501 train.lr 0.001 data.transforms [] ") == 0
    printed = capsys.readouterr().out
    assert (
        """This run
  model: magnifiernet_r18_g, backbone slim, for images of 64x32
  targets: market1501, euclidean distance
  loss: triplet (triplet x 1, margin 0.3; cross-entropy x 1)
  sources: market1501, RandomIdentitySampler, 16 images a batch
  transforms: none
  schedule: adam, learning rate 0.001, single_step [10] x 0.1, 1 epochs
"""
        in printed
    )


# ------------------------------------------------------------------ an optimizer's traces


def test_a_later_optimizer_trains_what_san_adam_stepped_apart():
    """With the first one gone, and with the first one still there."""
    model = SAN(2, "triplet", backbone="resnet18", pretrained=False, decoder_widths=(8, 8, 8, 4, 4))
    model.train()
    batch = torch.rand(8, 9, 32, 32)
    for first in (True, False):
        apart = torchreid.optim.build_optimizer(model, "san_adam")
        logits, features = model(batch)
        (logits[0].sum() + features[0].sum()).backward()
        assert all(p.grad is None for p in model.decoder.parameters())
        if first:
            del apart
        later = torchreid.optim.build_optimizer(model, "adam")
        logits, features = model(batch)
        later.zero_grad()
        (logits[0].sum() + features[0].sum()).backward()
        assert all(p.grad is not None for p in model.decoder.parameters())
        later.zero_grad()
