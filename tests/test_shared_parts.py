"""Distances over the parts that both pictures show, against plain loops."""

import numpy as np
import pytest

from torchreid_magnifier.evaluation import EvaluationError, PartFeatures, SharedPartDistances
from torchreid_magnifier.evaluation import shared_parts as module

PARTS, SIZE = 8, 5


def pictures(count, seed):
    generator = np.random.default_rng(seed)
    shares = generator.dirichlet(np.ones(PARTS), count).astype(np.float32)
    shares[generator.random((count, PARTS)) < 0.3] = 0
    regions = generator.random((count, PARTS, SIZE)).astype(np.float16)
    regions[shares == 0] = 0
    return PartFeatures(generator.normal(size=(count, 6)).astype(np.float32), regions, shares)


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
