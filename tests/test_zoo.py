"""torchreid's own networks through the door of this package's."""

import pytest
import torch
import torchreid

from torchreid_magnifier import CheckpointError, checkpoint
from torchreid_magnifier.cli import main
from torchreid_magnifier.hub import WeightsError, entries, zoo
from torchreid_magnifier.hub.download import cached_path
from torchreid_magnifier.inference.explain.rankings import read_evaluation_set
from torchreid_magnifier.inference.open import open_network
from torchreid_magnifier.registry import model_names

SIZE = ("osnet_x0_25", 64, 32)


def made(name, classes=7):
    torch.manual_seed(0)
    return torchreid.models.build_model(name, classes, pretrained=False, use_gpu=False).eval()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A checkpoint of torchreid's engine."""
    path = tmp_path_factory.mktemp("zoo") / "model.pth.tar-60"
    torch.save({"state_dict": made("osnet_x0_25").state_dict(), "epoch": 60}, path)
    return path


def test_every_entry_can_be_built_and_fetched():
    cards = zoo().values()
    assert {card.model for card in cards} <= set(model_names())
    assert len({card.links for card in cards}) == len(cards) == 53
    assert not zoo().keys() & entries().keys()
    assert len({cached_path(card) for card in cards}) == len(cards)
    for card in cards:
        assert (card.height, card.width) == ((160, 64) if card.model == "hacnn" else (256, 128))
        assert card.dataset and 0 < card.results[0].mAP < card.results[0].rank1 < 100
        assert all(link.startswith("https://") for link in card.links)


def test_it_gives_what_torchreid_gives(weights, tmp_path):
    images = torch.rand(3, 3, 64, 32)
    with torch.no_grad():
        expected = made("osnet_x0_25")(images)
        network = open_network(weights, *SIZE)
        assert torch.equal(network.model(images), expected)
        fast = network.model.optimize_for_inference()(images)
        assert (fast - expected).abs().max() < 1e-4 * expected.abs().max()
        card = network.save_pretrained(tmp_path / "saved")
        assert (card.model, card.embedding_size, card.parts) == ("osnet_x0_25", 512, ())
        assert torch.equal(open_network(tmp_path / "saved").model(images), expected)


def test_one_whose_classifiers_have_other_names(tmp_path):
    model = made("hacnn")
    torch.save(model.state_dict(), tmp_path / "hacnn.pth")
    network = open_network(tmp_path / "hacnn.pth", "hacnn", 160, 64)
    images = torch.rand(2, 3, 160, 64)
    with torch.no_grad():
        fast = network.model.optimize_for_inference()(images)
        assert (fast - model(images)).abs().max() < 1e-4
    with pytest.raises(WeightsError, match="cannot take images of 64x32"):
        open_network(tmp_path / "hacnn.pth", "hacnn", 64, 32)


def test_commands_take_it_and_say_what_it_has_not(weights, noise_root, tmp_path, capsys):
    given = ["--weights", str(weights), "--model", "osnet_x0_25", "--height=64", "--width=32"]
    data = ["--dataset", "market1501", "--root", str(noise_root)]
    assert main(["evaluate", *given, *data]) == 0
    assert "rank-1" in capsys.readouterr().out
    picture = read_evaluation_set("market1501", str(noise_root)).paths[0]
    gallery = str(tmp_path / "gallery.npz")
    assert main(["extract", *given, picture, "--out", gallery]) == 0
    assert main(["search", "--gallery", gallery, picture]) == 0
    assert "1.0000" in capsys.readouterr().out
    for action, message in (
        ("masks", "predicts no body parts"),
        ("activations", "gives no feature maps"),
    ):
        out = ["--out", str(tmp_path / "a.png")]
        assert main(["show", action, picture, *given, *out]) == 2
        assert message in capsys.readouterr().err


def test_no_pickle_where_torch_cannot_read_it_safely(weights, tmp_path, monkeypatch):
    packed = tmp_path / "packed.safetensors"
    assert main(["weights", "pack", str(weights), str(packed)]) == 0
    monkeypatch.setattr(checkpoint.torch, "__version__", torch.torch_version.TorchVersion("2.5.1"))
    with pytest.raises(CheckpointError, match="torch 2.5.1 reads .* 'torchreid-magnifier weights"):
        open_network(weights, *SIZE)
    assert open_network(packed, *SIZE).model.embedding_size == 512


def test_the_list(capsys):
    assert main(["weights", "list"]) == 0
    assert "and 53 of torchreid's zoo" in capsys.readouterr().err
    assert main(["weights", "list", "--zoo"]) == 0
    assert "osnet_ain_x1_0_msmt17_combineall" in capsys.readouterr().out
