"""``torchreid-magnifier train``: stock training, stages, going on after a kill, clear errors."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torchreid
from networks import small
from noise_data import SLIM, write_config
from processes import killed_at
from torch.utils.data import DataLoader

from torchreid_magnifier.cli import main
from torchreid_magnifier.losses import BatchHardTripletLoss
from torchreid_magnifier.training.loaders import keeping_workers
from torchreid_magnifier.training.optim import use_fused
from torchreid_magnifier.training.resume import newest

STOCK = {"name": "osnet_x0_25", "options": {}}


@pytest.fixture
def config(tmp_path, noise_root):
    """Write a YAML of the small run with changes ``section={key: value}``; gives its path."""

    def write(name: str = "run", **changes) -> str:
        own = {
            "model": SLIM,
            "data": {"root": str(noise_root), "save_dir": str(tmp_path / f"log-{name}")},
            "train": {"max_epoch": 2},
        }
        for section, keys in changes.items():
            own[section] = own.get(section, {}) | keys
        return str(write_config(tmp_path / f"{name}.yaml", **own))

    return write


def checkpoint(folder: Path, epoch: int) -> dict:
    return torch.load(folder / "model" / f"model.pth.tar-{epoch}", weights_only=False)


def optimizer_steps(saved: dict) -> int:
    return int(next(iter(saved["optimizer"]["state"].values()))["step"])


# ------------------------------------------------------------------ what it does


def test_trains_as_torchreids_own_classes_do(config, noise_root, tmp_path, capsys):
    """The checkpoint equals, bit by bit, that of a run written with torchreid's Python API.

    With the losses and the fused steps of the command; those are compared in test_engines.py.
    """
    assert main(["train", "--config-file", config(model=STOCK)]) == 0
    printed = capsys.readouterr().out
    ours = checkpoint(tmp_path / "log-run", 2)

    torchreid.utils.set_random_seed(1)
    datamanager = torchreid.data.ImageDataManager(
        root=str(noise_root),
        sources=["market1501"],
        targets=["market1501"],
        height=64,
        width=32,
        transforms=["random_flip"],
        batch_size_train=16,
        batch_size_test=100,
        workers=0,
        train_sampler="RandomIdentitySampler",
    )
    model = torchreid.models.build_model("osnet_x0_25", 4, loss="triplet", pretrained=False)
    torchreid.utils.compute_model_complexity(model, (1, 3, 64, 32))  # it draws a random image
    optimizer = torchreid.optim.build_optimizer(
        model, optim="adam", lr=0.0003, weight_decay=5e-4, adam_beta2=0.999
    )
    engine = torchreid.engine.ImageTripletEngine(
        datamanager,
        model,
        optimizer,
        scheduler=torchreid.optim.build_lr_scheduler(optimizer, "single_step", [10]),
    )
    use_fused(optimizer)
    engine.criterion_t = BatchHardTripletLoss(0.3)
    engine.criterion_x = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    engine.run(save_dir=str(tmp_path / "api"), max_epoch=2, ranks=[1])
    stock = checkpoint(tmp_path / "api", 2)

    assert ours["rank1"] == stock["rank1"]
    for name, tensor in stock["state_dict"].items():
        assert torch.equal(ours["state_dict"][name], tensor), name
    (log,) = (tmp_path / "log-run").glob("train.log-*")
    assert log.read_text() == printed
    assert "Show configuration" in printed and "Rank-1" in printed


class Where(torch.utils.data.Dataset):
    """Numbers, and the process that reads them."""

    def __len__(self):
        return 9

    def __getitem__(self, index):
        return index, os.getpid()


def test_workers_live_on_from_epoch_to_epoch():
    loader = DataLoader(Where(), batch_size=4, num_workers=1, drop_last=True)
    loader = keeping_workers(loader, loader.sampler)
    epochs = [[(numbers.tolist(), *set(pids.tolist())) for numbers, pids in loader] for _ in "12"]
    (worker,) = {pid for epoch in epochs for _, pid in epoch}
    assert worker != os.getpid()
    assert epochs == [[([0, 1, 2, 3], worker), ([4, 5, 6, 7], worker)]] * 2


def test_evaluates_given_weights(config, tmp_path, capsys):
    path = config()
    assert main(["train", "--config-file", path, "train.max_epoch", "1"]) == 0
    trained = capsys.readouterr().out
    weights = str(tmp_path / "log-run" / "model" / "model.pth.tar-1")
    options = ["test.evaluate", "True", "model.load_weights", weights]
    assert main(["train", "--config-file", path, *options]) == 0
    tested = capsys.readouterr().out
    assert tested[tested.index("** Results") :] in trained
    assert "Start training" not in tested


def test_results_are_what_the_last_test_printed(config, tmp_path, capsys):
    """In full where torchreid prints a tenth of a percent; only training writes them."""
    path = config(test={"eval_freq": 1})
    assert main(["train", "--config-file", path]) == 0
    printed = capsys.readouterr().out
    file = tmp_path / "log-run" / "results.json"
    (result,) = json.loads(file.read_text()).values()
    assert re.findall(r"mAP: (.*)%", printed)[-1] == f"{100 * result['mAP']:.1f}"
    assert re.findall(r"Rank-1  : (.*)%", printed)[-1] == f"{100 * result['rank1']:.1f}"
    assert result["rank1"] == checkpoint(tmp_path / "log-run", 2)["rank1"]
    assert result["epoch"] == 2 and 0 < result["minutes"] < 1

    before = file.read_bytes()
    weights = str(tmp_path / "log-run" / "model" / "model.pth.tar-1")
    options = ["test.evaluate", "True", "model.load_weights", weights]
    assert main(["train", "--config-file", path, *options]) == 0
    assert file.read_bytes() == before

    # It goes on to a third epoch: the time of the first two is not known any more.
    assert main(["train", "--config-file", path, "train.max_epoch", "3"]) == 0
    (result,) = json.loads(file.read_text()).values()
    assert result["epoch"] == 3 and result["minutes"] is None


def test_a_kill_between_the_last_checkpoint_and_the_results(config, tmp_path, capsys):
    """The run is tested again, not trained again; so are runs that stock main.py finished."""
    path, folder = config(), tmp_path / "log-run"
    assert main(["train", "--config-file", path]) == 0
    results = folder / "results.json"
    (before,) = json.loads(results.read_text()).values()
    (saved,) = (folder / "model").glob("model.pth.tar-*")
    written = saved.stat().st_mtime_ns
    for content in (None, "{}", "half of"):
        if content is None:
            results.unlink()
        else:
            results.write_text(content)
        capsys.readouterr()
        assert main(["train", "--config-file", path]) == 0
        printed = capsys.readouterr().out
        assert "The run is trained (2 epochs, " in printed and "not yet tested" in printed
        assert "Start training" not in printed
        assert json.loads(results.read_text()) == {"market1501": before | {"minutes": None}}
    assert list((folder / "model").glob("model.pth.tar-*")) == [saved]
    assert saved.stat().st_mtime_ns == written


def test_options_may_follow_the_flags_that_take_several_values(config, tmp_path):
    arguments = ["-s", "market1501", "train.max_epoch", "1", "-t", "market1501", "data.save_dir"]
    folder = tmp_path / "elsewhere"
    assert main(["train", *arguments, str(folder), "--config-file", config()]) == 0
    assert optimizer_steps(checkpoint(folder, 1)) == 1


def test_each_stage_starts_from_the_weights_before_it(config, tmp_path, capsys):
    """A stage 2 with learning rate 0 ends with stage 1's parameters."""
    magnifiernet = {"name": "magnifiernet_r18"}
    data = {"sources": ["market1501_masks"]}
    first = config("one", model=magnifiernet, data=data, train={"max_epoch": 1})
    second = config(
        "two",
        model=magnifiernet,
        data=data,
        train={"max_epoch": 1, "lr": 0.0},
        loss={"name": "triplet_sd", "triplet": {"weight_x": 1.0}},
    )
    folder = tmp_path / "both"
    arguments = ["train", "--stages", first, second, "data.save_dir", str(folder)]
    assert main(arguments) == 0
    one, two = (checkpoint(folder / f"stage{i}", 1)["state_dict"] for i in (1, 2))
    for name, _ in small("magnifiernet_r18").named_parameters():
        assert torch.equal(one[name], two[name]), name
    assert "loss_sd" in capsys.readouterr().out

    assert main(arguments) == 0
    assert capsys.readouterr().out == "".join(
        f"Stage {i} of 2 is finished (1 epochs, {folder}/stage{i}/model/model.pth.tar-1): "
        "not run again.\n"
        for i in (1, 2)
    )


# ------------------------------------------------------------------ kill and go on


def test_goes_on_after_a_kill(config, tmp_path, capsys):
    path, folder = config(test={"eval_freq": 1}), tmp_path / "log-run"
    words = ["train", "--config-file", path, "train.max_epoch", "1000"]
    killed_at(folder / "model" / "model.pth.tar-2", main, words)

    # What the kill might have left anyway: half of the newest file.
    written = (folder / "model").glob("model.pth.tar-*")  # beside what was being written
    epochs = sorted(int(p.name.rpartition("-")[2]) for p in written)
    newest_file = folder / "model" / f"model.pth.tar-{epochs[-1]}"
    newest_file.write_bytes(newest_file.read_bytes()[:5000])
    start, end = epochs[-2], epochs[-2] + 2

    assert main(["train", "--config-file", path, "train.max_epoch", str(end)]) == 0
    printed = capsys.readouterr().out
    assert f"Passing over an unreadable checkpoint {newest_file} (a kill while" in printed
    assert f"The run goes on after epoch {start}, from {folder}/model/" in printed
    assert f"Last epoch = {start}" in printed
    assert f"epoch: [{start}/" not in printed
    final = checkpoint(folder, end)
    assert final["epoch"] == end
    assert optimizer_steps(final) == end  # one batch an epoch, none lost, none twice
    assert final["scheduler"]["last_epoch"] == end
    logged = "".join(log.read_text() for log in folder.glob("train.log-*"))
    saved = f'Checkpoint saved to "{folder}/model/model.pth.tar-1"'
    assert logged.count(saved) == 1  # the killed run's log is there, too


def test_stages_go_on_after_a_kill_in_the_second(config, tmp_path, capsys):
    stages = [config(name, test={"eval_freq": 1}) for name in ("one", "two")]
    folder = tmp_path / "both"
    words = ["train", "--stages", *stages, "data.save_dir", str(folder), "train.max_epoch", "6"]
    killed_at(folder / "stage2" / "model" / "model.pth.tar-2", main, words)

    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "Stage 1 of 2 is finished (6 epochs" in printed
    assert "Stage 2 of 2 goes on after epoch" in printed
    assert optimizer_steps(checkpoint(folder / "stage2", 6)) == 6


@pytest.mark.parametrize("share", [0, 0.001, 0.02, 0.1, 0.25, 0.5, 0.9, 0.999])
def test_a_checkpoint_cut_anywhere_is_passed_over(tmp_path, capsys, share):
    """torch reports a cut file by one error or another, depending on where it ends."""
    folder = tmp_path / "model"
    folder.mkdir()
    for epoch in (1, 2):
        state = {"state_dict": {"weight": torch.randn(60000)}, "epoch": epoch}
        torch.save(state, folder / f"model.pth.tar-{epoch}")
    cut = folder / "model.pth.tar-2"
    cut.write_bytes(cut.read_bytes()[: int(share * cut.stat().st_size)])
    assert newest(tmp_path) == (str(folder / "model.pth.tar-1"), 1)
    assert capsys.readouterr().out.startswith("Passing over an unreadable checkpoint")


def test_ctrl_c_ends_it_without_a_traceback(config, tmp_path):
    path = config(model=STOCK, test={"eval_freq": 1})
    words = ["train", "--config-file", path, "train.max_epoch", "1000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "torchreid_magnifier", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "log-run" / "model" / "model.pth.tar-1").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.endswith("\ntorchreid-magnifier train: interrupted\n")
    assert "Traceback" not in errors


# ------------------------------------------------------------------ mistakes


def error_of(capsys, *arguments: str) -> str:
    """The message of a run that must fail with status 2, before it reads any data."""
    assert main(["train", *arguments]) == 2
    out, err = capsys.readouterr()
    assert "=> Loading" not in out
    prefix = "torchreid-magnifier train: error: "
    assert err.startswith(prefix)
    return err[len(prefix) :].rstrip("\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            "train.max_epok 3",
            "command line: there is no option 'train.max_epok'; did you mean 'train.max_epoch'",
        ),
        ("train.max_epoch", "options come as pairs 'key value', but 'train.max_epoch' at the end"),
        (
            "train.lr 1",
            "command line: train.lr takes a float such as 0.0003, found '1'",
        ),
        (
            "model.name magnifiernet_r81",
            "model.name: unknown name 'magnifiernet_r81'; did you mean 'magnifiernet_r18'",
        ),
        ("loss.name tripplet", "loss.name: unknown name 'tripplet'; did you mean 'triplet'"),
        (
            "-s market1510",
            "data.sources: unknown name 'market1510'; did you mean 'market1501'",
        ),
        ("-t cuhk3", "data.targets: unknown name 'cuhk3'; did you mean 'cuhk03'"),
        (
            "--transforms random_erasing",
            "data.transforms: unknown name 'random_erasing'; did you mean 'random_erase'",
        ),
        (
            "train.lr_scheduler steps",
            "section 'train': Unsupported scheduler: steps. Must be one of",
        ),
        (
            "loss.name triplet_sd",
            "osnet_x0_25 has no loss triplet_sd: take softmax or triplet",
        ),
        (
            "-s market1501_masks model.name magnifiernet_r18_g loss.name triplet_sd",
            "model.name magnifiernet_r18_g: loss 'triplet_sd' needs the region features of",
        ),
        (
            "model.name magnifiernet_r18 data.height 100 data.width 56",
            "magnifiernet_r18 needs data.height and data.width divisible by 16, found 100 and 56: "
            "the nearest are 96 and 64",
        ),
        (
            "model.name magnifiernet_r18",
            "magnifiernet_r18 trains with part labels, but data.sources has 'market1501': take "
            "'market1501_masks'",
        ),
        (
            "model.name san_r18 -s market1501_masks",
            "san_r18 trains with textures, but data.sources has 'market1501_masks': take "
            "'market1501_textures'",
        ),
        (
            "model.name san_r18 -s market1501_textures sampler.train_sampler RandomSampler "
            "sampler.num_instances 2 train.batch_size 18",
            "san_r18 compares 4 images of each person in a batch: set sampler.train_sampler "
            "RandomIdentitySampler and sampler.num_instances 4 and train.batch_size 16 "
            "(a multiple of 4)",
        ),
        (
            "model.name san_r18 -s market1501_textures train.batch_size 4",
            "san_r18 compares 4 images of each person in a batch: set train.batch_size 8",
        ),
        (
            "model.name san_r18 -s market1501_textures loss.name triplet_sd",
            "model.name san_r18: Unknown loss 'triplet_sd': SAN knows softmax, triplet.",
        ),
        (
            "train.optim san_adam",
            "section 'train': The optimizer 'san_adam' steps identities and textures apart",
        ),
        (
            "train.optim san_adam train.fixbase_epoch 2",
            "train.optim san_adam steps the whole network from the first epoch: set "
            "train.fixbase_epoch 0",
        ),
        (
            "model.name san_r18 -s market1501_textures train.optim san_adam train.staged_lr True",
            "section 'train': The optimizer 'san_adam' has learning rates of its own: set "
            "train.staged_lr False",
        ),
        (
            "data.type video",
            "this command trains on images, found data.type 'video': for video take torchreid's "
            "own scripts/main.py",
        ),
        (
            "loss.triplet.weight_t 0.0 loss.triplet.weight_x 0.0",
            "loss.triplet.weight_t and weight_x are 0 and 0: neither may be negative, and without",
        ),
        ("loss.triplet.weight_t -1.0", "loss.triplet.weight_t and weight_x are -1 and 1: neither"),
        ("data.k_tfm 2", "data.k_tfm must be 1, found 2"),
        (
            "-s market1501_masks",
            "osnet_x0_25 takes images alone, but data.sources has 'market1501_masks': take "
            "'market1501'",
        ),
        ("train.lr 0.1 train.lr 0.2", "command line: train.lr is given 2 times"),
        (
            "-t market1501 data.targets ['market1501']",
            "command line: data.targets is given twice, by its flag and by its key",
        ),
        ("sgd.momentum 0.5", "command line: nothing in this run uses sgd.momentum: it goes with"),
        (
            "sampler.num_cams 2",
            "command line: nothing in this run uses sampler.num_c",
        ),
        ("loss.name softmax loss.triplet.margin 1.0", "command line: nothing in this run uses lo"),
        ("video.seq_len 3", "command line: nothing in this run uses video.seq_len"),
        ("test.ranks []", "test.ranks must be whole numbers of at least 1, such as [1, 5, 10]"),
        ("test.ranks [0]", "test.ranks must be whole numbers of at least 1"),
        ("test.dist_metric cosinus", "test.dist_metric: unknown name 'cosinus'; did you mean 'cos"),
        ("-t pit", "data.targets: pit has images to train on only"),
        ("train.seed -1", "train.seed must be from 0 to 4294967295, found -1"),
        ("train.stepsize []", "train.stepsize must be whole epochs of at least 1"),
        ("train.print_freq 0", "train.print_freq must be at least 1, found 0"),
        ("data.norm_std [1,0,1]", "data.norm_std must be three numbers, of red, green and blue, a"),
        ("train.batch_size 0", "train.batch_size must be at least 1, found 0"),
        (
            "model.options.fusion lstm",
            "model.name osnet_x0_25: osnet_x0_25 is torchreid's own and takes no options, found",
        ),
        (
            "-s market1501_masks model.name magnifiernet_r18 model.options.fuson lstm",
            "model.name magnifiernet_r18: magnifiernet_r18 has no option 'fuson'; did you mean "
            "'fusion'?",
        ),
        (
            "-s market1501_masks model.name magnifiernet_r18 model.options.fusion lsmt",
            "model.name magnifiernet_r18: ",
        ),
        ("model.load_weights no.pth", "model.load_weights: there is no file no.pth"),
        ("model.resume no.pth", "model.resume: there is no file no.pth"),
        ("train.max_epoch 0", "train.max_epoch must be at least 1, found 0"),
        (
            "data.save_dir /dev/null/log",
            "data.save_dir: cannot write into /dev/null/log: [Errno 20] Not a directory",
        ),
    ],
)
def test_a_mistake_is_reported_at_once(config, capsys, options, message):
    found = error_of(capsys, "--config-file", config(model=STOCK), *options.split())
    assert found.startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train:\n  lrr: 0.1\n", "there is no option 'train.lrr'; did you mean 'train.lr'"),
        ("train:\n  lr: [\n", " is not valid YAML: while parsing"),
        ("- train\n", "expected sections such as 'model:' and 'data:' with keys under them"),
        ("data:\n  sources: market1501\n", "data.sources takes a list such as ['market1501']"),
    ],
)
def test_a_mistake_in_the_file_names_the_file(tmp_path, capsys, text, message):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    found = error_of(capsys, "--config-file", str(path))
    assert found.startswith(str(path)) and message in found


def test_missing_configuration_file(capsys):
    assert error_of(capsys, "--config-file", "none.yaml") == (
        "cannot read the configuration file none.yaml: "
        "[Errno 2] No such file or directory: 'none.yaml'"
    )


def test_a_corrupt_weights_file(config, tmp_path, capsys):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"not a checkpoint")
    found = error_of(capsys, "--config-file", config(), "model.load_weights", str(path))
    assert found.startswith(f'model.load_weights: The checkpoint "{path}" cannot be read')


def test_missing_data(config, tmp_path, capsys):
    """Reported by torchreid when it reads the data; still no traceback."""
    empty = tmp_path / "empty" / "market1501" / "Market-1501-v15.09.15"
    empty.mkdir(parents=True)
    root = str(tmp_path / "empty")
    assert main(["train", "--config-file", config(), "--root", root]) == 2
    missing = f"{root}/market1501/Market-1501-v15.09.15/bounding_box_train"
    error = capsys.readouterr().err
    assert f"dataset Market1501: looked for {missing}, which is not there\n" in error
    assert "Traceback" not in error


def test_a_wrong_root_names_the_folder_that_is_missing(config, tmp_path, capsys, monkeypatch):
    def no_network(*args, **kwargs):
        raise OSError("network is down")

    monkeypatch.setattr("urllib.request.urlretrieve", no_network)
    root = tmp_path / "nowhere"
    path = config(data={"root": str(root), "save_dir": str(tmp_path / "log-run")})
    assert main(["train", "--config-file", path]) == 2
    assert capsys.readouterr().err == (
        f"torchreid-magnifier train: error: dataset Market1501: {root}/market1501 is not there and "
        f"could not be downloaded (network is down)\nin {root} there is: nothing\n"
    )
    assert not (root / "market1501").exists()


def test_a_run_that_came_to_nothing_does_not_lock_its_folder(config, tmp_path, monkeypatch):
    def no_data(*args, **kwargs):
        raise OSError("network is down")

    path = config()
    with monkeypatch.context() as patch:
        patch.setattr("torchreid.data.ImageDataManager", no_data)
        assert main(["train", "--config-file", path]) == 2
    assert main(["train", "--config-file", path, "train.lr", "0.001"]) == 0


def test_a_folder_of_stages_may_be_moved(config, tmp_path, capsys):
    stages = [config("one", test={"eval_freq": 1}), config("two", test={"eval_freq": 1})]
    arguments = ["train", "--stages", *stages, "data.save_dir"]
    assert main([*arguments, str(tmp_path / "here")]) == 0
    shutil.move(tmp_path / "here", tmp_path / "there")
    (tmp_path / "there" / "stage2" / "model" / "model.pth.tar-2").unlink()
    capsys.readouterr()
    assert main([*arguments, str(tmp_path / "there")]) == 0
    assert "Stage 2 of 2 goes on after epoch 1" in capsys.readouterr().out


def test_stages_take_their_losses_from_their_files(config, capsys):
    one, two = config("one"), config("two")
    assert error_of(capsys, "--stages", one, two, "loss.name", "triplet") == (
        "an option applies to every stage, and the stages differ in loss.name: set it in their "
        "files"
    )


def test_another_runs_checkpoints_are_not_overwritten(config, tmp_path, capsys):
    path = config()
    assert main(["train", "--config-file", path, "train.max_epoch", "1"]) == 0
    before = (tmp_path / "log-run" / "model" / "model.pth.tar-1").read_bytes()
    capsys.readouterr()
    assert error_of(capsys, "--config-file", path, "train.lr", "0.1") == (
        f"{tmp_path}/log-run holds checkpoints of another run (train.lr was 0.0003 and is 0.1): "
        "give another folder, or move that one away"
    )
    assert (tmp_path / "log-run" / "model" / "model.pth.tar-1").read_bytes() == before


def test_resuming_over_later_checkpoints_is_refused(config, tmp_path, capsys):
    path = config(test={"eval_freq": 1})
    assert main(["train", "--config-file", path]) == 0
    capsys.readouterr()
    resume = str(tmp_path / "log-run" / "model" / "model.pth.tar-1")
    assert error_of(capsys, "--config-file", path, "model.resume", resume) == (
        f"model.resume is at epoch 1, but {tmp_path}/log-run holds checkpoints up to epoch 2, "
        "which would be overwritten: give another data.save_dir"
    )


def test_stages_that_share_a_folder(config, tmp_path, capsys):
    path = config()
    assert error_of(capsys, "--stages", path, path) == (
        "two stages have the same data.save_dir and would overwrite each other: give "
        "'data.save_dir D', and stage i writes into D/stage<i>"
    )


def test_a_later_stage_without_the_one_before_it(config, tmp_path, capsys):
    folder = tmp_path / "log-two" / "model"
    folder.mkdir(parents=True)
    (folder / "model.pth.tar-1").write_bytes(b"")
    assert error_of(capsys, "--stages", config("one"), config("two")) == (
        f"{tmp_path}/log-two holds checkpoints, but stage 1 of 2 is not finished: they started "
        "from other weights. Move that folder away"
    )


def test_an_unknown_command(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["tarin"])
    assert exit_.value.code == 2
    assert "invalid choice: 'tarin'" in capsys.readouterr().err


def test_no_command_prints_the_help(capsys):
    assert main([]) == 2
    printed = capsys.readouterr().out
    assert "usage: torchreid-magnifier" in printed
    assert all(command in printed for command in ("train", "masks", "demo"))
