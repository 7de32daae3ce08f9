"""Mixed precision, inference, compilation, gradient checkpointing: the same, faster or smaller."""

import copy
import pickle

import pytest
import torch
from networks import small
from torch import nn

from torchreid_magnifier.models import build as build_model
from torchreid_magnifier.models import list_models
from torchreid_magnifier.models.magnifiernet import model as magnifiernet
from torchreid_magnifier.parts import NUM_PARTS

NETWORKS = ("magnifiernet_r18", "magnifiernet_r18_official", "san_r18")


def build(name, loss="triplet", **options):
    torch.manual_seed(0)
    return build_model(name, 5, loss=loss, **options)


def batch_for(model, size=8, height=64, width=32, device="cpu"):
    torch.manual_seed(1)
    rgb = torch.randn(size, 3, height, width)
    if hasattr(model, "mask_module"):
        extra = torch.randint(0, NUM_PARTS, (size, 1, height, width)).float()
    else:
        extra = torch.rand(size, 6, height, width)
    return torch.cat([rgb, extra], 1).to(device)


def step(model, batch):
    """Gradients of a training step and the outputs that they are of."""
    model.train().zero_grad()
    torch.manual_seed(2)  # for the regions that SAB keeps
    logits, features = model(batch)
    outputs = [*logits, *features] if isinstance(logits, list) else [logits, features]
    torch.stack([output.square().mean() for output in outputs]).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}, outputs


def settle(model):
    """Statistics as after some training, so that folding them means something."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            if isinstance(module.bias, nn.Parameter):
                nn.init.normal_(module.bias, 0, 0.1)
    return model.eval()


def deviation(found, expected):
    return float((found - expected).detach().abs().max() / expected.abs().max())


# ---------------------------------------------------------------------- mixed precision


def test_whole_networks_have_a_name_in_mixed_precision():
    mixed = {name.removesuffix("_bf16") for name in list_models("*_bf16")}
    assert {"magnifiernet", "magnifiernet_r18", "magnifiernet_osnet_x0_25", "san"} <= mixed
    assert build("magnifiernet_r18_bf16").precision == "bfloat16"
    with pytest.raises(ValueError, match="precision 'half': expected one of .*bfloat16"):
        build_model("magnifiernet_r18", 5, pretrained=False, precision="half")


@pytest.mark.parametrize("name", NETWORKS)
def test_convolutions_are_in_half_precision_and_heads_in_float32(name):
    model = build(name, precision="bfloat16")
    seen = {}
    for part, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            module.register_forward_hook(lambda m, i, y, part=part: seen.update({part: y.dtype}))
    gradients, outputs = step(model, batch_for(model))
    assert {output.dtype for output in outputs} == {torch.float32}
    assert {gradient.dtype for gradient in gradients.values()} == {torch.float32}
    layers = {part: model.get_submodule(part) for part in seen}
    for part, layer in layers.items():
        expected = torch.float32 if isinstance(layer, nn.Linear) else torch.bfloat16
        assert seen[part] == expected, part
    plain, plain_outputs = step(build(name), batch_for(model))
    for found, expected in zip(outputs, plain_outputs):
        assert 0 < deviation(found, expected.detach()) < 0.2
    found, expected = (torch.cat([g.flatten() for g in of.values()]) for of in (gradients, plain))
    assert torch.cosine_similarity(found, expected, 0) > 0.9


def test_losses_and_predicted_parts_are_computed_in_float32(monkeypatch):
    model = build("magnifiernet_r18_bf16", loss="triplet_sd")
    given = {}
    of_masks = magnifiernet.part_cross_entropy

    def mask_loss(logits, labels):
        given["mask"] = logits.dtype
        return of_masks(logits, labels)

    monkeypatch.setattr(magnifiernet, "part_cross_entropy", mask_loss)
    model.sd_loss.register_forward_pre_hook(lambda _, inputs: given.update(sd=inputs[0].dtype))
    step(model, batch_for(model))
    assert given == {"mask": torch.float32, "sd": torch.float32}
    images = batch_for(model)[:, :3]
    with torch.no_grad():
        seen = model.eval().inspect(images)
    assert seen.vector.dtype == torch.float32 and seen.region_maps.dtype == torch.float32
    assert seen.maps["global"].dtype == torch.bfloat16


def test_a_checkpoint_serves_both_precisions():
    model, mixed = build("magnifiernet_r18"), build("magnifiernet_r18_bf16")
    mixed.load_state_dict(model.state_dict())
    images = batch_for(model)[:, :3]
    with torch.no_grad():
        assert 0 < deviation(mixed.eval()(images), model.eval()(images)) < 0.1


# ---------------------------------------------------------------------- inference


@pytest.mark.parametrize("name", [*NETWORKS, "magnifiernet_r18_g", "magnifiernet"])
def test_an_optimized_network_gives_the_same(name):
    model = settle(build(name))
    images = batch_for(model, 3)[:, :3]
    optimized = model.optimize_for_inference()
    with torch.no_grad():
        expected, found = model(images), optimized(images)
        assert found.dtype == torch.float32 and deviation(found, expected) < 1e-4
        smaller = images[:1, :, :32, :16]  # after weights are laid out for another size
        assert deviation(optimized(smaller), model(smaller)) < 1e-4
        for copied in (copy.deepcopy(optimized), pickle.loads(pickle.dumps(optimized))):
            assert torch.equal(copied(images), found)
        seen, plain = optimized.inspect(images), model.inspect(images)
        for branch, activation in plain.maps.items():
            assert deviation(seen.maps[branch], activation) < 1e-4
    norms = [m for m in optimized.backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert not norms and any(isinstance(m, nn.BatchNorm2d) for m in model.backbone.modules())


def test_an_optimized_network_in_mixed_precision():
    model = settle(build("magnifiernet_r18_bf16"))
    images = batch_for(model)[:, :3]
    with torch.no_grad():
        expected, found = model(images), model.optimize_for_inference()(images)
    assert found.dtype == torch.float32 and deviation(found, expected) < 0.05


def test_without_onednn_it_gives_the_same(monkeypatch):
    model = settle(build("magnifiernet_r18"))
    images = batch_for(model)[:, :3]
    with torch.no_grad():
        expected = model(images)
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
        assert deviation(model.optimize_for_inference()(images), expected) < 1e-4


# ---------------------------------------------------------------------- compilation


@pytest.fixture
def dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def test_one_graph_in_evaluation(dynamo):
    for name in ("magnifiernet_r18", "magnifiernet_r18_official"):
        model = small(name).eval()
        images = batch_for(model)[:, :3]
        with torch.no_grad():
            translated = torch.compile(model, fullgraph=True, backend="aot_eager")
            assert deviation(translated(images), model(images)) < 1e-6


@pytest.mark.parametrize("name", ["magnifiernet_r18", "san_r18"])
def test_compile_gives_the_same_step_for_any_regions(dynamo, name):
    loss = "triplet_sd" if name.startswith("magnifiernet") else "triplet"
    model = small(name, loss) if loss == "triplet_sd" else build(name)
    batch = batch_for(model)
    plain, _ = step(model, batch)
    model.compile(backend="aot_eager")
    found, _ = step(model, batch)
    largest = max(gradient.abs().max() for gradient in plain.values())
    for key, gradient in plain.items():
        assert (found[key] - gradient).abs().max() < 1e-5 * largest, key
    with torch._dynamo.config.patch(error_on_recompile=True):
        for seed in range(3):  # other regions are no other graph
            torch.manual_seed(seed)
            model(batch)
    assert set(model.loss_log.last) >= {"loss_mask"} or name.startswith("san")


def test_compiled_mixed_precision_is_as_exact_as_it_is_without(dynamo):
    """Sums of half-precision gradients come in another order; neither is nearer to the truth."""
    whole = small("magnifiernet_r18", "triplet_sd")
    mixed = small("magnifiernet_r18", "triplet_sd", precision="bfloat16")
    mixed.load_state_dict(whole.state_dict())
    batch = batch_for(whole)

    def joined(model):
        return torch.cat([gradient.flatten() for gradient in step(model, batch)[0].values()])

    exact, plain = joined(whole), joined(mixed)
    mixed.compile(backend="aot_eager")
    found = joined(mixed)
    assert 0 < (found - exact).norm() < 1.1 * (plain - exact).norm()


# ---------------------------------------------------------------------- checkpointing


@pytest.mark.parametrize("name", ["magnifiernet_r18", "san_r18"])
def test_checkpointing_changes_memory_alone(name):
    def kept_and_state(enable):
        model = build(name)
        model.set_grad_checkpointing(enable)
        storages = {}

        def note(tensor):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        batch = batch_for(model)
        model.train()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            model(batch)
        gradients, _ = step(model, batch)
        return sum(storages.values()), {**gradients, **model.state_dict()}

    (all_kept, plain), (kept, found) = kept_and_state(False), kept_and_state(True)
    weights = sum(p.nbytes for p in build(name).parameters())
    assert kept - weights < 0.6 * (all_kept - weights)
    for key, tensor in plain.items():  # running statistics too: the batch is seen once
        assert torch.equal(found[key], tensor), key


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(
    "name", ["magnifiernet_r18", "magnifiernet_r18_bf16", "magnifiernet_r18_official"]
)
def test_no_step_after_the_first_two_waits_for_the_gpu(name):
    model = build(name, loss="triplet_sd").cuda()
    batch = batch_for(model, device="cuda")
    for _ in range(2):
        step(model, batch)
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(model, batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
