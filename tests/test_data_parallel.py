"""Injected losses under nn.DataParallel and mixed precision."""

import pytest
import torch
import torch.nn.functional as F

from torchreid_magnifier.models import build as build_model
from torchreid_magnifier.parts import NUM_PARTS


def make_batch(num_images):
    torch.manual_seed(2)
    labels = torch.randint(0, 8, (num_images, 1, 64, 32))
    return torch.cat([torch.randn(num_images, 3, 64, 32), labels.float()], 1)


def make_model(**options):
    torch.manual_seed(0)
    return build_model(
        "magnifiernet_r18", 3, loss="triplet_sd", pretrained=False, **options
    ).train()


def relative_error(found, expected):
    return ((found - expected).norm() / expected.norm().clamp_min(1e-12)).item()


def injected_gradient(outputs, model):
    """The gradient of the attached losses alone."""
    model.zero_grad()
    (0 * sum(o.sum() for o in outputs)).backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def test_replicas_share_the_injected_losses_by_their_share_of_the_batch(
    replicas_on_cpu, monkeypatch
):
    chunks = make_batch(8).split([6, 2])
    model = make_model()
    draws = []
    sample = model.sampler.sample
    monkeypatch.setattr(model.sampler, "sample", lambda g: draws.append(sample(g)) or draws[-1])

    for _ in range(2):  # a second step must not see the first one's replicas
        replicas = replicas_on_cpu(model, 2)
        outputs = [replica(chunk)[0] for replica, chunk in zip(replicas, chunks)]
        got = injected_gradient([o for out in outputs for o in out], model)
    assert len(draws) == 2, "the regions are drawn once a batch, whatever the number of replicas"
    log = model.loss_log.last

    # What one copy has of the whole batch, with the batch statistics that each replica has.
    alone = make_model()
    expected, shown = whole_batch_objective(alone, chunks)
    expected.backward()
    for name, parameter in alone.named_parameters():
        if parameter.grad is not None and parameter.grad.any():
            assert relative_error(got[name], parameter.grad) < 1e-4, name
    for name, value in shown.items():
        assert log[name] == pytest.approx(float(value), rel=1e-5), name


def whole_batch_objective(model, chunks):
    """The attached losses, written plainly, over chunks that batch norm saw one by one."""
    pixels, sizes, diversity = [0.0] * NUM_PARTS, [0] * NUM_PARTS, 0.0
    for chunk in chunks:
        _, stage3, stage4 = (None, *model.backbone(chunk[:, :3])[-2:])
        target = chunk[:, 3, 4::8, 4::8].long()
        losses = -model.mask_module(stage4).log_softmax(1).gather(1, target.unsqueeze(1))[:, 0]
        for part in range(NUM_PARTS):
            pixels[part] = pixels[part] + losses[target == part].sum()
            sizes[part] += int((target == part).sum())
        maps = F.one_hot(target[:, ::2, ::2], NUM_PARTS).permute(0, 3, 1, 2).float()
        regions = model.fusion_branch(model.fusion_branch.bottleneck(stage3), maps).regions
        diversity = diversity + len(chunk) * model.sd_loss(regions)
    present = [part for part in range(NUM_PARTS) if sizes[part]]
    mask = sum(pixels[part] / sizes[part] for part in present) / len(present)
    diversity = diversity / sum(map(len, chunks))
    total = model.mask_weight * mask + model.sd_weight * diversity
    return total, {"loss_mask": mask, "loss_sd": diversity}


def test_two_calls_of_a_replica_are_two_passes(replicas_on_cpu):
    """A wrapper that shows each replica two views: both have the whole of their losses."""
    first, second = make_batch(4), make_batch(4)
    model = make_model()
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()

    def gradient(count):
        copies = replicas_on_cpu(model, count) if count else [model]
        outputs = []
        for replica, a, b in zip(copies, first.chunk(len(copies)), second.chunk(len(copies))):
            for view in (a, b):
                torch.manual_seed(3)
                outputs += replica(view)[0]
        return injected_gradient(outputs, model)

    one, two = gradient(0), gradient(2)
    for name in one:
        assert relative_error(two[name], one[name]) < 1e-3, name


def test_an_evaluation_between_two_epochs_leaves_no_trace_in_the_log(replicas_on_cpu):
    batch = make_batch(4)
    model = make_model()
    for _ in range(2):
        model.eval()
        replicas_on_cpu(model, 2)
        model.train()
        for replica, chunk in zip(replicas_on_cpu(model, 2), batch.chunk(2)):
            replica(chunk)
    last = model.loss_log.last
    assert len(model.loss_log.history) == 1
    model.eval()
    assert len(model.loss_log.history) == 2 and last.keys() == model.loss_log.history[1].keys()
    assert model.loss_log.last == last


def test_diversity_loss_of_two_chunks_equals_that_of_one(replicas_on_cpu):
    """Without batch statistics the injected SD gradient does not depend on the replicas."""
    batch = make_batch(6)

    def gradient(count):
        model = make_model(mask_weight=0.0, sd_weight=1.0)
        for module in model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.eval()
        replicas = replicas_on_cpu(model, count)
        outputs = [replica(chunk)[0] for replica, chunk in zip(replicas, batch.chunk(count))]
        return injected_gradient([o for out in outputs for o in out], model)

    one, two = gradient(1), gradient(2)
    for name in one:
        assert relative_error(two[name], one[name]) < 1e-3, name


def test_data_parallel_wrapper_without_devices_changes_nothing():
    batch = make_batch(4)
    plain, wrapped = make_model(), torch.nn.DataParallel(make_model())
    torch.manual_seed(1)
    expected = plain(batch)
    torch.manual_seed(1)
    got = wrapped(batch)
    assert all(torch.equal(a, b) for x, y in zip(expected, got) for a, b in zip(x, y))
    assert wrapped.module.loss_log.last == plain.loss_log.last


def test_bfloat16_autocast_trains_with_losses_in_float32():
    model = make_model()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs, features = model(make_batch(4))
        loss = sum(o.float().logsumexp(1).mean() for o in outputs) + sum(
            f.float().pow(2).mean() for f in features
        )
    loss.backward()
    full = make_model()
    full(make_batch(4))
    for name in ("loss_mask", "loss_sd"):
        assert model.loss_log.last[name] == pytest.approx(full.loss_log.last[name], rel=0.05)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.skipif(
    not hasattr(torch.amp, "GradScaler"), reason="scalers work on the CPU since torch 2.3"
)
def test_injected_losses_follow_a_gradient_scaler():
    batch = make_batch(4)

    def gradient(scaler):
        model = make_model()
        outputs, _ = model(batch)
        loss = sum(o.sum() for o in outputs)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        if scaler is None:
            loss.backward()
        else:
            model.injected_loss_scale = scaler.get_scale
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
        return {n: p.grad for n, p in model.named_parameters()}

    torch.manual_seed(1)
    plain = gradient(None)
    torch.manual_seed(1)
    scaled = gradient(torch.amp.GradScaler("cpu", init_scale=1024.0))
    for name, expected in plain.items():
        assert relative_error(scaled[name], expected) < 1e-4, name
