"""The warm-up schedule against its definition, epoch by epoch, and across a resume; no decay."""

import pytest
import torch
import torchreid
from networks import small
from torch.nn.functional import cross_entropy

from torchreid_magnifier.training.optim import WarmupMultiStepLR, default_warmup_epochs


def make_optimizer(*learning_rates: float) -> torch.optim.Optimizer:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in learning_rates]
    return torch.optim.SGD(groups)


def run(optimizer, scheduler, epochs: int) -> list[list[float]]:
    """The learning rates of each epoch, read as torchreid's engine does: step after the epoch."""
    rates = []
    for _ in range(epochs):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return rates


def expected_rate(base, epoch, milestones, gamma, warmup_factor, warmup_epochs) -> float:
    rate = base
    for milestone in milestones:
        if epoch >= milestone:
            rate = rate * gamma
    if epoch < warmup_epochs:
        a = epoch / warmup_epochs
        rate = rate * (warmup_factor * (1 - a) + a)
    return rate


@pytest.mark.parametrize("warmup", [(0.01, 10), (0.5, 3), (1.0, 5), (0.0, 4), (0.3, 0)])
@pytest.mark.parametrize("milestones", [[40, 70], [12], [11, 12, 60]])
def test_every_epoch_follows_the_definition(milestones, warmup):
    factor, epochs = warmup
    optimizer = make_optimizer(3.5e-4, 0.1)
    scheduler = WarmupMultiStepLR(optimizer, milestones, 0.1, factor, epochs)
    for epoch, rates in enumerate(run(optimizer, scheduler, 80)):
        for base, rate in zip([3.5e-4, 0.1], rates):
            expected = expected_rate(base, epoch, milestones, 0.1, factor, epochs)
            assert rate == pytest.approx(expected, rel=1e-12, abs=0), epoch


def test_the_papers_schedule_at_its_corners():
    optimizer = make_optimizer(3.5e-4)
    rates = [rate for (rate,) in run(optimizer, WarmupMultiStepLR(optimizer, [40, 70]), 72)]
    assert rates[0] == pytest.approx(3.5e-6)
    assert rates[5] == pytest.approx(3.5e-4 * 0.505)
    assert rates[10] == rates[39] == pytest.approx(3.5e-4)
    assert rates[40] == rates[69] == pytest.approx(3.5e-5)
    assert rates[70] == pytest.approx(3.5e-6)


def test_the_schedule_of_sans_reference():
    """``main.py``: 20 epochs of ``8e-6 * 1.259 ** e``, then 300 with steps after every 40."""
    optimizer = make_optimizer(8e-4)
    milestones = [60, 100, 140, 180, 220, 260, 300]
    epochs = default_warmup_epochs(milestones, "exponential")
    assert epochs == 20
    scheduler = WarmupMultiStepLR(
        optimizer, milestones, 0.5, warmup_epochs=epochs, warmup_method="exponential"
    )
    for epoch, (rate,) in enumerate(run(optimizer, scheduler, 320)):
        if epoch < 20:
            assert rate == pytest.approx(8e-6 * 1.259**epoch, rel=1.2e-3)
            assert rate == pytest.approx(8e-6 * 10 ** (epoch / 10), rel=1e-12)
        else:
            assert rate == 8e-4 * 0.5 ** ((epoch - 20) // 40)


@pytest.mark.parametrize("stop", [0, 3, 10, 13, 21])
def test_a_resumed_run_goes_on_as_if_it_had_not_stopped(stop, tmp_path):
    optimizer = make_optimizer(0.1, 0.02)
    whole = run(optimizer, WarmupMultiStepLR(optimizer, [13, 20], 0.1), 25)

    optimizer = make_optimizer(0.1, 0.02)
    scheduler = WarmupMultiStepLR(optimizer, [13, 20], 0.1)
    first = run(optimizer, scheduler, stop)
    state = {"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
    torch.save(state, tmp_path / "state.pth")
    state = torch.load(tmp_path / "state.pth", weights_only=True)

    optimizer = make_optimizer(0.1, 0.02)
    scheduler = WarmupMultiStepLR(optimizer, [13, 20], 0.1)
    optimizer.load_state_dict(state["optimizer"])
    scheduler.load_state_dict(state["scheduler"])
    assert first + run(optimizer, scheduler, 25 - stop) == whole


@pytest.mark.parametrize("milestones", [[], [0, 5], [-3], [20, 20], [30, 20], [20.0], ["20"]])
def test_milestones_must_increase(milestones):
    with pytest.raises(ValueError) as error:
        WarmupMultiStepLR(make_optimizer(0.1), milestones, warmup_epochs=0)
    message = f"milestones must be increasing positive integers, got {milestones!r}."
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gamma": 0.0}, "gamma must be positive, got 0.0."),
        ({"warmup_factor": 1.5}, "warmup_factor must be within 0..1, got 1.5."),
        ({"warmup_factor": -0.1}, "warmup_factor must be within 0..1, got -0.1."),
        (
            {"warmup_epochs": 20},
            "warmup_epochs must be at least 0 and below the first milestone (20), got 20.",
        ),
        (
            {"warmup_epochs": -1},
            "warmup_epochs must be at least 0 and below the first milestone (20), got -1.",
        ),
        (
            {"warmup_method": "cosine"},
            "Unknown warmup_method 'cosine': expected one of ['linear', 'exponential'].",
        ),
        (
            {"warmup_method": "exponential", "warmup_factor": 0},
            "An exponential warm-up needs a positive warmup_factor, got 0.",
        ),
    ],
)
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(ValueError) as error:
        WarmupMultiStepLR(make_optimizer(0.1), [20, 30], **arguments)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("milestones", "epochs"), [([40, 70], 10), ([41], 10), ([39], 9), ([8], 2), ([3], 0), ([1], 0)]
)
def test_the_warmup_is_a_quarter_of_a_short_first_step(milestones, epochs):
    assert default_warmup_epochs(milestones) == epochs
    WarmupMultiStepLR(make_optimizer(0.1), milestones, warmup_epochs=epochs)


@pytest.mark.parametrize(("first_step", "epochs"), [(60, 20), (90, 20), (59, 19), (6, 2), (2, 0)])
def test_the_exponential_warmup_is_a_third_of_a_short_first_step(first_step, epochs):
    assert default_warmup_epochs([first_step], "exponential") == epochs


@pytest.mark.parametrize("decay", [False, True])
def test_a_loss_of_a_small_weight_is_not_outweighed_by_decay(decay, capsys):
    """Tiny steps on noise: with decay the regions' BNNecks fade (from a length of 5)."""
    model = small("magnifiernet_r18", region_decay=decay)
    optimizer = torchreid.optim.build_optimizer(model, lr=0.02, weight_decay=5e-3)
    chance = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 8, (8, 1, 32, 16), generator=chance).float()
    batch = torch.cat([torch.randn(8, 3, 32, 16, generator=chance), labels], 1)
    for _ in range(25):
        logits, _ = model.train()(batch)
        losses = [cross_entropy(head, torch.arange(8) // 2) for head in logits]
        optimizer.zero_grad()
        torch.stack(losses).mean().backward()
        optimizer.step()
    lengths = torch.stack([neck.weight.norm() for neck in model.fusion_branch.region_necks])
    assert lengths.max() < 3.5 if decay else lengths.min() > 4
    assert len(optimizer.param_groups) == (1 if decay else 2)


def test_groups_without_decay_keep_the_rest_of_their_options():
    model = small("magnifiernet_r18")
    wrapped = torch.nn.DataParallel(model)
    optimizer = torchreid.optim.build_optimizer(
        wrapped, "amsgrad", 0.1, staged_lr=True, new_layers="classifier", base_lr_mult=0.01
    )
    found = [(g["lr"], g["weight_decay"], g["amsgrad"]) for g in optimizer.param_groups]
    shared, regions = [(0.001, 5e-4, True), (0.1, 5e-4, True)], [(0.001, 0, True), (0.1, 0, True)]
    assert found == shared + regions
    apart = {id(p) for group in optimizer.param_groups[2:] for p in group["params"]}
    names = {name for name, p in model.named_parameters() if id(p) in apart}
    assert names == {name for name, _ in model.named_parameters() if "region_" in name}
    assert sum(len(g["params"]) for g in optimizer.param_groups) == len(list(model.parameters()))
