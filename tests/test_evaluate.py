"""Measuring a network on a dataset: against loops, torchreid's own numbers, and by the command."""

import json

import numpy as np
import pytest
import torch
from torchreid import metrics as torchreid_metrics

from torchreid_magnifier.cli import main
from torchreid_magnifier.evaluation import evaluate_rank
from torchreid_magnifier.evaluation.ranking import mean_inverse_negative_penalty
from torchreid_magnifier.images import open_image
from torchreid_magnifier.inference.evaluate import _WithMirror, evaluate
from torchreid_magnifier.inference.explain.rankings import read_evaluation_set
from torchreid_magnifier.inference.open import Network, open_network
from torchreid_magnifier.models import build


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    model = build("magnifiernet_osnet_x0_25", 4, "triplet").eval()
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    torch.save(model.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def network(checkpoint) -> Network:
    return open_network(str(checkpoint), "magnifiernet_osnet_x0_25", 64, 32)


@pytest.fixture(scope="module")
def images(noise_root):
    return read_evaluation_set("market1501", str(noise_root))


def test_minp_is_what_plain_loops_find():
    generator = np.random.default_rng(0)
    distances = generator.random((6, 20)).astype(np.float32)
    pids, camids = generator.integers(0, 3, 26), generator.integers(0, 3, 26)
    q_pids, g_pids, q_camids, g_camids = pids[:6], pids[6:], camids[:6], camids[6:]
    expected = []
    for row, pid, camid in zip(distances, q_pids, q_camids):
        kept = [i for i in np.argsort(row) if (g_pids[i], g_camids[i]) != (pid, camid)]
        ranks = [rank for rank, i in enumerate(kept, 1) if g_pids[i] == pid]
        if ranks:
            expected.append(len(ranks) / ranks[-1])
    found = mean_inverse_negative_penalty(distances, q_pids, g_pids, q_camids, g_camids)
    assert found == pytest.approx(np.mean(expected))


def test_the_numbers_are_torchreids(network, images):
    found = evaluate(network, images, branches=True, rerank=True)
    assert set(found) == {"embedding", "re-ranked", "global", "adversarial", "fusion"}
    with torch.no_grad():
        batch = torch.stack([network.preprocessing(open_image(path)) for path in images.paths])
        vectors = network.model(batch)
    count = len(images.query)
    people = [
        np.array([getattr(sample, key) for sample in part])
        for key in ("pid", "camid")
        for part in (images.query, images.gallery)
    ]
    for name, part in (("embedding", slice(None)), ("fusion", slice(768, 1024))):
        query, gallery = vectors[:count, part], vectors[count:, part]
        distances = torchreid_metrics.compute_distance_matrix(query, gallery, "cosine").numpy()
        cmc, mean_ap = evaluate_rank(distances, *people)
        assert found[name].cmc[1] == pytest.approx(100 * cmc[0])
        assert found[name].mAP == pytest.approx(100 * mean_ap)


def test_with_mirror_images_left_and_right_are_the_same(network):
    both, images = _WithMirror(network.model), torch.randn(3, 3, 64, 32)
    with torch.no_grad():
        found, turned = (both.inspect(x).vector for x in (images, images.flip(3)))
        assert not torch.allclose(network.model(images), network.model(images.flip(3)), atol=1e-3)
    torch.testing.assert_close(found, turned)


def test_the_command_prints_and_writes(checkpoint, noise_root, tmp_path, capsys):
    out = tmp_path / "found.json"
    options = ["--model", "magnifiernet_osnet_x0_25", "--height", "64", "--width", "32"]
    data = ["--dataset", "market1501", "--root", str(noise_root), "--json", str(out)]
    assert main(["evaluate", "--weights", str(checkpoint), *options, *data, "--branches"]) == 0
    printed = capsys.readouterr().out
    assert "market1501: 2 queries, 4 gallery images" in printed
    assert "rank-1" in printed and "mINP" in printed and "fusion" in printed
    assert set(json.loads(out.read_text())) == {"embedding", "global", "adversarial", "fusion"}


def test_a_dataset_that_is_not_known(checkpoint, capsys):
    assert main(["evaluate", "--weights", str(checkpoint), "--dataset", "market1502"]) == 2
    assert "did you mean 'market1501'" in capsys.readouterr().err
