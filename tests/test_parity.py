"""``magnifiernet_official`` against numbers of the reference (see ``parity/recipe.py``)."""

import copy
import types
import zlib

import pytest
import torch
import torch.nn.functional as F
from parity import recipe
from torchreid import engine as torchreid_engine
from torchreid import losses as torchreid_losses

from torchreid_magnifier import (
    PartSegmentationLoss,
    SemanticDiversityLoss,
    convert_official_state_dict,
)
from torchreid_magnifier.models import build as build_model
from torchreid_magnifier.models.layers import BNNeck
from torchreid_magnifier.models.magnifiernet import model as magnifiernet
from torchreid_magnifier.models.regions import region_shares, shrink_labels
from torchreid_magnifier.parts import NUM_PARTS, PARTS

TENSORS = recipe.ARRAYS
LOSSES = recipe.NUMBERS["loss"]
SHARE = 0.0125  # weight of a region's cross-entropy in the reference's configurations


def crc32(tensor):
    return zlib.crc32(tensor.numpy().tobytes())


def close(found, name, relative=1e-4):
    """Within ``relative`` of the reference's largest value."""
    error = deviation(found, name)
    assert error < relative, f"{name}: off by {error:.2e} of the largest value"


def deviation(found, name):
    expected = TENSORS[name].double()
    assert found.shape == expected.shape
    return float((found.detach() - expected).abs().max() / expected.abs().max())


@pytest.fixture(scope="module")
def model():
    """In float64: the reference's are of float32, whose own error is 5e-7 of the largest."""
    reference = recipe.state_dict()
    for name, checksum in recipe.NUMBERS["state_crc32"].items():
        assert crc32(reference[name]) == checksum, f"the recipe gives other weights for {name}"
    model = build_model(
        "magnifiernet_official", recipe.NUM_CLASSES, loss="triplet_sd", pretrained=False
    )
    model.load_state_dict(convert_official_state_dict(reference), strict=True)
    return model.double()


# ------------------------------------------------------------------ evaluation


@pytest.fixture(scope="module")
def inside(model):
    """What passes between the parts of the network in evaluation."""
    images = recipe.evaluation_images()
    assert crc32(images) == recipe.NUMBERS["input_crc32"]
    model.eval()
    with torch.no_grad():
        *_, stage3, stage4 = model.backbone(images.double())
        logits = model.mask_module(stage4)
        maps = model._region_maps(logits.argmax(1), stage3)
        return types.SimpleNamespace(
            images=images.double(),
            stage3=stage3,
            stage4=stage4,
            logits=logits,
            maps=maps,
            fusion=model.fusion_branch(model.fusion_branch.bottleneck(stage3), maps),
        )


def deviations_of_branches(model):
    with torch.no_grad():
        embedding = model.eval()(recipe.evaluation_images().double())
    branches = dict(zip(("global", "sab", "sfb"), embedding.split([2048, 1024, 1024], 1)))
    return {name: deviation(part, f"eval_{name}_bn") for name, part in branches.items()}


def test_embedding_of_every_branch(model, inside):
    assert max(deviations_of_branches(model).values()) < 1e-4
    with torch.no_grad():
        embedding = model.eval()(inside.images)
    close(embedding, "eval_embedding_fp64", relative=1e-12)  # float64 there and here


def test_features_before_the_bnnecks(model, inside):
    with torch.no_grad():
        close(model.global_branch(inside.stage4)[0], "eval_global_raw")
        branch = model.adversarial_branch
        close(branch(branch.bottleneck(inside.stage3))[0], "eval_sab_raw")
    close(inside.fusion.feature, "eval_sfb_raw_lstm")


def test_backbone_and_segmentation_logits(inside):
    close(inside.stage3.mean((2, 3)), "eval_layer3_mean_hw")
    close(inside.stage4.mean((2, 3)), "eval_layer4_mean_hw")
    close(inside.logits, "eval_seg_logits")


def test_region_features(model, inside):
    regions = inside.fusion.regions
    close(regions.transpose(0, 1), "eval_part_raw")
    with torch.no_grad():
        close(torch.stack(model.fusion_branch.region_embeddings(regions)), "eval_part_bn")
    close(torch.sigmoid(region_shares(inside.maps)), "eval_part_betas")


# ------------------------------------------------------------------ training


@pytest.fixture(scope="module")
def step(model):
    """One step of the stock engine, and what the model gave it."""
    images, small_labels = recipe.training_batch()
    for tensor, checksum in zip((images, small_labels), recipe.NUMBERS["train_input_crc32"]):
        assert crc32(tensor) == checksum
    # The reference got labels at an eighth of the size; here they come at the image's.
    label_map = small_labels.repeat_interleave(8, 1).repeat_interleave(8, 2)
    assert torch.equal(shrink_labels(label_map, small_labels.shape[1:]), small_labels)
    batch = torch.cat([images, label_map.unsqueeze(1)], 1).double()

    given = {}
    hooks = [
        module.register_forward_hook(
            lambda module, inputs, outputs, name=name: given.update({name: outputs})
        )
        for name, module in (
            ("model", model),
            ("sab", model.adversarial_branch),
            ("sfb", model.fusion_branch),
        )
    ]
    draw = [k for k in range(NUM_PARTS) if k not in recipe.ERASED]
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.sampler.sample = lambda generator: draw
    engine = torchreid_engine.ImageTripletEngine(
        types.SimpleNamespace(
            train_loader=None, test_loader=None, num_train_pids=recipe.NUM_CLASSES
        ),
        model.train(),
        torch.optim.SGD(model.parameters(), lr=0.0),
        margin=0.3,
        weight_t=1,
        weight_x=1,
        use_gpu=False,
        label_smooth=True,
    )
    engine.forward_backward({"img": batch, "pid": recipe.PIDS})
    for hook in hooks:
        hook.remove()
    del model.sampler.sample
    terms = model.loss_log.last
    model.load_state_dict(before, strict=False)  # the running statistics moved
    outputs, features = given["model"]
    maps = model._region_maps(small_labels, torch.empty(8, 1, 8, 4, dtype=torch.float64))
    return types.SimpleNamespace(
        logits=dict(zip(model.classifier, outputs)),
        features=dict(zip(("global", "fusion"), features, strict=True)),
        sab=given["sab"][0],
        regions=given["sfb"][2],
        terms=terms,
        shares=region_shares(maps),
        kept=draw,
        criteria=(engine.criterion_x, engine.criterion_t),
        gradients={name: p.grad.clone() for name, p in model.named_parameters()},
    )


def test_training_features(step):
    close(step.features["global"], "train_global_raw")
    close(step.features["fusion"], "train_sfb_raw")
    close(step.sab, "train_sab_raw")
    close(step.regions.transpose(0, 1), "train_part_raw")


def test_every_training_loss(step):
    cross_entropy, triplet = step.criteria
    found = {
        "global_ce": cross_entropy(step.logits["global"], recipe.PIDS),
        "global_tri": triplet(step.features["global"], recipe.PIDS),
        "seg": step.terms["loss_mask"],
        "sab_ce": cross_entropy(step.logits["adversarial"], recipe.PIDS),
        "sab_beta": torch.sigmoid(step.shares[step.kept].sum()),
        "sfb_ce": cross_entropy(step.logits["fusion"], recipe.PIDS),
        "sfb_tri": triplet(step.features["fusion"], recipe.PIDS),
        "sd": step.terms["loss_sd"],
    }
    for i, part in enumerate(PARTS):
        found[f"part{i}_ce"] = cross_entropy(step.logits[f"region_{part}"], recipe.PIDS)
        found[f"part{i}_beta"] = torch.sigmoid(step.shares[i])
    sums = {"global": ("global_ce", "global_tri"), "sfb": ("sfb_ce", "sfb_tri")}
    found |= {name: sum(found[term] for term in terms) for name, terms in sums.items()}
    found["total"] = (
        found["global"]
        + 2 * found["seg"]
        + found["sab_beta"] * found["sab_ce"]
        + found["sfb"]
        + SHARE * sum(found[f"part{i}_beta"] * found[f"part{i}_ce"] for i in range(NUM_PARTS))
        + 0.01 * found["sd"]
    )
    assert found.keys() == LOSSES.keys()
    for name, expected in LOSSES.items():
        assert torch.as_tensor(found[name]).item() == pytest.approx(expected, rel=1e-4), name


def test_gradient_norms(step):
    """That the engine steps along the reference's objective: its weights act on the gradients."""
    placeholders = {name: torch.zeros(shape) for name, shape in recipe.NUMBERS["shapes"].items()}
    for i, name in enumerate(placeholders):  # marks every entry, to find it again
        placeholders[name] = placeholders[name] + i
    reference = list(placeholders)
    ours = {
        reference[int(tensor.flatten()[0])]: name
        for name, tensor in convert_official_state_dict(placeholders).items()
    }
    for name, expected in recipe.NUMBERS["grad_norm"].items():
        norm = step.gradients[ours[name]].norm()
        assert float(norm) == pytest.approx(expected, rel=1e-3), name
    for name in recipe.NUMBERS["grad_none"]:  # the shifts of the BNNecks
        assert ours[name] not in step.gradients
    total = torch.stack([gradient.norm() for gradient in step.gradients.values()]).norm()
    assert float(total) == pytest.approx(recipe.NUMBERS["grad_norm_total"], rel=1e-3)


# ------------------------------------------------------------------ problems
#
# Each of them is a way in which a copy of the reference's network easily goes wrong.


def stem_relu(model, monkeypatch):
    model.backbone.relu = torch.nn.ReLU()


def labels_of_odd_pixels(model, monkeypatch):
    def maps(labels, size, dtype, scaling):
        return F.one_hot(labels[:, 1::2, 1::2], NUM_PARTS).permute(0, 3, 1, 2).to(dtype)

    monkeypatch.setattr(magnifiernet, "region_maps", maps)


def nearest_exact(model, monkeypatch):
    def maps(labels, size, dtype, scaling):
        binary = F.one_hot(labels, NUM_PARTS).permute(0, 3, 1, 2).to(dtype)
        return F.interpolate(binary, size=size, mode="nearest-exact")

    monkeypatch.setattr(magnifiernet, "region_maps", maps)


def logits_resized_before_the_argmax(model, monkeypatch):
    predict = model.mask_module.forward

    def forward(stage4):
        return F.interpolate(predict(stage4), size=stage4.shape[2:], mode="bilinear")

    model.mask_module.forward = forward


def background_last(model, monkeypatch):
    fuse = model.fusion_branch.fusion.forward
    model.fusion_branch.fusion.forward = lambda regions: fuse(regions.roll(-1, 1))


def another_eps(model, monkeypatch):
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eps = 1e-3


def another_order_of_gates(model, monkeypatch):
    for parameter in model.fusion_branch.fusion.lstm.parameters():
        i, f, g, o = parameter.data.chunk(4)
        parameter.data = torch.cat([i, g, f, o])


def convolution_before_the_pooling(model, monkeypatch):
    branch = model.adversarial_branch

    def forward(activation, maps=None, kept=None):
        x = F.conv2d(activation, branch.reduce.weight[..., None, None])
        feature = F.adaptive_max_pool2d(x, 1).flatten(1)
        return feature, branch.neck(feature)

    branch.forward = forward


def no_shifts(model, monkeypatch):
    for module in model.modules():
        if isinstance(module, BNNeck):
            module.bias.zero_()


@pytest.mark.parametrize(
    ("problem", "branches"),
    [
        (stem_relu, {"global", "sab", "sfb"}),
        (labels_of_odd_pixels, {"sfb"}),
        (nearest_exact, {"sfb"}),
        (logits_resized_before_the_argmax, {"sfb"}),
        (background_last, {"sfb"}),
        (another_eps, {"global", "sab", "sfb"}),
        (another_order_of_gates, {"sfb"}),
        (convolution_before_the_pooling, {"sab"}),
        (no_shifts, {"global", "sab", "sfb"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_fault_shows_in_the_embedding(model, monkeypatch, problem, branches):
    model = copy.deepcopy(model)
    problem(model, monkeypatch)
    deviations = deviations_of_branches(model)
    assert {name for name, value in deviations.items() if value >= 1e-4} == branches


def test_a_classifier_without_its_bias_shows_in_the_losses(model, step):
    cross_entropy, _ = step.criteria
    names = {"global": "global_ce", "adversarial": "sab_ce", "fusion": "sfb_ce"}
    names |= {f"region_{part}": f"part{i}_ce" for i, part in enumerate(PARTS)}
    for head, name in names.items():
        without = step.logits[head] - model.classifier[head].bias
        loss = cross_entropy(without, recipe.PIDS).item()
        assert loss != pytest.approx(LOSSES[name], rel=1e-4), head


# ------------------------------------------------------------------ losses alone


def test_losses_alone():
    features, signed = recipe.region_features(signed=False), recipe.region_features(signed=True)
    absent = features.clone()
    absent[:, 3] = 0
    absent[:4, 5] = 0
    sd_loss = SemanticDiversityLoss(positive_only=True)
    opposed = features.clone()
    opposed[:, 1::2] *= -1  # the mean over the pairs is below zero
    assert SemanticDiversityLoss()(opposed) < 0
    logits, labels = recipe.segmentation()
    no_feet = labels.masked_fill(labels == 7, 0)
    id_logits, id_features = recipe.identification()
    cross_entropy = torchreid_losses.CrossEntropyLoss(recipe.NUM_CLASSES, use_gpu=False)
    found = {
        "sd_abs": sd_loss(features),
        "sd_abs_part3_zero_part5_rows0to3_zero": sd_loss(absent),
        "sd_signed": sd_loss(signed),
        "sd_negative_clamped": sd_loss(opposed),
        "psloss_normalized": PartSegmentationLoss()(logits, labels),
        "psloss_normalized_no_class7": PartSegmentationLoss()(logits, no_feet),
        "ce_label_smooth": cross_entropy(id_logits, recipe.PIDS),
        "triplet_m0.3": torchreid_losses.TripletLoss(0.3)(id_features, recipe.PIDS),
    }
    alone = recipe.NUMBERS["standalone"]
    assert found.keys() == alone.keys() - {"psloss_mean"}  # a plain mean: not the configured loss
    for name, value in found.items():
        assert float(value) == pytest.approx(alone[name], rel=1e-5, abs=1e-7), name
