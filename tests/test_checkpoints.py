"""Checkpoints: what is read, what is refused and with which words, and what loads into a model."""

import os
import pickle
import signal
import stat
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from torchreid_magnifier.checkpoint import (
    CheckpointError,
    load_weights,
    read_checkpoint,
    read_metadata,
    require_resumable,
    state_dict_of,
    unwrap,
    write_weights,
)


class Net(nn.Module):
    """As small as a model with a named classifier can be."""

    def __init__(self, num_classes: int = 3, width: int = 4, backbone: str = "backbone") -> None:
        super().__init__()
        self.add_module(backbone, nn.Linear(2, width))
        self.norm = nn.BatchNorm1d(width)
        self.classifier = nn.ModuleDict({"global": nn.Linear(width, num_classes)})


def save(model: nn.Module, path: Path, **others) -> Path:
    torch.save({"state_dict": model.state_dict(), "epoch": 7, **others}, path)
    return path


def same(a: nn.Module, b: nn.Module, *, but: str = "nothing") -> bool:
    others = b.state_dict()
    return all(
        torch.equal(t, others[name]) for name, t in a.state_dict().items() if but not in name
    )


# ---------------------------------------------------------------------- reading

scalars = pytest.mark.skipif(torch.__version__ < "2.6", reason="torch < 2.6 reads no numpy scalars")


@scalars
def test_a_checkpoint_of_torchreids_engine(tmp_path):
    model = Net()
    path = save(model, tmp_path / "model.pth.tar-7", rank1=np.float32(0.5), best=np.float64(0.25))
    checkpoint = read_checkpoint(path)
    assert checkpoint["epoch"] == 7
    assert checkpoint["rank1"] == 0.5 and checkpoint["best"] == 0.25
    assert state_dict_of(checkpoint).keys() == model.state_dict().keys()


@scalars
@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
@pytest.mark.parametrize("scalar", [np.float32, np.float64, np.int64, np.bool_])
def test_numpy_scalars_written_by_numpy_1_and_2(module, scalar, tmp_path):
    path = save(Net(), tmp_path / "here", rank1=scalar(1))
    moved = tmp_path / "moved"
    found = 0
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(moved, "w") as target:
        for item in source.infolist():
            content = source.read(item)
            if item.filename.endswith("data.pkl"):
                for name in (b"cnumpy.core.multiarray\n", b"cnumpy._core.multiarray\n"):
                    found += content.count(name)
                    content = content.replace(name, b"c" + module.encode() + b"\n")
            target.writestr(item, content)
    assert found == 1
    assert read_checkpoint(moved)["rank1"] == scalar(1)
    assert torch.load(moved, weights_only=True)["rank1"] == scalar(1)


def test_a_bare_state_dict_and_a_data_parallel_one(tmp_path):
    model = Net()
    torch.save(nn.DataParallel(model).state_dict(), tmp_path / "weights.pth")
    tensors = state_dict_of(read_checkpoint(str(tmp_path / "weights.pth")))
    assert tensors.keys() == model.state_dict().keys()


def test_no_file(tmp_path):
    for path in (tmp_path / "absent.pth", tmp_path):
        with pytest.raises(CheckpointError) as error:
            read_checkpoint(path)
        assert str(error.value) == (
            f'There is no checkpoint "{path}": expected a file that torchreid saved, such as '
            "log/model/model.pth.tar-60."
        )


class Intruder:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("intruder-was-here"),)


@pytest.mark.parametrize("problem", ["truncated", "flipped", "empty", "text", "code", "numpy"])
def test_an_unreadable_file(problem, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = save(Net(), tmp_path / "model.pth.tar-7")
    whole = path.read_bytes()
    if problem == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    elif problem == "flipped":
        start = whole.index(b"data.pkl") + 60
        path.write_bytes(whole[:start] + b"\xff" * 40 + whole[start + 40 :])
    elif problem == "empty":
        path.write_bytes(b"")
    elif problem == "text":
        path.write_text("<html>404</html>")
    elif problem == "code":
        save(Net(), path, intruder=Intruder())
    elif problem == "numpy":
        path.write_bytes(pickle.dumps(np.zeros(3), protocol=2))
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(path)
    assert str(error.value).startswith(
        f'The checkpoint "{path}" cannot be read: it is corrupt, cut short, or holds more '
        "than tensors and numbers. Copy it again, or take an earlier one of the same run."
    )
    assert error.value.__cause__ is not None
    assert not Path("intruder-was-here").exists()


@pytest.mark.parametrize("content", [{"a": torch.zeros(2)}, {"a": torch.zeros(2), "rank1": 0.5}])
def test_an_older_torch_reads_no_old_pickles(content, tmp_path, monkeypatch):
    """Torch's restricted unpickler has a hole there, which files in the old format reach."""
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.5.1"))
    path = tmp_path / "model.pth"
    torch.save({"state_dict": {"a": torch.zeros(2)}}, path)
    assert read_checkpoint(path)["state_dict"].keys() == {"a"}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match="Torch 2.5.1 reads nothing else safely: .*safetens"):
        read_checkpoint(path)


def test_an_older_torch_reads_numpys_scalars_and_runs_no_code(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.5.1"))
    monkeypatch.chdir(tmp_path)
    path, model = tmp_path / "model.pth.tar-7", Net()
    optimizer = torch.optim.Adam(model.parameters())
    sum(p.sum() for p in model.parameters()).backward()
    optimizer.step()
    save(model, path, rank1=np.float64(0.5), optimizer=optimizer.state_dict())
    found = read_checkpoint(path)
    assert found["rank1"] == 0.5
    assert all(torch.equal(found["state_dict"][k], v) for k, v in model.state_dict().items())
    assert found["optimizer"]["state"].keys() == optimizer.state_dict()["state"].keys()
    save(model, path, intruder=Intruder())
    with pytest.raises(CheckpointError, match="holds more than tensors"):
        read_checkpoint(path)
    assert not Path("intruder-was-here").exists()


def test_a_safetensors_file(tmp_path):
    path, source, target = tmp_path / "a.safetensors", Net(), Net()
    before = os.umask(0o027)
    try:
        write_weights(path, source.state_dict(), {"card": "text"})
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    other = save(source, tmp_path / "b.pth")
    assert read_metadata(path) == {"card": "text"} and not read_metadata(other)
    load_weights(target, path)
    assert same(source, target)
    renamed, again = path.with_name("downloaded"), Net()
    renamed.write_bytes(path.read_bytes())
    load_weights(again, renamed)
    assert same(source, again) and read_metadata(renamed) == read_metadata(path)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:20], b"", b"<html>404</html>"):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="cannot be read: it is corrupt, cut short"):
            read_checkpoint(path)
        with pytest.raises(CheckpointError, match="no safetensors file, or is damaged"):
            read_metadata(path)


def test_a_full_disk_is_said_with_the_file(tmp_path):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        for name in ("a.pth", "a.safetensors"):
            with pytest.raises(OSError, match=name):
                write_weights(tmp_path / name, {"a": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ([1, 2], "an object of type list"),
        (torch.zeros(2), "an object of type Tensor"),
        ({}, "an empty dict"),
        ({"epoch": 3, "rank1": 0.5}, "a dict with the keys 'epoch', 'rank1'"),
        ({"state_dict": {}}, "a dict with the keys 'state_dict'"),
        ({"state_dict": {"a": 1}}, "a dict with the keys 'state_dict'"),
        ({"state_dict": [1]}, "a dict with the keys 'state_dict'"),
        ({1: torch.zeros(2)}, "a dict with the keys 1"),
    ],
)
def test_a_file_without_named_tensors(content, found, tmp_path):
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(path)
    assert str(error.value) == (
        f'"{path}" is not a checkpoint: expected a dict of tensors by name, or one that '
        f'holds it as "state_dict"; found {found}.'
    )


# ---------------------------------------------------------------------- loading


@pytest.mark.parametrize("parallel_file", [False, True])
@pytest.mark.parametrize("parallel_model", [False, True])
def test_every_weight_is_loaded(parallel_file, parallel_model, tmp_path, capsys):
    source, target = Net(), Net()
    path = save(nn.DataParallel(source) if parallel_file else source, tmp_path / "weights")
    assert not same(source, target)
    load_weights(nn.DataParallel(target) if parallel_model else target, path)
    assert same(source, target)
    assert capsys.readouterr().out == f'Loaded the weights of "{path}"\n'


def wrapped(how: str) -> nn.Module:
    """A model in what torch puts around models for several devices or for speed."""
    model = Net()
    if how == "compiled":
        return torch.compile(model)
    if how == "compiled, parallel":
        return nn.DataParallel(torch.compile(model))
    if how == "parallel, compiled":
        return torch.compile(nn.DataParallel(model))
    if how == "a compiled part":
        model.backbone = torch.compile(model.backbone)
    if how == "a parallel part":
        model.backbone = nn.DataParallel(model.backbone)
    return model


WAYS = [
    "compiled",
    "compiled, parallel",
    "parallel, compiled",
    "a compiled part",
    "a parallel part",
]


@pytest.mark.parametrize("how", WAYS)
def test_what_is_around_a_model_does_not_matter(how, tmp_path):
    source, target, bare = wrapped(how), wrapped(how), Net()
    path = save(source, tmp_path / "weights")
    load_weights(bare, path)
    save(bare, path)
    load_weights(target, path)
    require_resumable(target, path)
    theirs = target.state_dict()
    assert all(torch.equal(t, theirs[name]) for name, t in source.state_dict().items())
    assert type(unwrap(target)) is Net


def test_distributed_data_parallel(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    try:
        source, target = Net(), nn.parallel.DistributedDataParallel(torch.compile(Net()))
        load_weights(target, save(source, tmp_path / "weights"))
        assert same(source, unwrap(target)) and type(unwrap(target)) is Net
    finally:
        torch.distributed.destroy_process_group()


def test_classifiers_of_other_identities_are_left_and_said(tmp_path, capsys):
    source, target = Net(num_classes=5), Net(num_classes=3)
    before = target.classifier["global"].weight.clone()
    path = save(source, tmp_path / "weights")
    load_weights(target, path)
    assert same(source, target, but="classifier")
    assert torch.equal(target.classifier["global"].weight, before)
    assert capsys.readouterr().out == (
        f'Loaded the weights of "{path}"\n'
        "Kept the model's own values for 2 classifier entries: the file has none, "
        "or those of other training identities\n"
    )


def test_absent_classifiers_are_left(tmp_path):
    source, target = Net(), Net()
    tensors = {n: t for n, t in source.state_dict().items() if not n.startswith("classifier.")}
    torch.save(tensors, tmp_path / "weights")
    load_weights(target, tmp_path / "weights")
    assert same(source, target, but="classifier")
    assert not same(source, target)


def other_model(path: Path, problems: str) -> str:
    return (
        f'"{path}" is a checkpoint of another model, by its entries: {problems}. '
        "Build the model by the name it was trained as (model.name), or give its own file."
    )


@pytest.mark.parametrize(
    ("source", "problems"),
    [
        (
            Net(backbone="body"),
            "2 missing (backbone.bias, backbone.weight); 2 unexpected (body.bias, body.weight)",
        ),
        (
            Net(width=5),
            "6 of another shape (backbone.bias (5,) instead of (4,), backbone.weight (5, 2) "
            "instead of (4, 2), norm.bias (5,) instead of (4,), ...)",
        ),
        (
            nn.Sequential(OrderedDict(first=nn.Linear(2, 2), classifier=nn.Linear(2, 3))),
            "7 missing (backbone.bias, backbone.weight, norm.bias, ...); "
            "2 unexpected (first.bias, first.weight)",
        ),
    ],
)
def test_another_model_is_refused_and_changes_nothing(source, problems, tmp_path):
    path = save(source, tmp_path / "weights")
    target = Net()
    before = {name: t.clone() for name, t in target.state_dict().items()}
    with pytest.raises(CheckpointError) as error:
        load_weights(target, path)
    assert str(error.value) == other_model(path, problems)
    assert all(torch.equal(t, before[name]) for name, t in target.state_dict().items())


def test_resuming_takes_the_same_identities(tmp_path):
    path = save(Net(num_classes=3), tmp_path / "weights")
    require_resumable(nn.DataParallel(Net(num_classes=3)), path)
    with pytest.raises(CheckpointError) as error:
        require_resumable(Net(num_classes=5), path)
    assert str(error.value) == (
        f'"{path}" is of a training on 3 identities, and the training set has 5: go on with the '
        "data it was trained on, or load its weights alone (model.load_weights) to begin anew"
    )
