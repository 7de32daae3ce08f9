"""The triplet loss of the command against torchreid's own."""

import pytest
import torch
import torchreid

from torchreid_magnifier.losses import BatchHardTripletLoss
from torchreid_magnifier.losses.batch_hard_triplet import require_two_identities


def features(kind, generator, dtype):
    made = torch.randn(12, 16, generator=generator, dtype=dtype)
    if kind != "normal":
        made = made.round()  # distances without rounding, many of them equal
    if kind == "coincident":
        made[1], made[7] = made[2], made[6]
    return made


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["normal", "ties", "coincident"])
def test_value_and_gradient_are_torchreids(kind, dtype):
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        made = features(kind, generator, dtype)
        # Of several images each, or of one only here and there.
        for pids in (torch.arange(12) // 3, torch.randint(0, 8, (12,), generator=generator)):
            results = []
            for loss in (torchreid.losses.TripletLoss(0.5), BatchHardTripletLoss(0.5)):
                leaf = made.clone().requires_grad_()
                value = loss(leaf, pids)
                value.backward()
                results.append((value.detach(), leaf.grad))
            torch.testing.assert_close(*results, rtol=1e-6, atol=1e-6)
            assert results[1][0].dtype == dtype


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(half):
    made = torch.randn(8, 16).to(half)
    pids = torch.arange(8) // 4
    with torch.autocast("cpu", torch.bfloat16):
        loss = BatchHardTripletLoss()(made, pids)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, BatchHardTripletLoss()(made.float(), pids))


@pytest.mark.parametrize("pids", [[3, 3, 3], [3], []])
def test_one_identity_is_an_error(pids):
    made = torch.randn(len(pids), 4)
    with pytest.raises(ValueError, match="at least two identities, found (only identity 3|no im)"):
        BatchHardTripletLoss()(made, torch.tensor(pids, dtype=torch.long))


def test_one_identity_where_looking_would_wait_is_nan_and_moves_nothing(monkeypatch):
    module = "torchreid_magnifier.losses.batch_hard_triplet"
    monkeypatch.setattr(f"{module}.require_two_identities", lambda targets: None)
    made = torch.randn(4, 8, requires_grad=True)
    loss = BatchHardTripletLoss()(made, torch.ones(4))
    loss.backward()
    assert loss.isnan()
    assert made.grad.eq(0).all()


@pytest.mark.parametrize("shapes", [((4, 2, 2), (4,)), ((4, 2), (3,)), ((4, 2), (4, 1))])
def test_other_shapes_are_an_error(shapes):
    with pytest.raises(ValueError, match=r"expected features \(N, C\) and targets \(N,\)"):
        BatchHardTripletLoss()(torch.zeros(shapes[0]), torch.zeros(shapes[1]))


def test_a_negative_margin_is_an_error():
    with pytest.raises(ValueError, match="margin must not be negative, got -0.1"):
        BatchHardTripletLoss(-0.1)


def test_two_identities_are_enough():
    require_two_identities(torch.tensor([1, 1, 2]))
