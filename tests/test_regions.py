"""Regions on feature maps against plain loops, and which regions SAB keeps."""

import pytest
import torch
import torch.nn.functional as F

from torchreid_magnifier.models.magnifiernet.semantic_adversarial import RegionSampler
from torchreid_magnifier.models.regions import (
    keep_regions,
    region_maps,
    region_max_pool,
    region_shares,
    selection,
    shrink_labels,
)
from torchreid_magnifier.parts import BACKGROUND, LOWER_TORSO, NUM_PARTS, UPPER_TORSO


def plain_region_max_pool(features, maps):
    pooled = torch.empty(features.shape[0], maps.shape[1], features.shape[1], dtype=features.dtype)
    for n in range(features.shape[0]):
        for k in range(maps.shape[1]):
            for c in range(features.shape[1]):
                pooled[n, k, c] = max((features[n, c] * maps[n, k]).flatten().tolist())
    return pooled


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_region_max_pool_equals_plain_loops(dtype):
    features = torch.randn(2, 5, 4, 3, dtype=dtype)  # negative values too
    maps = region_maps(torch.randint(0, NUM_PARTS, (2, 8, 6)), (4, 3), dtype, "bilinear")
    assert torch.equal(region_max_pool(features, maps), plain_region_max_pool(features, maps))


def test_region_max_pool_gradient_is_that_of_masked_copies():
    features = torch.rand(2, 5, 4, 3, dtype=torch.float64, requires_grad=True)
    maps = region_maps(torch.randint(0, 4, (2, 8, 6)), (4, 3), torch.float64, "bilinear")
    weight = torch.randn(2, NUM_PARTS, 5, dtype=torch.float64)
    (region_max_pool(features, maps) * weight).sum().backward()
    got, features.grad = features.grad, None
    copies = [
        F.adaptive_max_pool2d(features * maps[:, k : k + 1], 1).flatten(1) for k in range(NUM_PARTS)
    ]
    (torch.stack(copies, 1) * weight).sum().backward()
    assert torch.allclose(got, features.grad)


def test_absent_region_pools_to_zero_without_gradient():
    features = torch.rand(1, 3, 4, 2, requires_grad=True)
    maps = region_maps(torch.zeros(1, 8, 4, dtype=torch.long), (4, 2), torch.float32, "bilinear")
    pooled = region_max_pool(features, maps)
    assert not pooled[:, 1:].any() and torch.equal(pooled[:, 0], features.amax((2, 3)))
    pooled[:, 1:].sum().backward()
    assert not features.grad.any()


def test_region_maps_are_binary_maps_rescaled_bilinearly():
    labels = torch.randint(0, NUM_PARTS, (2, 8, 4))
    maps = region_maps(labels, (4, 2), torch.float32, "bilinear")
    for k in range(NUM_PARTS):
        binary = (labels == k).float()
        for row in range(4):
            for col in range(2):  # factor two: bilinear interpolation is the mean of four pixels
                block = binary[:, 2 * row : 2 * row + 2, 2 * col : 2 * col + 2]
                assert torch.allclose(maps[:, k, row, col], block.mean((1, 2)))
    assert torch.allclose(maps.sum(1), torch.ones(2, 4, 2))


def test_shrunk_labels_are_picked_at_cell_centres_and_never_mixed():
    labels = torch.zeros(1, 16, 16, dtype=torch.long)
    labels[0, 4, 4], labels[0, 4, 12], labels[0, 12, 12] = 1, 3, 7
    assert shrink_labels(labels, (2, 2)).tolist() == [[[1, 3], [0, 7]]]
    columns = torch.tensor([1, 3]).repeat_interleave(8).expand(1, 16, 16)
    assert set(shrink_labels(columns, (4, 4)).unique().tolist()) == {1, 3}


def test_kept_regions_add_up_and_erase_the_rest():
    features = torch.rand(2, 3, 4, 2)
    labels = torch.randint(0, NUM_PARTS, (2, 8, 4))
    maps = region_maps(labels, (4, 2), torch.float32, "bilinear")
    kept = [0, 2, 5]
    expected = sum(features * maps[:, k : k + 1] for k in kept)
    assert torch.allclose(keep_regions(features, maps, selection(kept, maps)), expected)
    everything = keep_regions(features, maps, selection(range(NUM_PARTS), maps))
    assert torch.allclose(everything, features, atol=1e-6)


def test_region_shares_are_pixel_shares():
    labels = torch.tensor([[[0, 0], [1, 7]], [[0, 0], [0, 0]]])
    shares = [0.75, 0.125, 0, 0, 0, 0, 0, 0.125]
    assert region_shares(region_maps(labels, (2, 2), torch.float32, "bilinear")).tolist() == shares
    # Bilinear halving keeps them.
    assert region_shares(region_maps(labels, (1, 1), torch.float32, "bilinear")).tolist() == shares


def test_nearest_scaling_takes_even_rows_and_columns():
    labels = torch.randint(0, NUM_PARTS, (2, 8, 6), generator=torch.Generator().manual_seed(1))
    maps = region_maps(labels, (4, 3), torch.float32, "nearest")
    assert torch.equal(maps.argmax(1), labels[:, ::2, ::2])
    assert torch.equal(maps.sum(1), torch.ones(2, 4, 3)) and set(maps.unique().tolist()) == {0, 1}


@pytest.mark.parametrize("num_kept", [2, 4, 6])
def test_random_torso_keeps_background_and_half_of_each_torso(num_kept):
    seen = set()
    for _ in range(200):
        kept = RegionSampler("torso", num_kept).sample()
        assert kept[0] == BACKGROUND and len(set(kept)) == num_kept + 1
        assert (
            len(set(kept) & set(UPPER_TORSO)) == len(set(kept) & set(LOWER_TORSO)) == num_kept / 2
        )
        seen |= set(kept)
    assert seen == set(range(NUM_PARTS))


@pytest.mark.parametrize("num_kept", [1, 4, 7])
def test_random_baseline_keeps_background_and_any_regions(num_kept):
    draws = [frozenset(RegionSampler("baseline", num_kept).sample()) for _ in range(200)]
    assert all(BACKGROUND in kept and len(kept) == num_kept + 1 for kept in draws)
    if num_kept == 4:  # other than Random-torso, it sometimes keeps one torso only
        assert any(
            not kept & set(LOWER_TORSO) or len(kept & set(UPPER_TORSO)) == 4 for kept in draws
        )


def test_a_seed_repeats_the_draw():
    torch.manual_seed(3)
    first = [RegionSampler().sample() for _ in range(20)]
    torch.manual_seed(3)
    assert first == [RegionSampler().sample() for _ in range(20)]
    assert len({tuple(kept) for kept in first}) > 1


@pytest.mark.parametrize("num_kept", [3, 0, 8, -2])
def test_random_torso_refuses_odd_and_too_large_numbers(num_kept):
    with pytest.raises(ValueError) as error:
        RegionSampler("torso", num_kept)
    assert str(error.value) == (
        "Random-torso keeps num_kept / 2 regions of the upper and of the lower torso: "
        f"num_kept must be even and from 2 to 6, got {num_kept}."
    )


def test_sampler_refuses_unknown_strategies_and_too_many_regions():
    with pytest.raises(ValueError, match="num_kept must be from 1 to 7, got 8"):
        RegionSampler("baseline", 8)
    with pytest.raises(ValueError, match="Unknown sampling strategy 'legs': expected 'torso'"):
        RegionSampler("legs", 4)
