"""The claim that the design rests on: torchreid's stock engine steps along the paper's Eq. 4."""

import types

import pytest
import torch
import torch.nn.functional as F
from networks import small
from plain import MARGIN, batch_hard_triplet, smoothed_cross_entropy
from torchreid import engine as torchreid_engine

from torchreid_magnifier.models import build as build_model
from torchreid_magnifier.models.base import ReIDModel, TrainOutput
from torchreid_magnifier.parts import NUM_PARTS, PARTS

NUM_CLASSES = 5
PIDS = torch.tensor([0, 0, 1, 1, 4, 4])


def make_batch():
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(len(PIDS), 3, 64, 32, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, NUM_PARTS, (len(PIDS), 64, 32), generator=generator)
    labels[0] = 0  # an image without a person
    labels[labels == 6] = 2  # a part that does not occur
    return images, labels


# --------------------------------------------------- Eq. 4, written plainly


def plain_objective(model, images, labels, stage, weight_t=1, weight_x=1):
    """Eq. 4 with masked copies of the feature maps, per-pixel and per-pair loops.

    The weights are those of all triplet losses and of all cross-entropies of identities.
    """
    *_, stage3, stage4 = model.backbone(images)
    if model.projections is not None:
        stage3, stage4 = model.projections[0](stage3), model.projections[1](stage4)
    # the label at the centre of every 8x8 cell, as the mask module sees it
    target = labels[:, 4::8, 4::8]
    height, width = stage3.shape[2:]
    maps = []
    for k in range(NUM_PARTS):
        binary = (target == k).to(images.dtype).unsqueeze(1)
        bilinear = model.region_scaling == "bilinear"
        maps.append(F.avg_pool2d(binary, 2) if bilinear else binary[..., ::2, ::2])
        assert maps[-1].shape[2:] == (height, width)

    def identity_losses(head, feature, neck):
        total = weight_x * smoothed_cross_entropy(model.classifier[head](neck(feature)), PIDS)
        if weight_t == 0 or (head == "adversarial" and not model.adversarial_triplet):
            return total
        return total + weight_t * batch_hard_triplet(feature, PIDS)

    global_feature = stage4.mean((2, 3))
    total = identity_losses("global", global_feature, model.global_branch.neck)

    if model.mask_module is None:
        return total
    logits = model.mask_module(stage4)
    pixel_losses = -logits.log_softmax(1).gather(1, target.unsqueeze(1)).squeeze(1)
    present = [k for k in range(NUM_PARTS) if (target == k).any()]
    total = total + 2.0 * sum(pixel_losses[target == k].mean() for k in present) / len(present)

    branch = model.adversarial_branch
    if branch is not None:
        x = branch.bottleneck(stage3)
        erased = sum(x * maps[k] for k in model.sampler.sample())
        pooled = F.adaptive_max_pool2d(erased, 1)
        feature = F.conv2d(pooled, branch.reduce.weight[:, :, None, None]).flatten(1)
        total = total + identity_losses("adversarial", feature, branch.neck)

    branch = model.fusion_branch
    if branch is not None:
        x = branch.bottleneck(stage3)
        regions = [F.adaptive_max_pool2d(x * m, 1).flatten(1) for m in maps]
        if hasattr(branch.fusion, "gru"):
            feature = by_torch(torch.nn.GRU, branch.fusion.gru, regions)[1][0]
        elif hasattr(branch.fusion, "lstm"):
            feature = by_torch(torch.nn.LSTM, branch.fusion.lstm, regions)[1][0][0]
        elif not list(branch.fusion.parameters()):
            feature = sum(regions) / NUM_PARTS
        else:
            weights = branch.fusion.reduce.weight.squeeze(2).chunk(NUM_PARTS)
            feature = torch.cat([r @ w.T for r, w in zip(regions, weights)], 1)
        total = total + identity_losses("fusion", feature, branch.neck)
        for k, part in enumerate(PARTS):
            beta = torch.sigmoid(maps[k].mean())
            region_logits = model.classifier[f"region_{part}"](branch.region_necks[k](regions[k]))
            weight = weight_x * 0.0125 * beta
            total = total + weight * smoothed_cross_entropy(region_logits, PIDS)
        if stage == 2:
            cosines = []
            for n in range(len(PIDS)):
                for j in range(NUM_PARTS):
                    for i in range(j + 1, NUM_PARTS):
                        a, b = regions[i][n], regions[j][n]
                        norms = (a @ a + 1e-300).sqrt() * (b @ b + 1e-300).sqrt()
                        cosines.append(a @ b / norms.clamp_min(1e-6))
            total = total + 2e-3 * sum(cosines) / len(cosines)
    return total


def by_torch(layer_class, parameters_of, regions):
    """torch's own recurrent layer with the parameters of ours."""
    layer = layer_class(*[regions[0].shape[1]] * 2, batch_first=True).to(regions[0])
    parameters = dict(parameters_of.named_parameters())
    return torch.func.functional_call(layer, parameters, torch.stack(regions, 1))


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def through(engine_class, model, images, labels, **options):
    """The gradients of one step of a stock engine."""
    engine = engine_class(
        types.SimpleNamespace(train_loader=None, test_loader=None, num_train_pids=NUM_CLASSES),
        model,
        torch.optim.SGD(model.parameters(), lr=0.0),
        use_gpu=False,
        label_smooth=True,
        **options,
    )
    torch.manual_seed(7)
    engine.forward_backward({"img": torch.cat([images, labels.unsqueeze(1)], 1), "pid": PIDS})
    return gradients(model)


def of_the_plain_objective(model, *arguments, **options):
    model.zero_grad()
    torch.manual_seed(7)
    plain_objective(model, *arguments, **options).backward()
    return gradients(model)


def assert_equal(found, plain):
    for parameter, expected in plain.items():
        error = (found[parameter] - expected).norm() / expected.norm().clamp_min(1e-12)
        assert error < 1e-6, f"{parameter}: relative error {error:.2e}"


def make_model(name, loss, **options):
    model = small(name, loss, NUM_CLASSES, **options).double().train()
    for layer in model.classifier.values():  # as drawn they hardly pass a gradient on
        torch.nn.init.normal_(layer.weight, std=0.1)
    return model


def assert_steps_along_equation_4(model, stage, weight_t=1, weight_x=1):
    images, labels = make_batch()
    weights = {"weight_t": weight_t, "weight_x": weight_x}
    through_engine = through(
        torchreid_engine.ImageTripletEngine, model, images, labels, margin=MARGIN, **weights
    )
    plain = of_the_plain_objective(model, images, labels, stage, **weights)
    assert set(through_engine) == set(plain) == {n for n, _ in model.named_parameters()}
    assert_equal(through_engine, plain)


@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("magnifiernet", {"backbone": "resnet18"}),
        ("magnifiernet", {}),
        ("magnifiernet", {"adversarial_triplet": True}),
        ("magnifiernet_ab", {}),
        ("magnifiernet", {"fusion": "gru", "region_scaling": "bilinear"}),
        ("magnifiernet", {"fusion": "mean"}),
        ("magnifiernet_g_m_sfb", {}),
        ("magnifiernet_g_m_sab", {}),
        ("magnifiernet_g_m", {}),
        ("magnifiernet_g", {}),
    ],
    ids=str,
)
def test_stock_triplet_engine_steps_along_equation_4(name, options, stage):
    if stage == 2 and name.endswith(("_sab", "_g_m", "_g")):
        pytest.skip("no region features, no SD loss")
    model = make_model(name, "triplet" if stage == 1 else "triplet_sd", **options)
    assert_steps_along_equation_4(model, stage)


@pytest.mark.parametrize("stage", [1, 2])
def test_on_osnet_as_it_is_registered(stage):
    """Light backbones have their stages widened, so that the mask head learns as on a ResNet."""
    torch.manual_seed(0)
    loss = "triplet" if stage == 1 else "triplet_sd"
    model = build_model("magnifiernet_osnet_x0_25", NUM_CLASSES, loss).double().train()
    for layer in model.classifier.values():
        torch.nn.init.normal_(layer.weight, std=0.1)
    assert_steps_along_equation_4(model, stage)


@pytest.mark.parametrize(("weight_t", "weight_x"), [(0.5, 2), (3, 0.25), (0, 1)])
@pytest.mark.parametrize("stage", [1, 2])
def test_weights_of_the_engines_losses_leave_those_of_the_model_alone(stage, weight_t, weight_x):
    model = make_model("magnifiernet", "triplet" if stage == 1 else "triplet_sd")
    assert_steps_along_equation_4(model, stage, weight_t, weight_x)


def test_softmax_engine_steps_along_equation_4_without_triplets():
    model = make_model("magnifiernet", "softmax")
    images, labels = make_batch()
    through_engine = through(torchreid_engine.ImageSoftmaxEngine, model, images, labels)
    plain = of_the_plain_objective(model, images, labels, 1, weight_t=0)
    assert_equal(through_engine, plain)


class ThreeHeads(ReIDModel):
    """A model of a user: heads that weigh a number, a tensor, and nothing said."""

    weights = {"light": 0.5, "heavy": torch.tensor(3.0, dtype=torch.float64)}

    def __init__(self):
        super().__init__(NUM_CLASSES, "triplet")
        self.body = torch.nn.Linear(3, 6)
        names = ("first", "light", "heavy")
        self.classifier = torch.nn.ModuleDict(
            {name: torch.nn.Linear(6, NUM_CLASSES) for name in names}
        )

    def heads(self, images):
        feature = self.body(images.mean((2, 3)))
        return feature, {name: layer(feature) for name, layer in self.classifier.items()}

    def forward_train(self, images, extra):
        feature, logits = self.heads(images)
        return TrainOutput(logits, {"one": feature, "two": 2 * feature}, self.weights)


def test_heads_weigh_what_a_model_says():
    torch.manual_seed(0)
    model, (images, labels) = ThreeHeads().double().train(), make_batch()
    weights = {"weight_t": 0.25, "weight_x": 2}
    found = through(
        torchreid_engine.ImageTripletEngine, model, images, labels, margin=MARGIN, **weights
    )
    model.zero_grad()
    feature, logits = model.heads(images)
    total = 0.25 * (batch_hard_triplet(feature, PIDS) + batch_hard_triplet(2 * feature, PIDS))
    for name, weight in (("first", 1), ("light", 0.5), ("heavy", 3)):
        total = total + 2 * weight * smoothed_cross_entropy(logits[name], PIDS)
    total.backward()
    assert_equal(found, gradients(model))
