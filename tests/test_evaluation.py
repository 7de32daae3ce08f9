"""The evaluation, beside torchreid's own code."""

import re

import numpy as np
import pytest
import torch
import torchreid
from PIL import Image

from torchreid_magnifier import register
from torchreid_magnifier.evaluation import (
    EvaluationError,
    PairwiseDistances,
    RerankedDistances,
    distances,
    evaluate_rank,
)
from torchreid_magnifier.evaluation.engine import Evaluating
from torchreid_magnifier.registry import EVALUATION_SWITCH

torchreid_distances = torchreid.metrics.compute_distance_matrix


@pytest.fixture(autouse=True)
def numpy_has_bool(monkeypatch):
    """torchreid's CUHK03 metric needs it; numpy 1.24 to 1.26 do not have it."""
    monkeypatch.setattr(np, "bool", bool, raising=False)


def made(queries=40, gallery=300, people=25, size=16, seed=0):
    """Embeddings of people and distractors (pid 0), and their pids and camids."""
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((people + 1, size))
    centres[0] = 0

    def images(count, lowest):
        pids = generator.integers(lowest, people + 1, count)
        found = centres[pids] + 0.8 * generator.standard_normal((count, size))
        return torch.from_numpy(found).float(), pids, generator.integers(0, 4, count)

    (q, q_pids, q_camids), (g, g_pids, g_camids) = images(queries, 1), images(gallery, 0)
    return q, g, (q_pids, g_pids, q_camids, g_camids)


def torchreid_rank(matrix, labels, **options):
    return torchreid.metrics.evaluate_rank(matrix, *labels, use_cython=False, **options)


@pytest.mark.parametrize("max_rank", [1, 10, 50])
@pytest.mark.parametrize("cuhk03", [False, True])
def test_is_torchreids_to_the_last_bit(cuhk03, max_rank):
    """And CUHK03's draws leave numpy's generator where torchreid's leave it."""
    q, g, labels = made()
    matrix = torchreid_distances(q, g).numpy()
    results = []
    for function in (torchreid_rank, lambda m, labels, **o: evaluate_rank(m, *labels, **o)):
        np.random.seed(7)
        found = function(matrix, labels, max_rank=max_rank, use_metric_cuhk03=cuhk03)
        results.append((*found, np.random.random()))
    (cmc, mean_ap, drawn), (our_cmc, our_ap, our_drawn) = results
    np.testing.assert_array_equal(our_cmc, cmc)
    assert our_cmc.dtype == cmc.dtype and our_ap == pytest.approx(mean_ap, rel=1e-12)
    assert our_drawn == drawn
    assert 0.2 < mean_ap < 0.9 and (max_rank == 1 or cmc[0] < cmc[-1])


@pytest.mark.parametrize("cuhk03", [False, True])
def test_of_equally_distant_images_the_lower_number_is_nearer(cuhk03, monkeypatch):
    q, g, labels = made()
    matrix = torchreid_distances(q, g).numpy()
    matrix = np.round(matrix / matrix.max() * 6)  # 7 different distances
    with monkeypatch.context() as patch:
        argsort = np.argsort
        patch.setattr(np, "argsort", lambda a, axis=-1: argsort(a, axis=axis, kind="stable"))
        np.random.seed(7)
        cmc, mean_ap = torchreid_rank(matrix, labels, use_metric_cuhk03=cuhk03)
    np.random.seed(7)
    our_cmc, our_ap = evaluate_rank(matrix, *labels, use_metric_cuhk03=cuhk03)
    np.testing.assert_array_equal(our_cmc, cmc)
    assert our_ap == pytest.approx(mean_ap, rel=1e-12)


def test_queries_whose_person_is_seen_by_their_camera_only_do_not_count():
    """And galleries shorter than the CMC, of which different queries keep different numbers."""
    matrix = np.array([[0.1, 0.2, 0.3], [0.3, 0.2, 0.1], [0.5, 0.5, 0.5]])
    q_pids, q_camids = np.array([1, 1, 2]), np.array([1, 3, 2])
    g_pids, g_camids = np.array([1, 3, 1]), np.array([1, 1, 2])
    # Query 0 keeps (3, 1), finds its person second; query 1 keeps all, ranked 1, 3, 1; query 2 is
    # not in the gallery.
    cmc, mean_ap = evaluate_rank(matrix, q_pids, g_pids, q_camids, g_camids)
    np.testing.assert_array_equal(cmc, [0.5, 1, 1])
    assert mean_ap == pytest.approx((1 / 2 + (1 + 2 / 3) / 2) / 2)
    with pytest.raises(EvaluationError, match="no query's person is in the gallery by another"):
        evaluate_rank(matrix[2:], q_pids[2:], g_pids, q_camids[2:], g_camids)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda m, labels: (m[0], labels), r"expected distances \(Q, G\).* found \(300,\)"),
        (lambda m, labels: (m[:, 1:], labels), r"found \(40, 299\), \(40,\), \(300,\), \(40,\)"),
        (lambda m, labels: (np.where(m == m.max(), np.nan, m), labels), "not numbers"),
    ],
)
def test_what_cannot_be_evaluated_is_reported(change, message):
    q, g, labels = made()
    matrix, labels = change(torchreid_distances(q, g).numpy(), labels)
    with pytest.raises(EvaluationError, match=message):
        evaluate_rank(matrix, *labels)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_distances_are_torchreids_and_come_in_blocks(metric, monkeypatch):
    monkeypatch.setattr(distances, "_BLOCK", 2000)
    q, g, labels = made()
    lazy, matrix = PairwiseDistances(q, g, metric), torchreid_distances(q, g, metric).numpy()
    assert [len(block) for _, block in distances.blocks(lazy)] == [6, 6, 6, 6, 6, 6, 4]
    np.testing.assert_allclose(distances.whole(lazy), matrix, rtol=1e-5, atol=1e-5)
    rows, columns = np.array([3, 39, 3]), np.array([299, 0, 7])
    np.testing.assert_allclose(lazy.pairs(rows, columns), matrix[rows, columns], rtol=1e-4)
    np.testing.assert_array_equal(
        evaluate_rank(lazy, *labels)[0], torchreid_rank(matrix, labels)[0]
    )


def test_embeddings_that_do_not_fit_are_reported():
    with pytest.raises(EvaluationError, match=r"found \(2, 3\) and \(2, 4\)"):
        PairwiseDistances(torch.ones(2, 3), torch.ones(2, 4))
    with pytest.raises(EvaluationError, match="euclidean or cosine, found 'manhattan'"):
        PairwiseDistances(torch.ones(2, 3), torch.ones(2, 3), "manhattan")
    with pytest.raises(EvaluationError, match="k1 and k2 of at least 1"):
        RerankedDistances(torch.ones(2, 3), torch.ones(2, 3), k2=0)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("sizes", [{}, {"k1": 7, "k2": 1}, {"k1": 5, "k2": 9}, {"k1": 100}])
def test_re_ranking_is_torchreids_without_its_matrices(metric, sizes, monkeypatch):
    monkeypatch.setattr(distances, "_BLOCK", 1000)
    taken = []
    getitem = PairwiseDistances.__getitem__

    def watched(self, rows):
        taken.append(getitem(self, rows))
        return taken[-1]

    monkeypatch.setattr(PairwiseDistances, "__getitem__", watched)
    q, g, _ = made(20, 60)
    pairs = [(q, g), (q, q), (g, g)]
    expected = torchreid.utils.re_ranking(
        *(torchreid_distances(*pair, metric).numpy() for pair in pairs), lambda_value=0.2, **sizes
    )
    reranked = RerankedDistances(q, g, metric, lambda_value=0.2, **sizes)
    np.testing.assert_allclose(distances.whole(reranked), expected, atol=1e-5)
    assert expected.std() > 0.01 and max(block.size for block in taken) <= 1000


@pytest.mark.parametrize("k2", [1, 6])
def test_re_ranking_of_embeddings_that_are_all_the_same_is_numbers(k2):
    """torchreid divides zero by zero; with k2 = 1 some have no neighbourhood at all."""
    same = torch.ones(30, 4)
    assert np.isfinite(distances.whole(RerankedDistances(same[:5], same[5:], k2=k2))).all()


class Data:
    """What an engine asks a data manager for when it tests; 12 queries, 60 in the gallery."""

    sources, data_type, height, width = (), "image", 16, 8

    def __init__(self, folder):
        q, g, (q_pids, g_pids, q_camids, g_camids) = made(12, 60, 5)
        sets = {"query": (q, q_pids, q_camids), "gallery": (g, g_pids, g_camids)}
        self.train_loader, self.test_loader, self.listed = None, {"made": {}}, []
        for name, (embeddings, pids, camids) in sets.items():
            pids, camids = map(torch.from_numpy, (pids, camids))
            batches = zip(embeddings.split(7), pids.split(7), camids.split(7))
            keys = ("img", "pid", "camid")
            self.test_loader["made"][name] = [dict(zip(keys, batch)) for batch in batches]
            self.listed.append([])
            for number, who in enumerate(zip(pids.tolist(), camids.tolist())):
                path = folder / f"{name}{number}.png"
                Image.new("RGB", (8, 16), (4 * number, 0, 0)).save(path)
                self.listed[-1].append((str(path), *who, 0))

    def fetch_test_loaders(self, name):
        return self.listed


def outcome(engine_class, data, capsys, **options):
    """What an engine prints and returns."""
    engine = engine_class(data, use_gpu=False)
    engine.model = torch.nn.Identity()
    engine.register_model("model", engine.model)
    np.random.seed(7)
    rank1 = engine.test(**options)
    return rank1, re.sub(r"Speed: [\d.]+", "Speed:", capsys.readouterr().out)


class Ours(Evaluating):
    pass


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"normalize_feature": True, "dist_metric": "cosine", "ranks": [1, 3]},
        {"rerank": True, "ranks": [2]},
        {"use_metric_cuhk03": True, "ranks": [1, 2]},
        {"visrank": True, "visrank_topk": 3},
    ],
    ids=lambda options: " ".join(options) or "plain",
)
def test_the_engine_prints_what_torchreids_prints(options, tmp_path, capsys):
    data = Data(tmp_path)
    found = []
    for engine_class in (torchreid.engine.Engine, Ours):
        folder = tmp_path / engine_class.__name__
        rank1, printed = outcome(engine_class, data, capsys, save_dir=str(folder), **options)
        drawn = {path.name: path.read_bytes() for path in folder.rglob("*.jpg")}
        found.append((rank1, printed.replace(str(folder), ""), drawn))
    assert found[0] == found[1]
    assert "mAP: " in found[1][1] and len(found[1][2]) == (12 if "visrank" in options else 0)


def test_a_rank_beyond_the_gallery_is_that_of_the_whole_gallery(tmp_path, capsys):
    """torchreid breaks off with an IndexError there, and above rank 50."""
    _, printed = outcome(Ours, Data(tmp_path), capsys, ranks=[1, 100])
    assert "Rank-100: 100.0%" in printed


def test_a_variable_switches_it_on_in_torchreids_own_engines(monkeypatch):
    engine = torchreid.engine.Engine
    for name in ("_evaluate", "_extract", "_rank"):
        monkeypatch.setattr(engine, name, getattr(engine, name, None), raising=False)
    own = engine._evaluate
    with pytest.warns(RuntimeWarning, match="TORCHREID_MAGNIFIER_EVALUATION: .* found 'yes'"):
        monkeypatch.setenv(EVALUATION_SWITCH, "yes")
        register()
    assert engine._evaluate is own
    monkeypatch.setenv(EVALUATION_SWITCH, "1")
    register()
    assert engine._evaluate is Evaluating._evaluate and engine._extract is Evaluating._extract
