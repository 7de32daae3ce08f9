"""Torchreid's stock engine steps SAN along its objective; ``san_adam`` along the two streams."""

import types

import pytest
import torch
import torchreid
from networks import small
from plain import (
    batch_hard_triplet,
    constraints,
    decoded,
    reconstruction,
    smoothed_cross_entropy,
)
from torchreid import engine as torchreid_engine

NUM_CLASSES = 5
PIDS = torch.tensor([0] * 4 + [3] * 4 + [1] * 4)


def make_batch(num_images=12, seed=1, dtype=torch.float64):
    """RGB and texture ``(N, 9, 64, 32)``."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(num_images, 3, 64, 32, generator=generator, dtype=dtype)
    texture = 2 * torch.rand(num_images, 6, 64, 32, generator=generator, dtype=dtype) - 1
    return torch.cat([images, texture], 1)


def whole_texture(batch):
    return torch.cat([batch[:, 3:6], batch[:, 6:9]], 3)


def make_model(name="san_r18", loss="triplet", **options):
    if not name.endswith("_encoder"):
        options = {"decoder_widths": (32, 16, 16, 8, 8), **options}
    model = small(name, loss, NUM_CLASSES, **{"backbone": "resnet18", **options}).double().train()
    torch.nn.init.normal_(model.classifier.weight, std=0.1)  # as drawn it hardly passes a gradient
    if model.decoder is not None:  # nor do the decoder's convolutions
        for module in model.decoder.modules():
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(module.weight)
    return model


def make_engine(model, optimizer, loss="triplet", **options):
    weights = {"margin": 0.3, "weight_t": 1, "weight_x": 1} if loss == "triplet" else {}
    engines = {
        "triplet": torchreid_engine.ImageTripletEngine,
        "softmax": torchreid_engine.ImageSoftmaxEngine,
    }
    return engines[loss](
        types.SimpleNamespace(train_loader=None, test_loader=None, num_train_pids=NUM_CLASSES),
        model,
        optimizer,
        use_gpu=False,
        label_smooth=True,
        **weights | options,
    )


def identity_objective(model, stages, loss="triplet"):
    feature = model.fc(stages[3].mean((2, 3)))
    pids = PIDS[: len(feature)]
    total = smoothed_cross_entropy(model.classifier(feature), pids)
    return total + batch_hard_triplet(feature, pids) if loss == "triplet" else total


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_equal(found, expected, tolerance=1e-6, smallest=1e-8):
    """Within a relative error; ``smallest``: a bias before a batch normalisation has no gradient.

    What is left of it is rounding.
    """
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        error = (found[name] - value).norm() / value.norm().clamp_min(smallest)
        assert error < tolerance, f"{name}: relative error {error:.2e}"


# ------------------------------------------------------------------ attached losses


def through_the_engine(model, batch, loss="triplet"):
    engine = make_engine(model, torch.optim.SGD(model.parameters(), lr=0.0), loss)
    engine.forward_backward({"img": batch, "pid": PIDS})
    return gradients(model)


@pytest.mark.parametrize("loss", ["triplet", "softmax"])
@pytest.mark.parametrize("name", ["san_r18", "san_r18_reconstruction"])
def test_stock_engine_steps_along_the_objective(name, loss):
    model, batch = make_model(name, loss), make_batch()
    found = through_the_engine(model, batch, loss)
    model.zero_grad()
    stages = model.backbone(batch[:, :3])
    objective = identity_objective(model, stages, loss)
    objective = objective + reconstruction(model, stages, whole_texture(batch))
    objective.backward()
    plain = gradients(model)
    assert set(plain) == {name for name, _ in model.named_parameters()}
    assert_equal(found, plain)


def test_the_encoder_alone_learns_identities_alone():
    model, batch = make_model("san_r18_encoder"), make_batch()
    found = through_the_engine(model, batch[:, :3])
    model.zero_grad()
    identity_objective(model, model.backbone(batch[:, :3])).backward()
    assert_equal(found, gradients(model))


def test_san_pg_steps_along_the_texture_alone():
    model, batch = make_model("san_r18_pg"), make_batch()
    found = through_the_engine(model, batch)
    # what only the engine's losses reach has a gradient of zero
    for name in [name for name in found if name.startswith(("fc.", "classifier."))]:
        assert not found.pop(name).any()
    model.zero_grad()
    stages = model.backbone(batch[:, :3])
    reconstruction(model, stages, whole_texture(batch)).backward()
    assert_equal(found, gradients(model))


def test_weights_of_the_attached_losses():
    batch = make_batch()

    def gradient(**weights):
        model = small("san_r18", "triplet", NUM_CLASSES, **weights).double().train()
        return through_the_engine(model, batch)["backbone.stages.0.0.weight"]

    neither = gradient(reconstruction_weight=0.0, constraint_weight=0.0)
    of_l1 = gradient(constraint_weight=0.0) - neither
    of_constraints = gradient(reconstruction_weight=0.0) - neither
    both = gradient(reconstruction_weight=3.0, constraint_weight=0.5)
    assert of_l1.norm() > 0 and of_constraints.norm() > 0
    expected = neither + 3 * of_l1 + 0.5 * of_constraints
    torch.testing.assert_close(both, expected, rtol=1e-6, atol=1e-12)


def test_replicas_average_the_texture_and_add_their_constraints(replicas_on_cpu):
    """Each replica compares the people of its own part of the batch: 1 and 2 pairs of them."""
    batch = make_batch(20)
    chunks = batch.split([8, 12])
    model = make_model(backbone="slim")
    for _ in range(2):  # a second step must not see the first one's replicas
        model.zero_grad()
        replicas = replicas_on_cpu(model, 2)
        outputs = [replica(chunk) for replica, chunk in zip(replicas, chunks)]
        both = [out for logits, features in outputs for out in (*logits, *features)]
        sum(0 * out.sum() for out in both).backward()
    found = gradients(model)

    expected = {}
    for chunk in chunks:
        alone = make_model(backbone="slim")
        stages = alone.backbone(chunk[:, :3])
        texture, maps = decoded(alone.decoder, stages)
        l1 = (texture - whole_texture(chunk)).abs().mean()
        (len(chunk) / len(batch) * l1 + constraints(maps)).backward()
        for name, gradient in gradients(alone).items():
            expected[name] = expected.get(name, 0) + gradient
    zero = [name for name in found if name.startswith(("fc.", "classifier."))]
    assert all(not found.pop(name).any() for name in zero)
    assert_equal(found, expected)


def test_san_adam_refuses_replicas(replicas_on_cpu):
    model = make_model()
    optimizer = torchreid.optim.build_optimizer(model, "san_adam")
    replica = replicas_on_cpu(model, 2)[0]
    with pytest.raises(ValueError, match="nn.DataParallel made several: train on one GPU"):
        replica(make_batch(8))
    assert optimizer.streams


# ------------------------------------------------------------------ two streams


def build(model, lr, stepsize, schedule="exponential_warmup_multi_step"):
    optimizer = torchreid.optim.build_optimizer(
        model, "san_adam", lr=lr, weight_decay=5e-4, adam_beta1=0.8, adam_beta2=0.9
    )
    scheduler = torchreid.optim.build_lr_scheduler(optimizer, schedule, stepsize, gamma=0.5)
    return optimizer, scheduler


def plain_two_streams(model, batches, rates, warmup):
    """What ``main.py`` of the reference does, with both gradients at the old weights.

    Its betas are 0.9 and 0.999, by which AMSGrad would differ from Adam only after many steps.
    """
    encoder = [p for name, p in model.named_parameters() if not name.startswith("decoder.")]
    backbone, decoder = list(model.backbone.parameters()), list(model.decoder.parameters())
    common = {"weight_decay": 5e-4, "betas": (0.8, 0.9)}
    lr = 2e-4  # of san_r18
    warming = torch.optim.Adam(encoder, **common)
    warm = torch.optim.Adam(encoder, amsgrad=True, **common)
    texture_encoder = torch.optim.Adam(backbone, lr=lr, betas=(0.5, 0.999))
    texture_decoder = torch.optim.Adam(decoder, lr=lr, betas=(0.5, 0.999))
    for epoch, (batch, rate) in enumerate(zip(batches, rates, strict=True)):
        stages = model.backbone(batch[:, :3])
        loss = reconstruction(model, stages, whole_texture(batch))
        of_texture = torch.autograd.grad(loss, backbone + decoder, retain_graph=True)
        of_identity = torch.autograd.grad(identity_objective(model, stages), encoder)
        first = warming if epoch < warmup else warm
        first.param_groups[0]["lr"] = rate
        for parameter, gradient in zip(encoder, of_identity):
            parameter.grad = gradient
        first.step()
        for parameter, gradient in zip(backbone + decoder, of_texture):
            parameter.grad = gradient
        texture_encoder.step()
        texture_decoder.step()


def test_san_adam_takes_the_two_streams_through_the_engine():
    """Epochs of one batch: one of warm-up, then AMSGrad, and at last a step of the rate."""
    model, plain = make_model(backbone="slim"), make_model(backbone="slim")
    batches = [make_batch(8, seed) for seed in range(4)]
    optimizer, scheduler = build(model, lr=1e-4, stepsize=[3])
    engine = make_engine(model, optimizer, scheduler=scheduler)
    for batch in batches:
        engine.forward_backward({"img": batch, "pid": PIDS[:8]})
        engine.update_lr()
    plain_two_streams(plain, batches, rates=[1e-6, 1e-4, 1e-4, 5e-5], warmup=1)
    start = make_model(backbone="slim").state_dict()
    steps, expected = (
        {name: (value - start[name]).double() for name, value in of.state_dict().items()}
        for of in (model, plain)
    )
    # Adam divides by the size of a gradient, and so it magnifies rounding.
    assert_equal(steps, expected, tolerance=1e-3, smallest=1e-6)
