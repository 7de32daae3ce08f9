"""The engines and the optimizer of the command against torchreid's and torch's own."""

import copy
from types import SimpleNamespace

import pytest
import torch
import torchreid
from torch import nn

from torchreid_magnifier import SAN
from torchreid_magnifier.training.config import ConfigError
from torchreid_magnifier.training.engine import Engine
from torchreid_magnifier.training.optim import steps as fused_steps
from torchreid_magnifier.training.optim import use_fused

DATA = SimpleNamespace(train_loader=None, test_loader=None, num_train_pids=4)
PIDS = torch.arange(8) // 2
ENGINES = [
    (torchreid.engine.ImageSoftmaxEngine, {}),
    (torchreid.engine.ImageSoftmaxEngine, {"label_smooth": False}),
    (torchreid.engine.ImageTripletEngine, {"weight_t": 0.5, "margin": 0.7}),
    (torchreid.engine.ImageTripletEngine, {"weight_t": 0}),
    (torchreid.engine.ImageTripletEngine, {"weight_x": 0}),
]


class Heads(nn.Module):
    """Two heads of logits and of features, as lists; the logits alone for cross-entropy."""

    def __init__(self, triplet):
        super().__init__()
        self.layer, self.head, self.triplet = nn.Linear(6, 10), nn.Linear(10, 4), triplet

    def forward(self, images):
        features = self.layer(images).relu()
        logits = [self.head(features), self.head(features * 2)]
        return (logits, [features, features[:, :5]]) if self.triplet else logits


def one_step(cls, model, pids=PIDS, **options):
    model = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    engine = cls(DATA, model, optimizer, use_gpu=False, **options)
    shown = engine.forward_backward({"img": torch.linspace(-1, 1, 48).view(8, 6) ** 3, "pid": pids})
    return shown, model.state_dict()


@pytest.mark.parametrize(("stock", "options"), ENGINES)
def test_a_step_is_torchreids(stock, options):
    torch.manual_seed(0)
    triplet = stock is torchreid.engine.ImageTripletEngine
    model = Heads(triplet)
    expected = one_step(stock, model, **options)
    found = one_step(Engine, model, **options if triplet else {"margin": None} | options)
    assert list(found[0]) == list(expected[0])  # the order in which they are printed
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    assert not torch.equal(found[1]["layer.weight"], model.layer.weight)


def test_a_batch_of_one_person_is_a_mistake_in_the_configuration():
    with pytest.raises(ConfigError, match="at least two identities, found only identity 2"):
        one_step(Engine, Heads(True), torch.full((8,), 2))


# ------------------------------------------------------------------ fused steps

FUSED = ["adam", "amsgrad", "sgd"]
OPTIMIZERS = [*FUSED, "rmsprop", "radam"]
CPU_HAS = torch.__version__ >= torch.torch_version.TorchVersion("2.4")


def steps(model, optimizer, count=3, start=0):
    for i in range(start, start + count):
        optimizer.zero_grad()
        inputs = torch.linspace(-1, 1 + i, 48).view(8, 6)
        nn.functional.cross_entropy(model(inputs)[0], PIDS).backward()
        optimizer.step()


def is_fused(optimizer):
    (fused,) = {bool(group.get("fused")) for group in optimizer.param_groups}
    return fused


def build(name):
    torch.manual_seed(0)
    model = Heads(triplet=False)
    return model, torchreid.optim.build_optimizer(
        model, name, lr=0.01, staged_lr=True, new_layers="head"
    )


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_fused_steps_are_the_same_within_rounding(name):
    (model, plain), (twin, fused) = build(name), build(name)
    use_fused(fused)
    assert is_fused(fused) == (CPU_HAS and name in FUSED)
    steps(model, plain)
    steps(twin, fused)
    torch.testing.assert_close(twin.state_dict(), model.state_dict(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("then", [False, True])
def test_either_state_goes_on_with_the_other(monkeypatch, name, first, then):
    model, plain = build(name)
    steps(model, plain, 4)

    offers = fused_steps._offers_fused
    monkeypatch.setattr(fused_steps, "_offers_fused", lambda *at: first and offers(*at))
    begun, optimizer = build(name)
    use_fused(optimizer)
    steps(begun, optimizer)
    saved = copy.deepcopy([begun.state_dict(), optimizer.state_dict()])

    monkeypatch.setattr(fused_steps, "_offers_fused", lambda *at: then and offers(*at))
    again, optimizer = build(name)
    again.load_state_dict(saved[0])
    optimizer.load_state_dict(saved[1])
    use_fused(optimizer)
    assert is_fused(optimizer) == (then and CPU_HAS and name in FUSED)
    steps(again, optimizer, 1, start=3)
    torch.testing.assert_close(again.state_dict(), model.state_dict(), rtol=1e-5, atol=1e-6)


def test_both_streams_of_san_are_fused():
    model = SAN(
        2, "triplet", backbone="resnet18", pretrained=False, decoder_widths=(16, 8, 8, 4, 4)
    )
    optimizer = torchreid.optim.build_optimizer(model, "san_adam")
    use_fused(optimizer)
    assert [is_fused(stream) for stream in optimizer.streams] == [CPU_HAS, CPU_HAS]
    assert optimizer.param_groups is optimizer.streams[0].param_groups  # what a schedule sets
