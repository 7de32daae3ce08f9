"""Several processes take the steps of one, and what is launched wrongly says so."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import several_processes
import torch
from noise_data import SLIM, write_config
from processes import started

from torchreid_magnifier.cli import main
from torchreid_magnifier.distributed import launch
from torchreid_magnifier.distributed.processes import ALONE
from torchreid_magnifier.training.checks import check_together
from torchreid_magnifier.training.config import ConfigError, default_config, merge_list
from torchreid_magnifier.training.loaders import _Share

REPOSITORY = Path(__file__).parents[1]


def launched(*arguments) -> subprocess.CompletedProcess:
    """Run by two processes on the CPU; accelerate calls several processes "multi_gpu"."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    command += ["--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"]
    command += ["--dynamo_backend", "no", "--main_process_port", "0", *map(str, arguments)]
    paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests" / "contract")])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    environment["TORCHREID_MAGNIFIER_IMPORT"] = "slim"
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


# ------------------------------------------------------------------ equal to one process


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    environment = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [
        started(several_processes.main, folder, RANK=rank, LOCAL_RANK=rank, **environment)
        for rank in "01"
    ]
    for process in processes:
        process.join(300)
        assert process.exitcode == 0
    return torch.load(folder / "found.pt", weights_only=False)


@pytest.fixture
def one(found):
    return found["one"]


@pytest.fixture
def two(found):
    return found["two"]


@pytest.mark.parametrize("case", several_processes.CASES)
def test_two_processes_take_the_steps_of_one(one, two, case):
    expected, found = one["steps"][case], two["steps"][case]
    for tensors in ("gradients", "weights"):  # with the statistics, in float64
        wrong = {name: error for name, error in found[tensors].items() if not error < 1e-9}
        assert found[tensors] and not wrong
    for then, now in zip(expected["shown"], found["shown"], strict=True):
        assert now == pytest.approx(then, rel=1e-5)
    for then, now in zip(expected["log"], found["log"], strict=True):
        assert now == pytest.approx(then, rel=1e-9)


def test_processes_keep_the_same_weights(two):
    main_process, other = two["sums of weights"]
    assert main_process == other and len(other) == len(several_processes.CASES)


def test_embeddings_are_those_of_one_process_to_the_last_bit(one, two):
    for expected, found in zip(one["features"], two["features"], strict=True):
        assert all(torch.equal(*map(torch.as_tensor, pair)) for pair in zip(expected, found))


def test_each_process_has_whole_identities_of_one_batch(two):
    pids = several_processes.People().pids
    first, second = ([int(pids[index]) for index in share] for share in two["shares"])
    for share in (first, second):
        assert len(share) == 4 and share[::2] == share[1::2]
    assert not set(first) & set(second)


def test_processes_decide_together(two):
    assert two["from main"] == [0, 0]
    assert two["raised"] == ["FailedElsewhere", "ValueError"]


def test_two_processes_extract_the_bytes_of_one(one, two):
    (expected, digest), (found, shared) = one["extraction"], two["extraction"]
    assert found == expected and shared == digest and found.rows == 21 and len(found.problems) == 1
    went_on, digest_of_it = two["went on"]  # one process had begun, and not in order
    assert digest_of_it == digest and went_on == expected._replace(continued=10)


def test_two_processes_measure_what_one_does(one, two):
    assert two["evaluation"] == one["evaluation"] and one["evaluation"].queries == 7


def test_processes_draw_apart():
    """One order for all, and for the workers of each process seeds of their own."""

    class Two:
        count, rank = 2, 0

        def from_main(self, action):
            return [(77, index) for index in range(9)]

    first, second = Two(), Two()
    second.rank = 1
    batches = [list(_Share(None, 4, processes)) for processes in (first, second)]
    indices = [[[index for _, index in batch] for batch in share] for share in batches]
    assert indices == [[[0, 1], [4, 5]], [[2, 3], [6, 7]]]
    seeds = [{seed for batch in share for seed, _ in batch} for share in batches]
    assert seeds[0] == {77} and len(seeds[1]) == 1 and seeds[0] != seeds[1]


# ------------------------------------------------------------------ the command


def test_a_run_goes_on_with_any_number_of_processes(noise_root, tmp_path, capsys):
    """One process, then two, then one; what two found is what one finds in their checkpoint."""
    config = write_config(
        tmp_path / "run.yaml",
        model=SLIM | {"name": "magnifiernet_r18"},
        data={
            "sources": ["market1501_masks"],
            "root": str(noise_root),
            "save_dir": str(tmp_path / "log"),
        },
        test={"batch_size": 2},
    )
    train = ["train", "--config-file", str(config)]

    def files():
        paths = [path for path in (tmp_path / "log").rglob("*") if path.is_file()]
        return sorted(re.sub(r"(tfevents|train\.log).*", r"\1", path.name) for path in paths)

    assert main([*train, "train.max_epoch", "1"]) == 0
    of_one = files()
    done = launched("-m", "torchreid_magnifier", *train, "train.max_epoch", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("goes on after epoch 1") == 1
    of_two = ["model.pth.tar-2", "train.log", next(n for n in of_one if "tfevents" in n)]
    assert files() == sorted(of_one + of_two)
    (result,) = json.loads((tmp_path / "log" / "results.json").read_text()).values()
    assert result["epoch"] == 2

    capsys.readouterr()
    weights = str(tmp_path / "log" / "model" / "model.pth.tar-2")
    assert main([*train, "test.evaluate", "True", "model.load_weights", weights]) == 0
    printed = capsys.readouterr().out
    assert printed[printed.index("** Results") :] in done.stdout
    assert main([*train, "train.max_epoch", "3"]) == 0
    assert "goes on after epoch 2" in capsys.readouterr().out


# ------------------------------------------------------------------ clear errors


def configured(*options: str):
    cfg = default_config()
    merge_list(cfg, ["use_gpu", "False", "model.pretrained", "False", *options])
    return cfg


IDENTITIES = ("sampler.train_sampler", "RandomIdentitySampler", "train.batch_size")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((*IDENTITIES, "28"), "multiple of 8, found 28; the nearest possible: 24 or 32"),
        ((*IDENTITIES, "4"), "multiple of 8, found 4; the nearest possible: 8"),
        (("train.batch_size", "33"), "whole images: it must be a multiple of 2, found 33"),
        (("model.name", "san_r18"), "such losses .of a san, model.options '.constraints: false.'"),
        (("model.name", "san_r18_encoder", "train.optim", "san_adam"), "such as amsgrad"),
    ],
)
def test_what_two_processes_cannot_share(options, message):
    with pytest.raises(ConfigError, match=message):
        check_together([configured(*options)], 2)
    check_together([configured(*IDENTITIES, "28", "test.evaluate", "True")], 2)


@pytest.fixture
def as_one_of_two(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("LOCAL_RANK", "0")


def test_without_accelerate_the_extra_is_named(as_one_of_two, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    assert main(["train", "use_gpu", "False"]) == 2
    assert 'pip install "torchreid-magnifier[distributed]"' in capsys.readouterr().err


def test_what_accelerate_was_configured_for_is_not_passed_over(as_one_of_two, monkeypatch, capsys):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert main(["train", "use_gpu", "False"]) == 2
    assert "mixed precision (ACCELERATE_MIXED_PRECISION=bf16)" in capsys.readouterr().err


def test_other_commands_do_not_run_several_times(as_one_of_two, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["ablate", "table2"])
    assert "only train, evaluate, extract share their work out" in capsys.readouterr().err


def test_a_single_process_does_without_accelerate(as_one_of_two, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with launch.joined(use_gpu=False) as processes:
        assert processes is ALONE
