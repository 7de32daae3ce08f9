"""Trained weights by name: manifests, networks from them, packing, and the subcommand."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchreid
import yaml

import torchreid_magnifier
from torchreid_magnifier import CheckpointError, open_network
from torchreid_magnifier.checkpoint import NETWORK, read_checkpoint, state_dict_of
from torchreid_magnifier.cli import main
from torchreid_magnifier.hub import WeightsError, card, entries, fetch, find
from torchreid_magnifier.hub.card import OWN_MANIFESTS, Result, read_manifest
from torchreid_magnifier.hub.download import cached_path
from torchreid_magnifier.hub.pack import pack
from torchreid_magnifier.inference.open import Preprocessing
from torchreid_magnifier.models import build as build_model

REPOSITORY = Path(__file__).parents[1]

ENTRY = {
    "name": "example",
    "model": "magnifiernet_r18",
    "dataset": "noise",
    "file": "example.pth",
    "sha256": "0" * 64,
    "size": 24_000_000,
    "height": 128,
    "width": 64,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "num_classes": 3,
    "results": [
        {"dataset": "noise", "rank-1": 52.5, "mAP": 46.75, "settings": "cosine distance"},
        {"dataset": "more_noise", "rank-1": 7, "mAP": 5, "settings": "cosine distance"},
    ],
    "command": "torchreid-magnifier train",
    "licence": "MIT",
}
LEFT_OUT = object()


def changed(**changes) -> dict:
    return {k: v for k, v in {**ENTRY, **changes}.items() if v is not LEFT_OUT}


def write(path: Path, *entries: object) -> Path:
    path.write_text(yaml.safe_dump(list(entries)))
    return path


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv(OWN_MANIFESTS, raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """A checkpoint as torchreid's engine saves it, of a model that nobody trained."""
    path = tmp_path_factory.mktemp("trained") / "model.pth.tar-60"
    torch.manual_seed(0)
    model = build_model("magnifiernet_r18", 5, loss="triplet", pretrained=False)
    optimizer = torch.optim.Adam(model.parameters())
    state = {"state_dict": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 60}
    torch.save(state, path)
    return path


@pytest.fixture(scope="session")
def served(trained, tmp_path_factory) -> Path:
    """A group's manifest with packed weights."""
    folder = tmp_path_factory.mktemp("served")
    packed = folder / "example.pth"
    pack(trained, packed, half=True)
    return write(
        folder / "manifest.yaml",
        changed(sha256=hashlib.sha256(packed.read_bytes()).hexdigest(), size=packed.stat().st_size),
    )


@pytest.fixture
def group(served, monkeypatch) -> Path:
    monkeypatch.setenv(OWN_MANIFESTS, str(served))
    return served


# ---------------------------------------------------------------------- manifests


def test_this_packages_manifest_with_its_files_and_cards():
    for weights in entries().values():
        assert (REPOSITORY / "weights" / f"{weights.name}.md").is_file()
        assert weights.file is None or fetch(weights) == weights.file
        assert weights.results
        assert weights.model in torchreid_magnifier.list_models()
        open_network(weights.name)


def test_the_example_in_its_head_is_an_entry(tmp_path):
    """Every key that is explained there, and no other, is one that is read."""
    head = (REPOSITORY / "weights" / "manifest.yaml").read_text().split("\n#\n")[1]
    text = "\n".join(line.removeprefix("# ") for line in head.splitlines())
    (example,) = yaml.safe_load(text)
    example |= {"sha256": "0" * 64}
    for left_out in (("url", "gdrive"), ("file", "gdrive"), ("file", "url")):
        entry = {key: value for key, value in example.items() if key not in left_out}
        (weights,) = read_manifest(write(tmp_path / "m.yaml", entry))
    assert example.keys() == card._RULES.keys()
    assert weights.links[0].startswith("https://drive.google.com/uc?id=1AbC")
    assert len(weights.links) == 2


def test_what_an_entry_becomes(tmp_path):
    (weights,) = read_manifest(write(tmp_path / "m.yaml", changed(mirrors=["http://a.org/b"])))
    assert weights.file == tmp_path / "example.pth"
    assert weights.links == ("http://a.org/b",)
    assert weights.mean == (0.485, 0.456, 0.406)
    assert weights.results[0] == Result("noise", 52.5, 46.75, "cosine distance")
    assert hash(weights)


def test_an_empty_manifest_and_one_of_comments(tmp_path):
    for text in ("", "# nothing yet\n", "[]\n"):
        (tmp_path / "m.yaml").write_text(text)
        assert read_manifest(tmp_path / "m.yaml") == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"sha256": LEFT_OUT}, "sha256: missing"),
        ({"sha256": "abc"}, "sha256: expected 64 hexadecimal digits in quotes, found 'abc'"),
        ({"sha256": 10**63}, "sha256: expected 64 hexadecimal digits in quotes, found 1000000000"),
        ({"name": "a/b"}, "name: expected letters, digits, '.', '_' and '-', found 'a/b'"),
        ({"model": ["magnifiernet"]}, "model: expected a text, found ['magnifiernet']"),
        ({"options": "lstm"}, "options: expected options of the model by name, found 'lstm'"),
        ({"dataset": ""}, "dataset: expected a text, found ''"),
        ({"licence": None}, "licence: expected a text, found None"),
        ({"size": 0}, "size: expected a whole number from 1, found 0"),
        ({"size": "24 MB"}, "size: expected a whole number from 1, found '24 MB'"),
        ({"num_classes": True}, "num_classes: expected a whole number from 1, found True"),
        ({"height": 64.0}, "height: expected a whole number from 1, found 64.0"),
        ({"mean": [0.5]}, "mean: expected three numbers from 0 to 1, found [0.5]"),
        ({"mean": [0.5, 0.5, 128]}, "mean: expected three numbers from 0 to 1, found [0.5, 0.5, 1"),
        (
            {"std": [0.5, 0.5, 0]},
            "std: expected three numbers above 0, up to 1, found [0.5, ",
        ),
        ({"file": LEFT_OUT}, "file, url, gdrive: expected one of these keys, found none"),
        (
            {"url": "https://a.org/b"},
            "file, url, gdrive: expected one of these keys, found file and url",
        ),
        ({"file": "../a.pth"}, "file: expected the name of a file in the folder of the manifest"),
        ({"file": "/a.pth"}, "file: expected the name of a file in the folder of the manifest"),
        (
            {"file": LEFT_OUT, "url": "file:///a"},
            "url: expected a link that begins with http:// or https://, found 'file:///a'",
        ),
        ({"file": LEFT_OUT, "url": "https://[a"}, "url: expected a link"),
        ({"file": LEFT_OUT, "url": "https:///b"}, "url: expected a link"),
        (
            {"file": LEFT_OUT, "gdrive": 123},
            "gdrive: expected the id of a file on Google Drive, ",
        ),
        ({"mirrors": "https://a.org/b"}, "mirrors: expected a list, found 'https://a.org/b'"),
        ({"mirrors": ["https://a.org/b", "a"]}, "mirrors, number 2: expected a link"),
        ({"results": [{"dataset": "a"}]}, "results, number 1: rank-1: missing"),
        ({"results": ["good"]}, "results, number 1: expected the keys dataset, rank-1, mAP, "),
        (
            {"results": [{**ENTRY["results"][0], "mAP": 146.0}]},
            "results, number 1: mAP: expected percent, 0 to 100, found 146.0",
        ),
        ({"hash": "abc"}, "hash: unknown key; expected name, model, "),
    ],
)
def test_a_problem_is_reported_with_file_entry_and_key(changes, problem, tmp_path):
    manifest = write(tmp_path / "m.yaml", changed(name="good"), changed(**changes))
    with pytest.raises(WeightsError) as error:
        read_manifest(manifest)
    head, line, *others = str(error.value).splitlines()
    assert head == f"{manifest}: this manifest has problems"
    name = changes.get("name", "example")
    assert line.startswith(f"  entry {name}: {problem}")
    others = [other for other in others if "results, number 1" not in other]
    assert not others


def test_every_problem_is_reported_at_once(tmp_path):
    manifest = write(tmp_path / "m.yaml", "text", {}, ENTRY, ENTRY, changed(size=-1, width=0))
    with pytest.raises(WeightsError) as error:
        read_manifest(manifest)
    lines = str(error.value).splitlines()
    assert lines[1].startswith("  entry 1: expected the keys name, model, ")
    assert lines[2] == "  entry 2: name: missing"
    assert "  entry 2: licence: missing" in lines
    assert "  entry example: name: there is another entry of this name" in lines
    assert "  entry example: size: expected a whole number from 1, found -1" in lines
    assert lines[-2].startswith("  entry example: width: ")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1", ": expected a list of entries, found {'a': 1}"),
        ("[1", ": this manifest cannot be read (while parsing"),
        ("\x00", ", line 1: expected text in UTF-8"),
        (None, ": this manifest cannot be read ([Errno 2] No such file"),
    ],
)
def test_no_manifest(text, problem, tmp_path, monkeypatch):
    manifest = tmp_path / "m.yaml"
    if text is not None:
        manifest.write_text(text)
    monkeypatch.setenv(OWN_MANIFESTS, str(manifest))
    with pytest.raises(WeightsError) as error:
        entries()
    assert str(error.value).startswith(f"{manifest}{problem}")


def test_manifests_of_a_group(tmp_path, monkeypatch):
    before = list(entries())
    first = write(tmp_path / "a.yaml", changed(name="first"))
    second = write(tmp_path / "b.yaml", changed(name="second"), changed(name="third"))
    monkeypatch.setenv(OWN_MANIFESTS, f"{first}{os.pathsep}{os.pathsep} {second} ")
    assert list(entries()) == [*before, "first", "second", "third"]
    assert find("third").file == tmp_path / "example.pth"


def test_a_name_in_two_manifests(tmp_path, monkeypatch):
    first, second = write(tmp_path / "a.yaml", ENTRY), write(tmp_path / "b.yaml", ENTRY)
    monkeypatch.setenv(OWN_MANIFESTS, f"{first}{os.pathsep}{second}")
    with pytest.raises(WeightsError) as error:
        entries()
    assert str(error.value) == (
        f"{second}: there are weights 'example' already, in {first}: rename one of them"
    )


def test_an_unknown_name_lists_those_that_there_are(group):
    with pytest.raises(WeightsError) as error:
        find("exmaple")
    assert str(error.value).startswith("There are no weights 'exmaple': expected one of ")
    assert str(error.value).endswith("; did you mean example?")


# ---------------------------------------------------------------------- packing


def test_packing_leaves_what_embeddings_need(trained, tmp_path):
    pack(trained, tmp_path / "single.pth")
    pack(trained, tmp_path / "half.pth", half=True)
    whole = state_dict_of(read_checkpoint(trained))
    single, half = (read_checkpoint(tmp_path / f"{name}.pth") for name in ("single", "half"))
    needed = {name for name in whole if not name.startswith("classifier.")}
    assert needed < whole.keys()
    assert single.keys() == half.keys() == needed
    for name in needed:
        assert torch.equal(single[name], whole[name])
        if whole[name].is_floating_point():
            assert half[name].dtype == torch.float16
            assert torch.equal(half[name], whole[name].half())
        else:
            assert torch.equal(half[name], whole[name]) and half[name].dtype == whole[name].dtype
    sizes = [path.stat().st_size for path in (tmp_path / "half.pth", tmp_path / "single.pth")]
    numbers = sum(whole[name].numel() for name in needed)
    assert 2 * numbers < sizes[0] < 2.05 * numbers and 4 * numbers < sizes[1] < 4.05 * numbers


def test_packing_gives_the_same_bytes_again(trained, tmp_path):
    parallel = {f"module.{k}": t for k, t in state_dict_of(read_checkpoint(trained)).items()}
    torch.save(parallel, tmp_path / "parallel")
    for suffix in (".pth", ".safetensors"):
        outs = [tmp_path / f"{number}{suffix}" for number in range(3)]
        for source, out in zip((trained, trained, tmp_path / "parallel"), outs):
            pack(source, out, half=True)
        assert len({out.read_bytes() for out in outs}) == 1


def test_a_packed_file_says_what_it_is(trained, tmp_path, capsys):
    """Its card comes from the run's configuration and from what else is known."""
    run = tmp_path / "log"
    (run / "model").mkdir(parents=True)
    os.link(trained, run / "model" / "model.pth.tar-60")
    norm = {"norm_mean": [0.5, 0.5, 0.5], "norm_std": [0.2, 0.2, 0.2]}
    data = {"height": 64, "width": 32, "sources": ["noise"], **norm}
    (run / "config.yaml").write_text(
        yaml.safe_dump({"model": {"name": "magnifiernet_r18"}, "data": data})
    )
    facts = tmp_path / "facts.yaml"
    known = {key: ENTRY[key] for key in ("num_classes", "results", "command", "licence")}
    facts.write_text(yaml.safe_dump({**known, "start": "random"}))
    out = tmp_path / "example.safetensors"
    command = ("pack", run / "model" / "model.pth.tar-60", out, "--card", facts)
    assert weights_command(*command) == 0
    entry = yaml.safe_load(capsys.readouterr().out)
    (card,) = read_manifest(write(tmp_path / "m.yaml", entry))
    assert (card.name, card.dataset, card.start) == ("example", "noise", "random")
    assert card.results[1] == Result("more_noise", 7, 5, "cosine distance")

    moved = out.rename(tmp_path / "moved.safetensors")
    network = open_network(moved)
    assert network.preprocessing == Preprocessing(64, 32, (0.5,) * 3, (0.2,) * 3)
    assert network.card.results == card.results and network.card.sha256 == card.sha256
    with pytest.raises(WeightsError, match="is for height 64 by its card, which height 128 contra"):
        open_network(moved, height=128)
    facts.write_text(yaml.safe_dump({"licence": 3}))
    assert weights_command(*command) == 2
    assert "licence: expected a text, found 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    "record", [{"model": 3}, [1, 2], {"model": "magnifiernet_r18", "sources": 5}, "text"]
)
def test_a_checkpoint_with_a_record_of_something_else(record, tmp_path):
    path = tmp_path / "model.pth.tar-1"
    torch.save({"state_dict": {"a": torch.zeros(1)}, NETWORK: record}, path)
    with pytest.raises(WeightsError, match="its record of the network cannot be used"):
        open_network(path)


def test_a_name_with_options(trained, tmp_path, monkeypatch):
    """A network that no name stands for: a name and the options that differ."""
    model = build_model("magnifiernet_r18", 5, fusion="gru")
    torch.save(model.state_dict(), tmp_path / "in.pth")
    packed = tmp_path / "gru.safetensors"
    known = {"model": "magnifiernet_r18", "height": 64, "width": 32, "options": {"fusion": "gru"}}
    card = pack(tmp_path / "in.pth", packed, known=known)
    entry = changed(**{**card.to_dict(), "file": packed.name})
    manifest = write(tmp_path / "m.yaml", entry)
    for source in ("gru", packed):
        monkeypatch.setenv(OWN_MANIFESTS, str(manifest))
        images = torch.rand(1, 3, 64, 32)
        with torch.no_grad():
            assert torch.equal(open_network(source).model(images), model.eval()(images))
    packed.unlink()
    pack(tmp_path / "in.pth", packed, known={**known, "options": {"fusoin": "gru"}})
    with pytest.raises(WeightsError, match="no option 'fusoin'; did you mean 'fusion'"):
        open_network(packed)
    packed.unlink()
    pack(tmp_path / "in.pth", packed, known={**known, "model": "magnifiernet_r19"})
    with pytest.raises(WeightsError, match="Unknown model 'magnifiernet_r19'; did you mean"):
        open_network(packed)


@pytest.mark.parametrize(
    ("tensors", "half", "problem"),
    [
        (
            {"a": torch.tensor([1e5])},
            True,
            "1 entries with infinite numbers (a): pack it in",
        ),
        ({"a": torch.tensor([float("nan")])}, False, "1 entries with infinite numbers (a)."),
        ({"classifier.a": torch.zeros(1)}, False, "has nothing but classifiers"),
    ],
)
def test_what_cannot_be_packed(tensors, half, problem, tmp_path):
    torch.save(tensors, tmp_path / "in")
    with pytest.raises(CheckpointError) as error:
        pack(tmp_path / "in", tmp_path / "out.pth", half)
    assert problem in str(error.value)
    assert not (tmp_path / "out.pth").exists()


# ---------------------------------------------------------------------- networks


@pytest.fixture(scope="module")
def embeddings(trained) -> tuple[torch.Tensor, torch.Tensor]:
    """Images, and what the model of ``trained`` makes of them with rounded weights."""
    images = torch.rand(2, 3, 128, 64, generator=torch.Generator().manual_seed(0))
    model = build_model("magnifiernet_r18", 5, pretrained=False)
    model.load_state_dict(
        {
            name: tensor.half() if tensor.is_floating_point() else tensor
            for name, tensor in state_dict_of(read_checkpoint(trained)).items()
        }
    )
    with torch.no_grad():
        return images, model.eval()(images)


def test_a_network_by_name(group, embeddings, capsys):
    model = open_network("example").model
    assert isinstance(model, torchreid_magnifier.MagnifierNet)
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    images, expected = embeddings
    with torch.no_grad():
        assert torch.equal(model(images), expected)
    assert capsys.readouterr().out == ""


def test_build_model_takes_the_name(group, embeddings):
    model = torchreid.models.build_model(
        "magnifiernet_r18", num_classes=7, loss="triplet", pretrained="example"
    )
    assert model.training
    assert {layer.out_features for layer in model.classifier.values()} == {7}
    images, expected = embeddings
    with torch.no_grad():
        assert torch.equal(model.eval()(images), expected)


def test_weights_of_another_model(group):
    with pytest.raises(WeightsError) as error:
        torchreid.models.build_model("magnifiernet", num_classes=7, pretrained="example")
    assert str(error.value) == (
        "The weights 'example' are of the model 'magnifiernet_r18', not of 'magnifiernet': build "
        "that model."
    )


def test_a_manifest_that_names_the_wrong_model(served, tmp_path, monkeypatch):
    (entry,) = yaml.safe_load(served.read_text())
    os.link(served.with_name("example.pth"), tmp_path / "example.pth")
    wrong = write(tmp_path / "m.yaml", {**entry, "model": "magnifiernet_r18_g"})
    monkeypatch.setenv(OWN_MANIFESTS, str(wrong))
    with pytest.raises(CheckpointError, match="is a checkpoint of another model"):
        open_network("example")


# ---------------------------------------------------------------------- the subcommand


def weights_command(*arguments: object) -> int:
    return main(["weights", *map(str, arguments)])


def test_list(group, capsys):
    assert weights_command("list") == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == [
        *("name", "model", "trained", "on", "MB", "input", "tested", "on", "rank-1", "mAP"),
        *("licence", "file"),
    ]
    first, second = lines[-2:]
    megabytes = f"{group.with_name('example.pth').stat().st_size / 1e6:.1f}"
    assert first.split() == [
        *("example", "magnifiernet_r18", "noise", megabytes, "128x64"),
        *("noise", "52.5", "46.8", "MIT", "shipped"),
    ]
    assert second.split() == ["more_noise", "7.0", "5.0"]
    assert first.index("52.5") == second.index(" 7.0")


def test_list_says_where_files_are(tmp_path, monkeypatch, capsys):
    origin = {"file": LEFT_OUT, "url": "http://127.0.0.1:9/a"}
    manifest = write(tmp_path / "m.yaml", changed(**origin))
    monkeypatch.setenv(OWN_MANIFESTS, str(manifest))
    weights_command("list")
    assert capsys.readouterr().out.splitlines()[-2].endswith("not here")
    cached = cached_path(find("example"))
    cached.parent.mkdir(parents=True)
    cached.write_text("")
    weights_command("list")
    assert capsys.readouterr().out.splitlines()[-2].endswith("cached")


def test_no_weights_at_all(tmp_path, monkeypatch, capsys):
    write(tmp_path / "manifest.yaml")
    monkeypatch.setattr(card, "package_folder", lambda: tmp_path)
    assert weights_command("list") == 0
    assert capsys.readouterr().out.startswith("There are no weights.")
    assert weights_command("download", "example") == 2
    expected = "There are no weights 'example': expected one of those of torchreid's zoo"
    assert f"error: {expected}" in capsys.readouterr().err


def test_download_prints_paths_alone(group, capsys):
    assert weights_command("download", "example", "example") == 0
    path = group.with_name("example.pth")
    assert capsys.readouterr().out == f"{path}\n{path}\n"


def test_download_that_fails(tmp_path, monkeypatch, capsys):
    manifest = write(tmp_path / "m.yaml", ENTRY)
    monkeypatch.setenv(OWN_MANIFESTS, str(manifest))
    assert weights_command("download", "example") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(
        "torchreid-magnifier weights download: error: The weights 'example' cannot be had:\n"
        f"  {tmp_path}/example.pth: there is no such file\n"
    )
    assert weights_command("download", "example", "nobody") == 2
    assert "There are no weights 'nobody'" in capsys.readouterr().err


def test_verify(group, tmp_path, monkeypatch, capsys):
    path = group.with_name("example.pth")
    assert weights_command("verify") == 0
    assert f"example: {path}: intact\n" in capsys.readouterr().out
    cached = cached_path(find("example"))
    cached.parent.mkdir(parents=True)
    cached.write_text("damaged")
    assert weights_command("verify", "example") == 1
    size = path.stat().st_size
    assert capsys.readouterr().out == (
        f"example: {path}: intact\nexample: {cached}: has 7 bytes instead of {size:,}\n"
    )


def test_verify_what_is_not_here(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(OWN_MANIFESTS, str(write(tmp_path / "m.yaml", ENTRY)))
    assert weights_command("verify") == 0
    assert weights_command("verify", "example") == 1
    assert capsys.readouterr().out.endswith("example: not here\n")


def test_pack_prints_what_a_manifest_needs(trained, tmp_path, capsys):
    out = tmp_path / "example.pth"
    assert weights_command("pack", trained, out, "--half") == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    (weights,) = read_manifest(write(tmp_path / "m.yaml", {**ENTRY, **printed}))
    assert weights.file == out and weights.problem_of(out) is None


def test_pack_mistakes(trained, tmp_path, capsys):
    existing = tmp_path / "existing"
    existing.write_text("mine")
    for source, out, message in (
        (trained, existing, f"{existing} exists already"),
        (trained, tmp_path / "no" / "out.pth", f"there is no folder {tmp_path / 'no'}"),
        (tmp_path / "absent", tmp_path / "out.pth", "There is no checkpoint"),
        (existing, tmp_path / "out.pth", "cannot be read"),
    ):
        assert weights_command("pack", source, out) == 2
        out_text, err = capsys.readouterr()
        assert out_text == "" and err.startswith("torchreid-magnifier weights pack: error: ")
        assert message in err
    assert existing.read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"existing"}


def test_a_faulty_manifest_is_one_message(tmp_path, monkeypatch, capsys):
    manifest = write(tmp_path / "m.yaml", changed(size=0))
    monkeypatch.setenv(OWN_MANIFESTS, str(manifest))
    assert weights_command("list") == 2
    assert capsys.readouterr().err == (
        f"torchreid-magnifier weights list: error: {manifest}: this manifest has problems\n"
        "  entry example: size: expected a whole number from 1, found 0\n"
    )


def test_the_path_goes_into_torchreids_main(group, capsys):
    """As in ``model.load_weights $(torchreid-magnifier weights download example)``."""
    command = [sys.executable, "-m", "torchreid_magnifier", "weights", "download", "example"]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0
    model = build_model("magnifiernet_r18", 4, loss="triplet", pretrained=False)
    torchreid.utils.load_pretrained_weights(model, result.stdout.removesuffix("\n"))
    assert "Loaded the weights of" in capsys.readouterr().out
