"""Measuring a network on a dataset: against loops, torchreid's own numbers, and by the command."""

import json
import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torchreid import metrics as torchreid_metrics

from torchreid_magnifier.cli import main
from torchreid_magnifier.evaluation import (
    EvaluationError,
    PairwiseDistances,
    evaluate_rank,
    multi_query,
    open_set,
    rank_queries,
    reassociate,
)
from torchreid_magnifier.hub import Card
from torchreid_magnifier.images import open_image
from torchreid_magnifier.inference.embedding_files import read_embeddings, write_embeddings
from torchreid_magnifier.inference.embeddings import Embeddings
from torchreid_magnifier.inference.errors import RetrievalError
from torchreid_magnifier.inference.evaluate import (
    _WithMirror,
    evaluate,
    measure,
    reassociate_tracks,
)
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


def labels_of(generator, queries=6, gallery=20, people=3, cameras=3):
    pids = generator.integers(0, people, queries + gallery)
    camids = generator.integers(0, cameras, queries + gallery)
    return pids[:queries], pids[queries:], camids[:queries], camids[queries:]


def kept_ranking(row, pid, camid, g_pids, g_camids):
    order = np.argsort(row, kind="stable")
    return [i for i in order if (g_pids[i], g_camids[i]) != (pid, camid)]


def test_ranked_queries_are_what_plain_loops_find():
    generator = np.random.default_rng(0)
    distances, labels = generator.random((6, 20)).astype(np.float32), labels_of(generator)
    q_pids, g_pids, q_camids, g_camids = labels
    penalties, curves = [], []
    for row, pid, camid in zip(distances, q_pids, q_camids):
        kept = kept_ranking(row, pid, camid, g_pids, g_camids)
        ranks = [rank for rank, i in enumerate(kept, 1) if g_pids[i] == pid]
        if ranks:
            penalties.append(len(ranks) / ranks[-1])
            points = [(k / len(ranks), k / rank) for k, rank in enumerate(ranks, 1)]
            curves.append(
                [
                    max(p for recall, p in points if recall >= r - 1e-9)
                    for r in np.linspace(0, 1, 21)
                ]
            )
    found = rank_queries(distances, *labels)
    np.testing.assert_allclose(found.penalty, penalties)
    np.testing.assert_allclose(found.curve, curves)
    cmc, mean_ap = evaluate_rank(distances, *labels)
    np.testing.assert_array_equal(found.cmc(), cmc)
    assert found.precision.mean() == mean_ap


def test_the_numbers_are_those_of_the_package_reid():
    metrics = pytest.importorskip(
        "reid.eval.metrics", reason="pip install --no-deps reid==0.1.0rc1 (it wants opencv-python)"
    )
    generator = np.random.default_rng(1)
    labels = labels_of(generator, 30, 200, 12, 4)
    query, gallery = (generator.normal(size=(n, 16)).astype(np.float32) for n in (30, 200))
    theirs = metrics._compute_reid_metrics(metrics.distance_matrix(query, gallery), *labels)
    distances = PairwiseDistances(torch.from_numpy(query), torch.from_numpy(gallery), "cosine")
    ours = measure(distances, *labels)
    assert ours.queries == theirs.num_queries
    expected = [theirs.rank1, theirs.rank5, theirs.rank10]
    np.testing.assert_allclose([*ours.cmc.values()], expected, rtol=1e-6)
    np.testing.assert_allclose(ours.mAP, theirs.mean_average_precision, rtol=1e-9)
    np.testing.assert_allclose(ours.mINP, theirs.minp, rtol=1e-9)


def test_the_queries_of_a_camera_are_measured_as_if_they_were_all():
    generator = np.random.default_rng(2)
    distances, labels = generator.random((40, 90)).astype(np.float32), labels_of(generator, 40, 90)
    found = measure(distances, *labels)
    for camera, ours in found.cameras.items():
        rows = labels[2] == camera
        alone = measure(distances[rows], labels[0][rows], labels[1], labels[2][rows], labels[3])
        assert (ours.queries, ours.cmc, ours.mAP) == (alone.queries, alone.cmc, alone.mAP)
    assert sum(one.queries for one in found.cameras.values()) == found.queries


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_several_images_of_a_query_are_pooled(pooling):
    generator = np.random.default_rng(3)
    query, gallery = (torch.from_numpy(generator.normal(size=(n, 5))) for n in (6, 20))
    labels = labels_of(generator)
    found = multi_query(query, gallery, *labels, pooling)
    pids, camids = (np.concatenate(both) for both in (labels[:2], labels[2:]))
    unit = torch.nn.functional.normalize(torch.cat([query, gallery]).float())
    for row in range(6):
        same = unit[(pids == pids[row]) & (camids == camids[row])]
        expected = same.mean(0) if pooling == "mean" else same.amax(0)
        torch.testing.assert_close(found[row], expected)
    with pytest.raises(EvaluationError, match="mean or max, found 'sum'"):
        multi_query(query, gallery, *labels, "sum")


def test_an_open_set_is_what_plain_loops_find():
    generator = np.random.default_rng(4)
    labels = labels_of(generator, 60, 120, 10, 3)
    labels[1][:20] = 99  # distractors, who stay
    distances = generator.random((60, 120)).astype(np.float32)
    distances -= 0.5 * (labels[0][:, None] == labels[1])
    found = open_set(distances, *labels, (0.1, 0.25), draws=2, seed=7)
    q_pids, g_pids, q_camids, g_camids = labels
    counted = rank_queries(distances, *labels).queries
    people, chance = np.unique(q_pids[counted]), np.random.default_rng(7)
    for draw in range(2):
        gone = set(chance.permutation(people)[: len(people) // 2])
        alarms, known = [], []
        for query in counted:
            kept = kept_ranking(distances[query], q_pids[query], q_camids[query], g_pids, g_camids)
            nearest = next(i for i in kept if g_pids[i] not in gone)
            score, right = distances[query, nearest], g_pids[nearest] == q_pids[query]
            if q_pids[query] in gone:
                alarms.append(score)
            else:
                known.append((score, right))
        assert (found.known[draw], found.strangers[draw]) == (len(known), len(alarms))
        for rate, threshold, share in zip((0.1, 0.25), found.thresholds[draw], found.found[draw]):
            assert np.mean(np.array(alarms) < threshold) <= rate
            assert np.mean(np.array(alarms) <= threshold) > rate
            assert share == np.mean([right and score < threshold for score, right in known])
    few = open_set(distances, *labels, (0.001, 0.1), draws=2, seed=7)
    assert np.isnan(few.found[:, 0]).all() and np.isnan(few.thresholds[:, 0]).all()
    np.testing.assert_array_equal(few.found[:, 1], found.found[:, 0])
    with pytest.raises(EvaluationError, match="0.1 % needs 1000 queries of strangers or more"):
        open_set(distances, *labels, (0.001,))
    with pytest.raises(EvaluationError, match="two people or more .* found 1"):
        open_set(distances, np.zeros(60), np.zeros(120), q_camids, g_camids)


def tracks(generator, people=6, frames=30):
    """Boxes of people who are missing now and then, each around a direction of its own."""
    there = [(f, p) for f in range(frames) for p in range(people) if generator.random() < 0.7]
    frame, person = np.array(there).T
    centres = generator.normal(size=(people, 8))
    vectors = centres[person] + generator.normal(size=(len(person), 8))
    return vectors.astype(np.float32), person, frame


def test_people_are_found_again_as_by_plain_loops_and_by_the_package_reid():
    vectors, person, frame = tracks(np.random.default_rng(5))
    found = reassociate(vectors, person, frame, gap=4, stride=2)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    ranks, rows, masks = [], [], []
    for row in np.flatnonzero(frame % 2 == 0):
        later = np.flatnonzero(frame == frame[row] + 4)
        if len(later) > 1 and person[row] in person[later]:
            order = later[np.argsort(-(unit[later] @ unit[row]))]
            ranks.append(1 + list(person[order]).index(person[row]))
            rows.append(row)
            masks.append(np.isin(np.arange(len(frame)), later))
    assert found.queries == len(ranks)
    assert found.rank1 == pytest.approx(np.mean(np.array(ranks) == 1)) and found.rank1 > 0.3
    assert found.reciprocal_rank == pytest.approx(np.mean(1 / np.array(ranks)))
    assert found.queries + sum(found.skipped.values()) == (frame % 2 == 0).sum()
    metrics = pytest.importorskip("reid.eval.metrics")
    theirs = metrics._compute_reid_metrics(
        metrics.distance_matrix(vectors[rows], vectors),
        *(person[rows], person, np.zeros(len(rows), int), np.zeros(len(frame), int)),
        candidate_mask=np.array(masks),
        exclude_same_pid_camid=False,
    )
    assert theirs.num_queries == found.queries
    assert theirs.rank1 == pytest.approx(100 * found.rank1)
    assert theirs.mean_average_precision == pytest.approx(100 * found.reciprocal_rank)


def test_tracks_that_cannot_be_asked_with():
    vectors, person, frame = tracks(np.random.default_rng(6))
    with pytest.raises(EvaluationError, match="there 90 frames later.*no such frame: "):
        reassociate(vectors, person, frame, gap=90)
    with pytest.raises(EvaluationError, match="frame 0 has two boxes of one person"):
        reassociate(vectors, np.zeros(len(person)), frame, gap=1)
    with pytest.raises(EvaluationError, match="as many boxes, found 3, "):
        reassociate(vectors[:3], person, frame, gap=1)


def test_the_numbers_are_torchreids(network, images):
    options = {"branches": True, "rerank": True, "pooling": "mean"}
    found = evaluate(network, images, "noise", **options).measures
    names = ["embedding", "re-ranked", "multi-query, mean", "global", "adversarial", "fusion"]
    assert list(found) == names
    with torch.no_grad():
        batch = torch.stack([network.preprocessing(open_image(path)) for path in images.paths])
        vectors = network.model(batch)
    count = len(images.query)
    for name, part in (("embedding", slice(None)), ("fusion", slice(768, 1024))):
        query, gallery = vectors[:count, part], vectors[count:, part]
        distances = torchreid_metrics.compute_distance_matrix(query, gallery, "cosine").numpy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cmc, mean_ap = torchreid_metrics.evaluate_rank(
                distances, *images.labels(), max_rank=4, use_cython=False
            )
        assert found[name].cmc[1] == pytest.approx(100 * cmc[0])
        assert found[name].mAP == pytest.approx(100 * mean_ap)


def test_with_mirror_images_left_and_right_are_the_same(network):
    both, images = _WithMirror(network.model), torch.randn(3, 3, 64, 32)
    with torch.no_grad():
        found, turned = (both.inspect(x).vector for x in (images, images.flip(3)))
        assert not torch.allclose(network.model(images), network.model(images.flip(3)), atol=1e-3)
    torch.testing.assert_close(found, turned)


def test_the_command_prints_and_writes(checkpoint, noise_root, tmp_path, capsys):
    out, page = tmp_path / "found.json", tmp_path / "found.html"
    options = ["--model", "magnifiernet_osnet_x0_25", "--height", "64", "--width", "32"]
    data = ["--dataset", "market1501", "market1501_masks", "--root", str(noise_root)]
    asked = ["--branches", "--cameras", "--parts", "--json", str(out), "--html", str(page)]
    assert main(["evaluate", "--weights", str(checkpoint), *options, *data, *asked]) == 0
    printed = capsys.readouterr().out
    assert "market1501: 2 queries, of which 2 count, 4 gallery images" in printed
    assert "rank-1" in printed and "mINP" in printed and "fusion" in printed
    assert re.search(r"network +trained on +market1501 +market1501_masks\n.*not recorded", printed)
    first, second = json.loads(out.read_text())
    names = {"embedding", "shared parts", "global", "adversarial", "fusion"}
    assert set(first["measures"]) == names
    assert first["measures"] == second["measures"] and first["dataset"] == "market1501"
    text = page.read_text()
    assert text.count("data:image/png;base64,") == 2 and "http" not in text  # no other file
    assert text.count("<h2>") == 3 and "By the queries' camera" in text


def test_parts_from_extraction_to_an_answer(checkpoint, noise_root, tmp_path, capsys):
    images = noise_root / "market1501" / "Market-1501-v15.09.15"
    gallery, query = tmp_path / "gallery.npz", str(next((images / "query").glob("*.jpg")))
    options = ["--model", "magnifiernet_osnet_x0_25", "--height", "64", "--width", "32"]
    asked = ["extract", str(images / "bounding_box_test"), "--out", str(gallery)]
    assert main([*asked, "--weights", str(checkpoint), *options, "--parts"]) == 0
    found = read_embeddings(gallery)
    assert found.regions.shape == (4, 8 * 256) and isinstance(found.regions, np.memmap)
    assert main(["search", "--gallery", str(gallery), query, "--parts", "--top", "2"]) == 0
    assert main(["search", "--gallery", str(gallery), query, "--parts", "--index", "flat"]) == 2
    assert "a search by parts is exact" in capsys.readouterr().err


def test_people_of_a_tracker_are_found_again(tmp_path, capsys):
    vectors, person, frame = tracks(np.random.default_rng(5))
    paths = np.array([f"{video}/{f:06d}.jpg" for video in "ab" for f in frame])
    both = [np.tile(values, 2).astype(np.int32) for values in (frame, person)]
    card = Card("people", "magnifiernet_r18", 64, 32)
    found = Embeddings(paths, both[0], np.tile(vectors, (2, 1)), None, card, tracks=both[1])
    once = reassociate(vectors, person, frame, gap=4, stride=2)
    twice = reassociate_tracks(found, 4, 2)
    assert (twice.queries, twice.rank1) == (2 * once.queries, pytest.approx(once.rank1))
    write_embeddings(tmp_path / "t.npz", [found], len(found), card)
    asked = ["evaluate", "--tracks", str(tmp_path / "t.npz"), "--gap"]
    assert main([*asked, "4", "--stride", "2"]) == 0
    assert f"{twice.queries} boxes, each among" in capsys.readouterr().out
    assert main([*asked, "99"]) == 1
    assert "no box's person is there 99 frames later" in capsys.readouterr().err
    with pytest.raises(RetrievalError, match="boxes with tracks, found none: extract them with"):
        reassociate_tracks(replace(found, tracks=None), 4)


def test_a_dataset_that_is_not_known(checkpoint, capsys):
    assert main(["evaluate", "--weights", str(checkpoint), "--dataset", "market1502"]) == 2
    assert "did you mean 'market1501'" in capsys.readouterr().err
