"""The worked examples of CONTRIBUTING.md run as they stand."""

import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import torchreid
from PIL import Image

from torchreid_magnifier import models
from torchreid_magnifier.models import backbones

TEXT = Path(__file__).parent.with_name("CONTRIBUTING.md").read_text(encoding="utf-8")
EXAMPLES = {
    section.split("\n", 1)[0]: "\n".join(re.findall(r"^```python\n(.*?)^```", section, re.M | re.S))
    for section in TEXT.split("\n## Add a ")[1:]
}


@pytest.fixture(scope="module")
def example():
    """``example("model")`` is the module that the example makes; what it registered goes again."""
    registries = (
        vars(models)["_ENTRIES"],
        vars(backbones)["_BUILDERS"],
        vars(torchreid.models)["__model_factory"],
        torchreid.data.register_image_dataset.__globals__["__image_datasets"],
    )
    before = [dict(registry) for registry in registries]
    made = {}
    for name, code in EXAMPLES.items():
        module = ModuleType(f"contributing_{name.replace(' ', '_')}")
        sys.modules[module.__name__] = module  # as a file of that name would be
        exec(compile(code, module.__name__, "exec"), vars(module))
        made[name] = module
    yield made.__getitem__
    for registry, entries in zip(registries, before):
        registry.clear()
        registry.update(entries)
    for module in made.values():
        del sys.modules[module.__name__]


def step(model, channels=3):
    """One training step of torchreid's triplet engine, without the engine."""
    torch.manual_seed(0)
    images = torch.rand(8, channels, 64, 32)
    images[:, 3:] = torch.randint(0, 8, images[:, 3:].shape).float()
    logits, features = model.train()(images)
    loss = torch.stack([x.square().mean() for x in (*logits, *features)]).sum()
    loss.backward()
    return logits, features


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_has_at_most_60_lines(name):
    assert 5 < len(EXAMPLES[name].splitlines()) <= 60


def test_backbone(example):
    model = models.build("magnifiernet", 5, "triplet", backbone="plain")
    assert isinstance(model.backbone, example("backbone").Plain)
    step(model, channels=4)
    assert all(p.grad is not None for p in model.backbone.parameters())
    assert model.eval()(torch.rand(2, 3, 64, 32)).shape == (2, model.embedding_size)
    with pytest.raises(RuntimeError, match="has no trained weights"):
        models.build("magnifiernet", 5, backbone="plain", pretrained=True)


def test_loss(example):
    features = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).double()
    table = np.corrcoef(features.numpy().T)
    expected = np.mean([table[i, j] ** 2 for i in range(4) for j in range(4) if i != j])
    found = example("loss").DecorrelationLoss()(features)
    assert found.item() == pytest.approx(expected, rel=1e-9)

    grads = {}
    for weight in (0.0, 0.1):
        torch.manual_seed(0)
        options = {"backbone": "plain", "decorrelation": weight}
        model = torchreid.models.build_model("decorrelated_r18", 5, "triplet", False)
        assert isinstance(model, example("loss").Decorrelated)
        model = models.build("decorrelated_r18", 5, "triplet", **options)
        step(model, channels=4)
        assert model.loss_log.last["decorrelation"] > 0
        grads[weight] = model.backbone.stages[0][0].weight.grad
    assert not torch.allclose(grads[0.0], grads[0.1])


@pytest.mark.parametrize(("name", "stripes"), [("stripes", 4), ("stripes_6", 6)])
def test_model(example, name, stripes):
    model = torchreid.models.build_model(name, 5, loss="triplet", pretrained=False)
    assert isinstance(model, example("model").Stripes)
    logits, features = step(model)
    assert [x.shape for x in logits] == [(8, 5)] * stripes
    assert [x.shape for x in features] == [(8, 512)] * stripes
    assert all(p.grad is not None for p in model.parameters())
    seen = model.eval().inspect(torch.rand(2, 3, 96, 32))
    assert seen.vector.shape == (2, model.embedding_size) == (2, stripes * 512)
    assert list(seen.branches) == list(model.branches)


def test_dataset(example, tmp_path):
    for split, pid in (("train", 1), ("query", 2), ("gallery", 2)):
        for door in (1, 2):
            path = tmp_path / "doors" / split / f"{pid:04}_door{door}_7.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 64)).save(path)
    found = torchreid.data.datasets.init_image_dataset("doors", root=str(tmp_path), verbose=False)
    assert isinstance(found, example("dataset").Doors)
    assert [len(split) for split in (found.train, found.query, found.gallery)] == [2, 2, 2]
    with pytest.raises(Exception, match="masks"):  # it has none yet
        torchreid.data.datasets.init_image_dataset("doors_masks", root=str(tmp_path), verbose=False)
    with pytest.raises(Exception, match="cut them from your videos"):
        torchreid.data.datasets.init_image_dataset("doors", root=str(tmp_path / "elsewhere"))


def test_parser(example, tmp_path):
    for name in ("a", "b"):
        Image.new("RGB", (64, 128)).save(tmp_path / f"{name}.png")
    main = example("parser").main
    assert main(str(tmp_path)) == 0
    labels = [tmp_path.with_name(f"{tmp_path.name}_ps_label") / f"{n}.png" for n in "ab"]
    drawn = [np.asarray(Image.open(path)) for path in labels]
    assert all(np.array_equal(np.unique(found), np.arange(8)) for found in drawn)
    assert drawn[0][12, 32] == 1 and drawn[0][50, 32] == 2  # head above torso
    times = [path.stat().st_mtime_ns for path in labels]
    assert main(str(tmp_path)) == 0
    assert [path.stat().st_mtime_ns for path in labels] == times
