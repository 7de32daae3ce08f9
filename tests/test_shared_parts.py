"""Distances over the parts that both pictures show, against plain loops."""

from dataclasses import replace

import numpy as np
import pytest
from test_decide import CARD, rows_of

from torchreid_magnifier.evaluation import EvaluationError, PartFeatures, SharedPartDistances
from torchreid_magnifier.evaluation import shared_parts as module
from torchreid_magnifier.inference.decide import calibrate, decide, score_pairs
from torchreid_magnifier.inference.embeddings import Embeddings
from torchreid_magnifier.inference.errors import RetrievalError
from torchreid_magnifier.inference.search import search

PARTS, SIZE = 8, 5


def pictures(count, seed):
    generator = np.random.default_rng(seed)
    shares = generator.dirichlet(np.ones(PARTS), count).astype(np.float32)
    shares[generator.random((count, PARTS)) < 0.3] = 0
    regions = generator.random((count, PARTS, SIZE)).astype(np.float16)
    regions[shares == 0] = 0
    return PartFeatures(generator.normal(size=(count, 6)).astype(np.float32), regions, shares)


def embeddings_of(found):
    count = len(found.vectors)
    paths = np.array([f"{row}.jpg" for row in range(count)])
    frames, regions = np.full(count, -1, np.int32), found.regions.reshape(count, -1)
    return Embeddings(paths, frames, found.vectors, found.visibility, CARD, regions=regions)


def cosine(one, other):
    lengths = np.linalg.norm(one) * np.linalg.norm(other)
    return float(one @ other / lengths) if lengths else 0.0


def by_loops(query, gallery, share):
    usual = gallery.visibility.mean(0)
    found = np.empty((len(query.vectors), len(gallery.vectors)))
    for q, g in np.ndindex(*found.shape):
        whole = 1 - cosine(query.vectors[q], gallery.vectors[g])
        total = weight = 0.0
        for part in range(1, PARTS):  # 0 is the background
            seen = [
                min(1, s.visibility[r, part] / usual[part]) for s, r in ((query, q), (gallery, g))
            ]
            one, other = (s.regions[r, part].astype(float) for s, r in ((query, q), (gallery, g)))
            total += seen[0] * seen[1] * (1 - cosine(one, other))
            weight += seen[0] * seen[1]
        found[q, g] = (1 - share) * whole + share * (total / weight if weight else whole)
    return found


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_distances_are_those_of_plain_loops_whatever_the_blocks(share, monkeypatch):
    query, gallery = pictures(4, 0), pictures(11, 1)
    query.visibility[0] = np.eye(PARTS)[0]  # nothing of a body
    expected = by_loops(query, gallery, share)
    found = SharedPartDistances(query, gallery, share)
    assert found.shape == (4, 11)
    np.testing.assert_allclose(found[0:4], expected, atol=1e-6)
    monkeypatch.setattr(module, "_NUMBERS", 3 * PARTS * SIZE)  # three pictures at a time
    np.testing.assert_allclose(found[1:3], expected[1:3], atol=1e-6)
    flat = gallery._replace(regions=gallery.regions.reshape(11, -1))
    np.testing.assert_allclose(SharedPartDistances(query, flat, share)[0:4], expected, atol=1e-6)


def test_single_pairs_and_the_nearest_are_those_of_the_matrix(monkeypatch):
    query, gallery = pictures(6, 4), pictures(20, 5)
    distances = SharedPartDistances(query, gallery, 0.5)
    rows, columns = np.random.default_rng(0).integers(0, 6, (2, 30))
    monkeypatch.setattr(module, "_NUMBERS", 7 * PARTS * SIZE)
    expected = distances[0:6][rows, columns]
    np.testing.assert_allclose(distances.pairs(rows, columns), expected, atol=1e-6)
    monkeypatch.setattr("torchreid_magnifier.evaluation.distances._BLOCK", 40)  # two queries
    ours, theirs = map(embeddings_of, (query, gallery))
    found = search(ours, theirs, 5, parts=0.5)
    np.testing.assert_array_equal(found.rows, np.argsort(distances[0:6], 1, kind="stable")[:, :5])
    np.testing.assert_allclose(found.scores, 1 - np.sort(distances[0:6], 1)[:, :5], atol=1e-6)
    with pytest.raises(RetrievalError, match="the gallery: expected features of body parts"):
        search(ours, replace(theirs, regions=None), 5, parts=0.5)


def test_answers_by_parts_are_those_of_a_calibration_by_parts():
    pytest.importorskip("sklearn")
    people = np.repeat(np.arange(20), 4)
    generator = np.random.default_rng(6)
    centres = generator.random((20, PARTS, SIZE))
    found = pictures(80, 7)
    regions = (centres[people] + 0.2 * generator.random((80, PARTS, SIZE))).astype(np.float16)
    embeddings = embeddings_of(found._replace(regions=regions))
    pairs = score_pairs(embeddings, people, np.tile([0, 1], 40), parts=1.0)
    calibration = calibrate(pairs, CARD, "made people", [0.1], replicates=5)
    assert calibration.parts == 1 and calibration.equal_error < 0.1
    assert (
        calibrate(
            score_pairs(embeddings, people, np.tile([0, 1], 40)), CARD, "x", [0.1], replicates=5
        ).equal_error
        > 0.3
    )  # the embeddings themselves know nobody
    half = np.arange(80) % 2 == 0
    queries, gallery = (rows_of(embeddings, np.flatnonzero(rows)) for rows in (half, ~half))
    answers = decide(queries, gallery, calibration, 0.1)
    assert np.mean([people[~half][a.row] == p for a, p in zip(answers, people[half])]) > 0.9
    with pytest.raises(RetrievalError, match="over shared parts, which vectors alone do not have"):
        decide(np.zeros((1, 6)), gallery, calibration, 0.1)


def test_a_hidden_part_says_nothing():
    query, gallery = pictures(3, 2), pictures(5, 3)
    query.visibility[:, 4] = 0
    before = SharedPartDistances(query, gallery)[0:3]
    query.regions[:, 4] = 7
    np.testing.assert_array_equal(SharedPartDistances(query, gallery)[0:3], before)


def test_pictures_that_do_not_fit():
    query, gallery = pictures(3, 0), pictures(5, 1)
    with pytest.raises(EvaluationError, match="share of the parts of 0..1, found 2"):
        SharedPartDistances(query, gallery, 2)
    with pytest.raises(EvaluationError, match=r"found \(3, 6\), \(2, 8, 5\) and \(3, 8\)"):
        SharedPartDistances(query._replace(regions=query.regions[:2]), gallery)
    with pytest.raises(EvaluationError, match=r"sizes \(6, 32\) of queries and \(6, 40\) of the"):
        SharedPartDistances(query._replace(regions=query.regions[:, :, :4]), gallery)
    nobody = PartFeatures(*(values[:0] for values in gallery))
    assert SharedPartDistances(query, nobody)[0:3].shape == (3, 0)
