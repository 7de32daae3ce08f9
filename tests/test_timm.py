"""Backbones of timm: their stages are what they say, and MagnifierNet learns on them."""

import pytest
import torch

from torchreid_magnifier.models import build
from torchreid_magnifier.models.backbones import build_backbone

pytest.importorskip("timm")

# By output_stride, and by leaving the last stage out.
NETWORKS = ["timm/resnet10t", "timm/mobilenetv3_small_050", "timm/convnext_atto"]


@pytest.mark.parametrize("name", NETWORKS)
def test_stages_are_as_it_says(name):
    backbone = build_backbone(name).eval()
    maps = backbone(torch.rand(1, 3, 96, 64))
    assert [m.shape[1] for m in maps] == list(backbone.channels)
    assert [(96 // m.shape[2], 64 // m.shape[3]) for m in maps] == [
        (stride, stride) for stride in backbone.strides
    ]
    assert len(backbone.strides) > 1
    assert max(backbone.strides) <= 16


@pytest.mark.parametrize("name", NETWORKS[:2])
def test_magnifiernet_learns_on_it(name):
    torch.manual_seed(0)
    model = build("magnifiernet", 3, "triplet", backbone=name)
    images = torch.cat([torch.rand(4, 3, 64, 32), torch.randint(0, 8, (4, 1, 64, 32))], 1)
    logits, features = model.train()(images)
    sum(x.square().mean() for x in (*logits, *features)).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None]
    assert without == []
    assert model.eval()(images[:, :3]).shape == (4, model.embedding_size)


def test_an_unknown_name_is_answered_with_some_that_are_known():
    with pytest.raises(RuntimeError, match="has no model 'resnet10tt'; it has .*resnet"):
        build_backbone("timm/resnet10tt")
