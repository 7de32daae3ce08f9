"""Losses against plain-loop oracles, and their degenerate cases by name."""

import math

import pytest
import torch

from torchreid_magnifier.losses import PartSegmentationLoss, SemanticDiversityLoss

DTYPES = [torch.float32, torch.float64]


def plain_semantic_diversity(features, eps=1e-6):
    """Eq. 3 as printed, over the pairs i < j."""
    num_images, num_regions, _ = features.shape
    total, pairs = 0.0, 0
    for n in range(num_images):
        for j in range(num_regions):
            for i in range(j + 1, num_regions):
                a, b = features[n, i].tolist(), features[n, j].tolist()
                dot = sum(x * y for x, y in zip(a, b))
                norm_a = math.sqrt(sum(x * x for x in a))
                norm_b = math.sqrt(sum(y * y for y in b))
                total += dot / max(norm_a * norm_b, eps)
                pairs += 1
    return total / pairs


def plain_part_segmentation(logits, labels):
    num_parts = logits.shape[1]
    per_part = {}
    for n, row, col in torch.cartesian_prod(*map(torch.arange, labels.shape)).tolist():
        scores = logits[n, :, row, col].tolist()
        label = int(labels[n, row, col])
        loss = math.log(sum(math.exp(s) for s in scores)) - scores[label]
        per_part.setdefault(label, []).append(loss)
    assert set(per_part) <= set(range(num_parts))
    return sum(sum(losses) / len(losses) for losses in per_part.values()) / len(per_part)


@pytest.mark.parametrize("dtype", DTYPES)
def test_semantic_diversity_equals_plain_loops(dtype):
    features = torch.randn(3, 8, 5, dtype=dtype)
    loss = SemanticDiversityLoss()(features)
    assert loss.dtype == dtype
    assert loss.item() == pytest.approx(plain_semantic_diversity(features), rel=1e-5, abs=1e-6)


def test_semantic_diversity_gradient_is_right():
    features = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(SemanticDiversityLoss(), features)


@pytest.mark.parametrize("dtype", DTYPES)
def test_semantic_diversity_of_absent_regions_is_zero_with_zero_gradient(dtype):
    features = torch.randn(2, 8, 6, dtype=dtype)
    features[:, 2:] = 0
    features[1] = 0  # an image without any region
    features.requires_grad_()
    loss = SemanticDiversityLoss()(features)
    loss.backward()
    assert loss.item() == pytest.approx(plain_semantic_diversity(features.detach()), abs=1e-6)
    assert torch.isfinite(features.grad).all()
    assert not features.grad[1].any()


def test_semantic_diversity_of_equal_features_is_one():
    features = torch.randn(1, 1, 6).expand(1, 8, 6).clone().requires_grad_()
    loss = SemanticDiversityLoss()(features)
    loss.backward()
    assert loss.item() == pytest.approx(1.0)
    assert torch.isfinite(features.grad).all()


@pytest.mark.parametrize("shape", [(0, 8, 4), (2, 1, 4), (8, 4)])
def test_semantic_diversity_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match="SemanticDiversityLoss: expected region features of"):
        SemanticDiversityLoss()(torch.zeros(shape))


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_losses_of_half_precision_are_computed_in_float32(half):
    features, logits = torch.rand(2, 8, 6), torch.randn(2, 8, 4, 2)
    labels = torch.randint(0, 8, (2, 4, 2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for loss, expected in (
            (
                SemanticDiversityLoss()(features.to(half)),
                SemanticDiversityLoss()(features.to(half).float()),
            ),
            (
                PartSegmentationLoss()(logits.to(half), labels),
                PartSegmentationLoss()(logits.to(half).float(), labels),
            ),
        ):
            assert loss.dtype == torch.float32
            assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_part_segmentation_equals_plain_loops(dtype):
    logits = 2 * torch.randn(2, 8, 4, 3, dtype=dtype)
    labels = torch.randint(0, 6, (2, 4, 3))  # parts 6 and 7 do not occur
    loss = PartSegmentationLoss()(logits, labels)
    assert loss.dtype == dtype
    assert loss.item() == pytest.approx(plain_part_segmentation(logits, labels), rel=1e-5)


def test_part_segmentation_gradient_is_right():
    logits = torch.randn(1, 8, 3, 2, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 8, (1, 3, 2))
    assert torch.autograd.gradcheck(lambda x: PartSegmentationLoss()(x, labels), logits)


def test_part_segmentation_of_an_all_background_image_is_its_mean_cross_entropy():
    logits = torch.randn(1, 8, 4, 2, requires_grad=True)
    labels = torch.zeros(1, 4, 2, dtype=torch.long)
    loss = PartSegmentationLoss()(logits, labels)
    loss.backward()
    assert loss.item() == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item())
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        ((2, 8, 4, 4), torch.zeros(2, 4, 3, dtype=torch.long), "of the same N, H and W"),
        ((1, 8, 2, 2), torch.zeros(1, 2, 2), "expected integer labels, got torch.float32"),
        ((1, 8, 2, 2), torch.full((1, 2, 2), 8), "expected labels in 0..7, got values from 8 to 8"),
        ((1, 8, 2, 2), torch.full((1, 2, 2), -1), "got values from -1 to -1"),
    ],
)
def test_part_segmentation_refuses_bad_labels(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        PartSegmentationLoss()(torch.zeros(logits), labels)
