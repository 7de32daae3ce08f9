"""What explains networks: every number against plain loops."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torchreid import models as torchreid_models

from torchreid_magnifier.data.datasets import DatasetError
from torchreid_magnifier.hub import Card
from torchreid_magnifier.images import ImageError
from torchreid_magnifier.inference.errors import ExplainError, RetrievalError
from torchreid_magnifier.inference.explain.maps import (
    JOINT,
    activation_map,
    branch_maps,
    inspect_images,
    region_activation_maps,
    region_similarity,
)
from torchreid_magnifier.inference.explain.rankings import (
    EvaluationSet,
    Sample,
    Search,
    read_evaluation_set,
    region_standings,
    see_evaluation_set,
)
from torchreid_magnifier.inference.open import Network
from torchreid_magnifier.inference.sources import find_sources
from torchreid_magnifier.losses import SemanticDiversityLoss
from torchreid_magnifier.models import Embedding
from torchreid_magnifier.parts import BACKGROUND, FOREGROUND, NUM_PARTS


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    model = torchreid_models.build_model("magnifiernet_r18", 3, loss="triplet", pretrained=False)
    return Network(model.eval(), Card("made", "magnifiernet_r18", 64, 32))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Five images of noise, of different sizes and kinds."""
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for name, shape in {
        "a.png": (64, 32, 3),
        "b.jpg": (100, 40, 3),
        "c.bmp": (30, 60, 3),
        "d.png": (64, 32),  # grey
        "deep/e.PNG": (64, 32, 4),  # with transparency
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(generator.integers(0, 256, shape).astype(np.uint8)).save(folder / name)
    return folder


def seen(activations, region_maps=None, regions=None) -> Embedding:
    vector = torch.empty(0)
    return Embedding(vector, maps=activations, region_maps=region_maps, regions=regions)


# ---------------------------------------------------------------------- images


def test_images_of_files_and_folders_each_once(images, tmp_path):
    (images / "a_ps_label").mkdir(exist_ok=True)
    Image.new("L", (4, 4)).save(images / "a_ps_label" / "a.png")
    (images / "notes.txt").write_text("")
    (images / ".hidden.png").write_text("")
    found = find_sources([images / "d.png", images], videos=False)
    names = ["d.png", "a.png", "b.jpg", "c.bmp", "deep/e.PNG"]
    assert found == [str(images / name) for name in names]
    with pytest.raises(RetrievalError, match="there is no file or folder .*nowhere"):
        find_sources([images / "nowhere"], videos=False)
    with pytest.raises(
        RetrievalError, match=r"expected images \(.jpg.*\) in it or below, found none"
    ):
        find_sources([tmp_path], videos=False)


def test_an_image_that_cannot_be_read_is_an_error(network, images):
    with pytest.raises(ImageError, match=r"gone.png: cannot be read as an image"):
        next(inspect_images(network, [str(images / "gone.png")]))


def test_batches_change_nothing(network, images):
    paths = find_sources([images], videos=False)
    batches = list(inspect_images(network, paths, 2))
    assert [len(batch.vector) for batch in batches] == [2, 2, 1]
    (whole,) = inspect_images(network, paths, 5)
    embedding = torch.cat([batch.vector for batch in batches])
    torch.testing.assert_close(embedding, whole.vector)
    assert not whole.vector.requires_grad
    image = network.preprocessing(Image.open(paths[0])).unsqueeze(0)
    with torch.no_grad():
        torch.testing.assert_close(network.model(image), whole.vector[:1])


# ---------------------------------------------------------------------- activations


def test_activation_map_against_plain_loops():
    activation = torch.rand(2, 5, 4, 3)
    found = activation_map(activation)
    for n in range(2):
        sums = [
            [sum(float(activation[n, c, y, x]) ** 2 for c in range(5)) for x in range(3)]
            for y in range(4)
        ]
        lowest, highest = min(map(min, sums)), max(map(max, sums))
        for y in range(4):
            for x in range(3):
                expected = (sums[y][x] - lowest) / (highest - lowest)
                assert float(found[n, y, x]) == pytest.approx(expected, abs=1e-5)


def test_activation_map_where_all_places_are_alike_is_zero():
    assert activation_map(torch.full((1, 3, 4, 2), 0.5)).eq(0).all()


def test_joint_map_is_the_mean_of_the_branches_on_one_scale():
    torch.manual_seed(1)
    branches = {"global": torch.rand(2, 6, 4, 2), "fusion": 100 * torch.rand(2, 3, 4, 2)}
    found = branch_maps(seen(branches))
    assert list(found) == ["global", "fusion", JOINT]
    for n in range(2):
        mean = (found["global"][n] + found["fusion"][n]) / 2  # strong branches do not count more
        expected = (mean - mean.min()) / (mean.max() - mean.min())
        torch.testing.assert_close(found[JOINT][n], expected)


def test_region_activations_against_plain_loops():
    torch.manual_seed(2)
    activation, maps = torch.rand(2, 5, 4, 3), torch.rand(2, NUM_PARTS, 4, 3)
    maps[0, FOREGROUND[2]] = 0  # absent
    found = region_activation_maps(seen({"fusion": activation}, maps))
    for n in range(2):
        energy = torch.zeros(NUM_PARTS, 4, 3)
        for k in range(NUM_PARTS):
            for c in range(5):
                energy[k] += (activation[n, c] * maps[n, k]) ** 2
        body = max(float(energy[k].max()) for k in FOREGROUND)
        for k in range(NUM_PARTS):
            scale = float(energy[k].max()) if k == BACKGROUND else body
            torch.testing.assert_close(found[n, k], energy[k] / scale)
    assert found[0, FOREGROUND[2]].eq(0).all()


def test_regions_of_a_network_without_them(images):
    with pytest.raises(ValueError, match="Only a network with features of regions"):
        region_activation_maps(seen({"global": torch.rand(1, 2, 4, 2)}))


# ---------------------------------------------------------------------- regions


def test_region_similarity_against_plain_loops():
    torch.manual_seed(3)
    regions = torch.randn(7, NUM_PARTS, 4)
    regions[2, 1] = regions[5, 1] = regions[5, 3] = 0  # absent
    found = region_similarity([regions[:4], regions[4:]])
    assert found.images == 7
    for i in range(NUM_PARTS):
        for j in range(NUM_PARTS):
            cosines = []
            for image in regions.double():
                norms = float(image[i].norm()), float(image[j].norm())
                if all(norms):
                    cosines.append(float(image[i] @ image[j]) / (norms[0] * norms[1]))
            assert float(found.matrix[i, j]) == pytest.approx(sum(cosines) / len(cosines))
    assert found.loss == pytest.approx(float(SemanticDiversityLoss()(regions.double())))


def test_region_that_no_image_has_is_nan_and_counts_as_0_in_the_loss():
    regions = torch.rand(3, NUM_PARTS, 4)
    regions[:, 6] = 0
    found = region_similarity([regions])
    assert found.matrix.isnan().sum() == 2 * NUM_PARTS - 1
    assert found.loss == pytest.approx(float(SemanticDiversityLoss()(regions)), abs=1e-6)
    with pytest.raises(ValueError, match="at least one image"):
        region_similarity([])


# ---------------------------------------------------------------------- rankings


def made_search() -> Search:
    generator = np.random.default_rng(0)
    gallery = [
        Sample(f"g{i}", int(pid), int(camid), 0)
        for i, (pid, camid) in enumerate(generator.integers(2, 5, (30, 2)))
    ]
    gallery.append(Sample("same camera", 3, 1, 0))
    distances = generator.random((2, 31))
    distances[0, -1] = 0
    right = next(i for i, s in enumerate(gallery) if s.pid == 4 and s.camid != 2)
    distances[1, right] = 0
    queries = [Sample("q", 3, 1, 0), Sample("r", 4, 2, 0)]
    return Search(distances, EvaluationSet(queries, gallery))


def test_ranking_leaves_out_the_persons_images_by_the_same_camera():
    search = made_search()
    expected = [i for i in range(31) if search.images.gallery[i][1:3] != (3, 1)]
    expected.sort(key=lambda i: search.distances[0, i])
    assert search.ranking(0).tolist() == expected
    assert [search.is_right(0, i) for i in expected] == [
        search.images.gallery[i].pid == 3 for i in expected
    ]


def test_measures_are_those_of_the_rankings():
    search = made_search()
    firsts, precisions = [], []
    for query in range(2):
        rights = [search.is_right(query, found) for found in search.ranking(query)]
        firsts.append(int(rights[0]))
        places = [place for place, right in enumerate(rights) if right]
        precisions.append(np.mean([(n + 1) / (place + 1) for n, place in enumerate(places)]))
    rank1, mean_ap = search.rank1_and_map()
    assert rank1 == pytest.approx(np.mean(firsts)) and mean_ap == pytest.approx(np.mean(precisions))
    one = search.rank1_and_map(np.array([False, True]))
    assert one == pytest.approx((firsts[1], precisions[1]))


def test_evaluation_set_of_a_dataset_as_a_network_sees_it(network, noise_root):
    images = read_evaluation_set("market1501", str(noise_root))
    assert (len(images.query), len(images.gallery)) == (2, 4)
    assert images.answerable() == [0, 1]
    found = see_evaluation_set(images, inspect_images(network, images.paths, 4), with_regions=True)
    (whole,) = inspect_images(network, images.paths, 6)
    for q in range(2):
        for g in range(4):
            cosine = torch.cosine_similarity(whole.vector[q], whole.vector[2 + g], dim=0)
            assert found.search.distances[q, g] == pytest.approx(1 - float(cosine), abs=1e-5)
    torch.testing.assert_close(
        found.gallery_regions.float(), whole.regions[2:], rtol=1e-3, atol=1e-3
    )
    without = see_evaluation_set(images, inspect_images(network, images.paths, 4))
    assert without.query_regions is None and without.gallery_regions is None


def test_queries_that_count_have_their_person_in_the_gallery_by_another_camera():
    def sample(pid, camid):
        return Sample("", pid, camid, 0)

    gallery = [sample(1, 0), sample(1, 1), sample(2, 0)]
    images = EvaluationSet([sample(1, 0), sample(2, 0), sample(3, 0), sample(2, 1)], gallery)
    assert images.answerable() == [0, 3]


def test_dataset_that_cannot_be_read(tmp_path, monkeypatch, capsys):
    def no_network(*args, **kwargs):
        raise OSError("network is down")

    monkeypatch.setattr("urllib.request.urlretrieve", no_network)  # torchreid tries to download
    message = rf"{tmp_path}/market1501 is not there and could not be downloaded .network is down"
    with pytest.raises(DatasetError, match=message):
        read_evaluation_set("market1501", str(tmp_path))
    assert not list(tmp_path.iterdir()) and not capsys.readouterr().out
    with pytest.raises(ExplainError, match="pit has images to train on only, no queries"):
        read_evaluation_set("pit", str(tmp_path))


def test_region_standings_against_plain_loops():
    torch.manual_seed(4)
    query, gallery = torch.randn(NUM_PARTS, 5), torch.randn(6, NUM_PARTS, 5)
    query[2] = 0  # the query lacks a region
    gallery[1, 4] = gallery[3, 4] = 0  # images lack one
    found = region_standings(query, gallery)

    def cosine(g: int, k: int) -> float:
        one, other = query[k].double(), gallery[g, k].double()
        return float(one @ other / (one.norm() * other.norm()))

    for k in range(NUM_PARTS):
        having = [g for g in range(6) if gallery[g, k].any() and query[k].any()]
        for g in range(6):
            if g not in having:
                assert math.isnan(found[g, k])
            else:
                below = sum(cosine(other, k) < cosine(g, k) for other in having)
                assert float(found[g, k]) == pytest.approx(below / (len(having) - 1))


def test_region_standings_of_a_gallery_of_one():
    assert region_standings(torch.ones(NUM_PARTS, 3), torch.ones(1, NUM_PARTS, 3)).eq(0).all()
