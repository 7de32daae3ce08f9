"""What holds for every registered model, and for one on every registered backbone.

Models are built on a backbone of four convolutions, so that each is a matter of milliseconds;
``stripes.py`` and ``slim.py`` are files as a user writes them.
"""

import inspect
import types

import pytest
import torch
from networks import beside_its_backbone, small
from own import VARIANTS, registered
from torch import nn
from torchreid import engine as torchreid_engine

from torchreid_magnifier import models
from torchreid_magnifier.inference.export.program import InferenceGraph, trace
from torchreid_magnifier.losses.forward_pass import scalar
from torchreid_magnifier.models import backbones
from torchreid_magnifier.models.base import SIDECAR_CHANNELS, Embedding
from torchreid_magnifier.parts import NUM_PARTS

HEIGHT, WIDTH, NUM_CLASSES = 96, 32, 5
PIDS = torch.tensor([0] * 4 + [3] * 4)


def different(names):
    """The first name of those that stand for the same, beside their backbone."""
    built = [beside_its_backbone(name) for name in names]
    return [name for i, name in enumerate(names) if built[i] not in built[:i]]


NAMES = [*different(models.list_models()), "stripes", *VARIANTS]
each = pytest.mark.parametrize("name", NAMES)
each_backbone = pytest.mark.parametrize("backbone", backbones.list_backbones())


@pytest.fixture(scope="module", autouse=True)
def own_models():
    with registered():
        yield


def images_for(model, seed=1, dtype=torch.float32):
    """A batch ``(8, C, H, W)`` as the model's mode needs it."""
    generator = torch.Generator().manual_seed(seed)
    rgb = torch.randn(len(PIDS), 3, HEIGHT, WIDTH, generator=generator, dtype=dtype)
    if not model.training or model.needs is None:
        return rgb
    shape = (len(PIDS), SIDECAR_CHANNELS[model.needs], HEIGHT, WIDTH)
    if model.needs == "masks":
        extra = torch.randint(0, NUM_PARTS, shape, generator=generator).to(dtype)
    else:
        extra = 2 * torch.rand(shape, generator=generator, dtype=dtype) - 1
    return torch.cat([rgb, extra], 1)


def settle(model):
    """Give the statistics values as after some training, so that nothing is 0 or 1 by chance."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return model.eval()


def deviation(found, expected):
    return float((found - expected).abs().max() / expected.abs().max())


def step(model, loss="triplet"):
    """One step of torchreid's stock engine; returns what it prints."""
    data = types.SimpleNamespace(train_loader=None, test_loader=None, num_train_pids=NUM_CLASSES)
    engines = {
        "softmax": torchreid_engine.ImageSoftmaxEngine,
        "triplet": torchreid_engine.ImageTripletEngine,
    }
    weights = {} if loss == "softmax" else {"weight_t": 1, "weight_x": 1}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    engine = engines[loss](data, model.train(), optimizer, use_gpu=False, **weights)
    return engine.forward_backward({"img": images_for(model), "pid": PIDS})


# ------------------------------------------------------------------ every model


@each
def test_it_says_what_it_is(name):
    with torch.device("meta"):
        model = models.build(name, NUM_CLASSES)
    assert isinstance(model.embedding_size, int) and model.embedding_size > 0
    assert len(set(model.branches)) == len(model.branches) > 0
    assert model.needs in (None, *SIDECAR_CHANNELS)
    assert {"softmax", "triplet"} <= set(model.losses)
    assert models.loss_names(name) == model.losses
    assert inspect.getdoc(type(model))


@each
@pytest.mark.parametrize("loss", ["softmax", "triplet"])
def test_training_outputs_are_those_of_torchreids_engine(name, loss):
    model = small(name, loss).train()
    found = model(images_for(model))
    logits, features = (found, []) if loss == "softmax" else found
    assert isinstance(logits, list) and isinstance(features, list)
    assert {tuple(output.shape) for output in logits} == {(len(PIDS), NUM_CLASSES)}
    assert all(feature.dim() == 2 and len(feature) == len(PIDS) for feature in features)
    assert bool(features) == (loss != "softmax")
    summary = step(model, loss)
    assert all(torch.isfinite(torch.tensor(value)) for value in summary.values())
    for parameter, value in model.named_parameters():
        assert value.grad is not None and value.grad.isfinite().all(), parameter


@each
def test_attached_losses_have_their_gradients(name):
    """All of a model's own losses, by their weights, and nothing else, reach its parameters."""
    model = small(name).double().train()
    if "triplet_sd" in model.losses and model.has_regions:
        model = small(name, "triplet_sd").double().train()
    images, given = images_for(model, dtype=torch.float64), {}
    forward_train = type(model).forward_train

    def keep(self, rgb, extra):
        found = forward_train(self, rgb, extra)
        given.update(found.losses)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(model), "forward_train", keep)
        torch.manual_seed(2)
        logits, features = model(images)
        sum(0 * output.sum() for output in (*logits, *features)).backward()
        attached = {n: p.grad for n, p in model.named_parameters()}
        model.zero_grad()
        torch.manual_seed(2)
        model(images)
    if not given:
        assert all(gradient is None or not gradient.any() for gradient in attached.values())
        return
    total = sum(weight * scalar(value) for weight, value in given.values())
    parameters = dict(model.named_parameters())
    plain = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
    assert any(gradient is not None and gradient.any() for gradient in plain)
    largest = max(float(g.abs().max()) for g in plain if g is not None)
    for parameter, gradient in zip(parameters, plain):
        found = attached[parameter]
        zero = torch.zeros(())
        difference = (zero if found is None else found) - (zero if gradient is None else gradient)
        assert difference.abs().max() < 1e-9 * largest, parameter


@each
def test_the_embedding_is_made_of_its_branches(name):
    model = settle(small(name))
    images = images_for(model)
    with torch.no_grad():
        found, vector = model.inspect(images), model(images)
        first_map = model(images, return_featuremaps=True)
    assert isinstance(found, Embedding)
    assert found.vector.shape == (len(PIDS), model.embedding_size)
    assert torch.equal(found.vector, vector) and vector.dtype == torch.float32
    assert tuple(found.branches) == model.branches
    ends = [0, *(part.stop for part in found.branches.values())]
    assert [part.start for part in found.branches.values()] == ends[:-1]
    assert ends[-1] == model.embedding_size
    assert set(found.maps) <= set(model.branches) and found.maps
    assert all(activation.dim() == 4 for activation in found.maps.values())
    assert torch.equal(first_map, next(iter(found.maps.values())))
    assert (found.part_labels is not None) == (found.visibility is not None) == model.has_parts
    if model.has_parts:
        torch.testing.assert_close(found.visibility.sum(1), torch.ones(len(PIDS)))
    assert (found.regions is not None) == (found.region_maps is not None) == model.has_regions


@each
def test_evaluation_of_one_image_and_no_chance_in_it(name):
    model = settle(small(name))
    images = images_for(model)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with torch.no_grad():
        vector = model(images)
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(4)
        assert torch.equal(model(images), vector)
        tolerance = 1e-4 if model.precision == "float32" else 0.02
        for index in (0, 5):
            assert deviation(model(images[index : index + 1])[0], vector[index]) < tolerance


@each
def test_a_state_dict_goes_round(name, tmp_path):
    model, other = settle(small(name)), small(name)
    torch.save(model.state_dict(), tmp_path / "state.pth")
    other.load_state_dict(torch.load(tmp_path / "state.pth", weights_only=True), strict=True)
    images = images_for(model)
    with torch.no_grad():
        assert torch.equal(other.eval()(images), model(images))


@each
def test_mixed_precision(name):
    plain, mixed = small(name, precision="float32"), small(name, precision="bfloat16")
    mixed.load_state_dict(settle(plain).state_dict())
    images = images_for(plain)
    with torch.no_grad():
        found = mixed.eval()(images)
        assert found.dtype == torch.float32
        assert 0 < deviation(found, plain(images)) < 0.2
    logits, features = mixed.train()(images_for(mixed))
    assert {output.dtype for output in (*logits, *features)} == {torch.float32}


@each
def test_folded_for_inference_and_traced(name):
    model = settle(small(name, precision="float32"))
    images = images_for(model)
    with torch.no_grad():
        expected = model(images)
        assert deviation(model.optimize_for_inference()(images), expected) < 1e-4
        graph = InferenceGraph(model, images)
        assert deviation(graph(images)["embedding"], expected) < 1e-4


@pytest.mark.skipif(torch.__version__ < "2.9", reason="export takes torch 2.9")
def test_a_model_of_ones_own_becomes_a_program():
    model = settle(small("stripes"))
    program = trace(model, HEIGHT, WIDTH).module()
    images = images_for(model)[:3]
    with torch.no_grad():
        assert deviation(program(images)["embedding"], model(images)) < 1e-5


# ------------------------------------------------------------------ every backbone


@each_backbone
def test_stages_are_as_the_backbone_says(backbone):
    built = backbones.build_backbone(backbone).eval()
    with torch.no_grad():
        stages = built(torch.rand(1, 3, 64, 32))
    sizes = [(c, 64 // s, 32 // s) for c, s in zip(built.channels, built.strides, strict=True)]
    assert [tuple(stage.shape[1:]) for stage in stages] == sizes


@each_backbone
def test_magnifiernet_learns_on_it(backbone):
    model = small("magnifiernet", backbone=backbone)
    step(model)
    gradients = [parameter.grad for parameter in model.parameters()]
    assert all(gradient.isfinite().all() for gradient in gradients) and gradients[0].any()
    with torch.no_grad():
        vector = model.eval()(images_for(model)[:1])
    assert vector.shape == (1, model.embedding_size) and vector.isfinite().all()
