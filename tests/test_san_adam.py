"""The optimizer san_adam: who is stepped by what, the switch to AMSGrad, resuming, mistakes."""

import copy

import numpy as np
import pytest
import torch
import torchreid
from torch import nn

from torchreid_magnifier import SAN, SANAdam
from torchreid_magnifier.models import build as build_model

PIDS = torch.tensor([0] * 4 + [1] * 4)


def make_model(**options):
    torch.manual_seed(0)
    options = {"decoder_widths": (16, 8, 8, 4, 4)} | options
    return SAN(2, "triplet", backbone="slim", pretrained=False, **options).train()


def build(model, optim="san_adam", **options):
    return torchreid.optim.build_optimizer(model, optim, **options)


def make_batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(8, 3, 32, 32, generator=generator)
    return torch.cat([images, torch.rand(8, 6, 32, 32, generator=generator)], 1)


def train(model, optimizer, batch):
    logits, feature = model(batch)
    loss = nn.functional.cross_entropy(logits[0], PIDS) + feature[0].pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def moved(model, before):
    """The largest change of any weight of each child of the model."""
    return {
        name: max(
            float((p.detach() - before[f"{name}.{key}"]).abs().max())
            for key, p in child.named_parameters()
        )
        for name, child in model.named_children()
        if list(child.parameters())
    }


# ------------------------------------------------------------------ streams


def test_identities_do_not_step_the_decoder_and_textures_not_the_classifier():
    model = make_model()
    optimizer = build(model, lr=0.0)
    before = copy.deepcopy(model.state_dict())
    train(model, optimizer, make_batch())
    steps = moved(model, before)
    # Adam's first step is as large as its learning rate
    assert steps["backbone"] == pytest.approx(1e-5, rel=0.01)
    assert steps["decoder"] == pytest.approx(1e-5, rel=0.01)
    assert steps["fc"] == steps["classifier"] == 0

    model = make_model()
    optimizer = build(model, lr=1e-3)
    before = copy.deepcopy(model.state_dict())
    train(model, optimizer, make_batch())
    steps = moved(model, before)
    assert steps["fc"] == pytest.approx(1e-3, rel=0.01)
    assert steps["classifier"] == pytest.approx(1e-3, rel=0.01)
    assert 1e-3 - 1.1e-5 < steps["backbone"] < 1e-3 + 1.1e-5
    assert steps["decoder"] == pytest.approx(1e-5, rel=0.01)


def test_weight_decay_is_of_the_identity_stream_alone():
    def weights(weight_decay):
        model = make_model()
        train(model, build(model, lr=1e-3, weight_decay=weight_decay), make_batch())
        return model

    without, strong = weights(0.0), weights(10.0)
    assert not torch.equal(without.classifier.weight, strong.classifier.weight)
    first, other = (model.backbone.stages[0][0].weight for model in (without, strong))
    assert not torch.equal(first, other)
    theirs = dict(strong.decoder.named_parameters())
    assert all(torch.equal(p, theirs[name]) for name, p in without.decoder.named_parameters())


def test_its_one_group_is_what_the_schedule_sets_and_the_engine_shows():
    optimizer = build(make_model(), lr=1e-3, adam_beta1=0.8, adam_beta2=0.95)
    (group,) = optimizer.param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (1e-3, (0.8, 0.95), 5e-4)
    scheduler = torchreid.optim.build_lr_scheduler(
        optimizer, "exponential_warmup_multi_step", [60], 0.5
    )
    assert optimizer.param_groups[-1]["lr"] == pytest.approx(1e-5)
    assert scheduler.get_last_lr() == [optimizer.param_groups[-1]["lr"]]


def test_the_engines_gradients_are_left_as_they_are():
    model = make_model()
    optimizer = build(model)
    train(model, optimizer, make_batch())
    model(make_batch())
    assert all(parameter.grad is None for parameter in model.decoder.parameters())
    found = [parameter.grad.clone() for parameter in model.backbone.parameters()]
    optimizer.step()
    kept = [parameter.grad for parameter in model.backbone.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(found, kept, strict=True))


def test_a_wrapped_model():
    model = make_model()
    optimizer = build(nn.DataParallel(model))
    before = copy.deepcopy(model.state_dict())
    train(nn.DataParallel(model), optimizer, make_batch())
    assert min(moved(model, before).values()) > 0


def test_evaluation_and_passes_without_gradients_leave_nothing_to_step():
    model = make_model()
    optimizer = build(model)
    with torch.no_grad():
        model(make_batch())
        model.eval()(make_batch()[:, :3])
    with pytest.raises(RuntimeError, match="expected a forward pass of the model in training"):
        optimizer.step()


# ------------------------------------------------------------------ Adam, then AMSGrad


def schedules(optimizer):
    return {
        "warmup": lambda: torchreid.optim.build_lr_scheduler(
            optimizer, "warmup_multi_step", [8, 10], 0.1
        ),
        "exponential": lambda: torchreid.optim.build_lr_scheduler(
            optimizer, "exponential_warmup_multi_step", [6, 10], 0.1
        ),
        "none": lambda: torchreid.optim.build_lr_scheduler(optimizer, "multi_step", [2, 3], 0.1),
    }


@pytest.mark.parametrize(("schedule", "warmup"), [("warmup", 2), ("exponential", 2), ("none", 0)])
def test_amsgrad_with_fresh_moments_once_the_warm_up_is_over(schedule, warmup):
    model = make_model()
    optimizer = build(model, lr=1e-4)
    scheduler = schedules(optimizer)[schedule]()
    for epoch in range(4):
        train(model, optimizer, make_batch(epoch))
        (group,) = optimizer.param_groups
        assert group["amsgrad"] == (epoch >= warmup)
        steps = epoch + 1 if epoch < warmup else epoch - warmup + 1
        for state in optimizer.state.values():
            assert int(state["step"]) == steps
            assert ("max_exp_avg_sq" in state) == (epoch >= warmup)
        scheduler.step()


# ------------------------------------------------------------------ going on


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_resumed_run_goes_on_as_if_it_had_not_stopped(stop, tmp_path):
    """In the warm-up, at its end, and after it."""

    def start():
        model = make_model()
        optimizer = build(model, lr=1e-3)
        return model, optimizer, schedules(optimizer)["exponential"]()

    def run(model, optimizer, scheduler, epochs):
        for epoch in epochs:
            train(model, optimizer, make_batch(epoch))
            scheduler.step()

    whole, *others = start()
    run(whole, *others, range(4))

    model, optimizer, scheduler = start()
    run(model, optimizer, scheduler, range(stop))
    torchreid.utils.save_checkpoint(  # as torchreid's engine does
        {
            "state_dict": model.state_dict(),
            "epoch": stop,
            "rank1": np.float32(0.5),
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
        },
        str(tmp_path),
    )
    model, optimizer, scheduler = start()
    path = str(tmp_path / f"model.pth.tar-{stop}")
    assert torchreid.utils.resume_from_checkpoint(path, model, optimizer, scheduler) == stop
    run(model, optimizer, scheduler, range(stop, 4))
    theirs = whole.state_dict()
    assert all(torch.equal(t, theirs[name]) for name, t in model.state_dict().items())


def test_the_state_of_another_optimizer_is_refused():
    model = make_model()
    with pytest.raises(ValueError, match="This is not the state of the optimizer 'san_adam'"):
        build(model).load_state_dict(build(make_model(), "adam").state_dict())


def test_an_encoder_alone_has_the_identity_stream_only():
    encoder, whole = make_model(decoder_widths=None), make_model()
    encoder.load_state_dict(whole.state_dict(), strict=False)
    encoder, whole = encoder.double(), whole.double()
    optimizer = build(encoder, lr=1e-3, weight_decay=5e-4, adam_beta2=0.999)
    plain = torch.optim.Adam(
        [p for name, p in whole.named_parameters() if not name.startswith("decoder")],
        lr=1e-3,
        weight_decay=5e-4,
        amsgrad=True,
    )
    whole.decoder = None  # the same weights without the losses of the decoder
    for seed in range(3):
        batch = make_batch(seed).double()
        train(encoder, optimizer, batch)
        train(whole, plain, batch)
    for (name, found), expected in zip(encoder.named_parameters(), whole.parameters()):
        assert torch.equal(found, expected), name
    again = build(encoder)
    again.load_state_dict(optimizer.state_dict())


# ------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (lambda: nn.Linear(1, 1), "got a Linear"),
        (lambda: nn.DataParallel(nn.Linear(1, 1)), "got a Linear"),
        (
            lambda: torchreid.models.build_model("magnifiernet_r18", 2, pretrained=False),
            "got a MagnifierNet",
        ),
        (
            lambda: build_model("san_r18_pg", 2, pretrained=False),
            "got a SAN that does not .*san_pg",
        ),
    ],
    ids=["linear", "wrapped", "magnifiernet", "pg"],
)
def test_models_that_learn_no_identities_as_san_does_are_refused(model, found):
    with pytest.raises(ValueError, match=f"it needs a SAN that learns identities, .*{found}"):
        build(model())


def test_staged_learning_rates_are_refused():
    with pytest.raises(ValueError, match="set train.staged_lr False"):
        build(make_model(), staged_lr=True, new_layers=["classifier"])


def test_a_step_needs_a_new_forward_pass():
    model = make_model()
    optimizer = build(model)
    with pytest.raises(RuntimeError, match="found no gradients of the reconstruction"):
        optimizer.step()
    train(model, optimizer, make_batch())
    with pytest.raises(RuntimeError, match="found no gradients of the reconstruction"):
        optimizer.step()


def test_frozen_layers_are_refused():
    model = make_model()
    optimizer = build(model)
    torchreid.utils.open_specified_layers(model, ["classifier"])
    with pytest.raises(ValueError, match="set train.fixbase_epoch 0"):
        model(make_batch())
    assert optimizer.streams


def test_another_optimizer_trains_the_decoder_after_it():
    model = make_model()
    optimizer = build(model)
    train(model, optimizer, make_batch())
    del optimizer
    train(model, torch.optim.Adam(model.parameters()), make_batch())
    assert all(parameter.grad is not None for parameter in model.decoder.parameters())


def test_torchreids_own_optimizers_are_as_before():
    model = nn.Linear(1, 1)
    optimizer = build(model, "amsgrad", lr=0.1, adam_beta2=0.5)
    assert type(optimizer) is torch.optim.Adam
    assert optimizer.param_groups[0]["amsgrad"] and optimizer.defaults["betas"] == (0.9, 0.5)
    assert type(torchreid.optim.build_optimizer(model, "sgd", 0.1)) is torch.optim.SGD
    with pytest.raises(ValueError, match="Unsupported optim: sun_adam. Must be .*'san_adam'"):
        build(model, "sun_adam")
    assert isinstance(build(make_model()), SANAdam)
