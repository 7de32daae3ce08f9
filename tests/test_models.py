"""One contract for every registered model, then what only some of them do."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torchreid import utils as torchreid_utils

from torchreid_magnifier.models import MagnifierNet, list_models
from torchreid_magnifier.models import build as build_model
from torchreid_magnifier.parts import NUM_PARTS

NUM_CLASSES = 3
SAMPLINGS = [
    *(("torso", kept) for kept in (2, 4, 6)),
    *(("baseline", kept) for kept in range(1, 8)),
]
ARCHITECTURES = list_models("magnifiernet*")
SMALL = [name for name in ARCHITECTURES if "r18" in name]
WITH_MASKS = [name for name in SMALL if not name.endswith("_g")]


def make_batch(num_images=4, height=64, width=32):
    images = torch.randn(num_images, 3, height, width)
    labels = torch.randint(0, NUM_PARTS, (num_images, 1, height, width)).float()
    return images, torch.cat([images, labels], 1)


def build(name, loss="triplet", **options):
    torch.manual_seed(0)
    return build_model(name, num_classes=NUM_CLASSES, loss=loss, pretrained=False, **options)


def embed(model, images):
    with torch.no_grad():
        return model.eval()(images)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_training_outputs_and_embedding(name):
    model = build(name)
    images, batch = make_batch(2)
    outputs, features = model.train()(batch)
    heads = {"_g": 1, "_g_m": 1, "_g_m_sab": 2, "_g_m_sfb": 2 + NUM_PARTS, "_ab": 3 + NUM_PARTS}
    suffix = name.partition("_g")[1] + name.partition("_g")[2]
    suffix = "_ab" if name.endswith("_ab") else suffix
    assert [o.shape for o in outputs] == [(2, NUM_CLASSES)] * heads.get(suffix, 3 + NUM_PARTS)
    branch = model.adversarial_branch  # no triplet loss there
    without = branch.reduce.out_features if branch else 0
    assert sum(f.shape[1] for f in features) == model.embedding_size - without
    embedding = embed(model, images)
    assert embedding.shape == (2, model.embedding_size) and torch.isfinite(embedding).all()


@pytest.mark.parametrize(("strategy", "kept"), SAMPLINGS)
def test_sampling_strategies_are_options(strategy, kept):
    with torch.device("meta"):
        sampler = build("magnifiernet_r18", sampling=strategy, num_kept_regions=kept).sampler
    assert {len(sampler.sample()) - 1 for _ in range(20)} == {kept}
    assert len(sampler.groups) == (2 if strategy == "torso" else 1)


@pytest.mark.parametrize(
    ("name", "size"),
    [("magnifiernet", 4096), ("magnifiernet_g", 2048), ("magnifiernet_g_m_sfb", 3072)]
    + [
        ("magnifiernet_r18", 1024),
        ("magnifiernet_r18_g_m_sab", 768),
        ("magnifiernet_r18_ab", 1024),
    ],
)
def test_embedding_sizes_follow_the_backbone(name, size):
    assert build(name).embedding_size == size


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("height", "width"), [(16, 16), (80, 48), (32, 96)])
def test_one_image_of_any_size_equals_itself_in_a_batch(name, height, width):
    model = build(name)
    images, _ = make_batch(3, height, width)
    together, alone = embed(model, images), embed(model, images[1:2])
    assert alone.shape == (1, model.embedding_size)
    assert torch.allclose(alone[0], together[1], atol=1e-4)


@pytest.mark.parametrize("name", SMALL)
def test_featuremaps_are_stage_4(name):
    images, _ = make_batch(2)
    assert build(name).eval()(images, return_featuremaps=True).shape == (2, 512, 4, 2)


@pytest.mark.parametrize("name", SMALL)
def test_state_dict_round_trip_gives_the_same_embedding(name):
    model = build(name)
    images, batch = make_batch()
    model.train()(batch)  # moves the running statistics
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = build_model(name, num_classes=NUM_CLASSES, loss="triplet", pretrained=False)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(embed(model, images), embed(other, images))


@pytest.mark.parametrize("name", SMALL)
def test_copies_and_pickles_after_training(name):
    model = build(name)
    images, batch = make_batch()
    model.train()(batch)
    expected = embed(model, images)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(embed(other, images), expected)
        assert other.loss_log.history == model.loss_log.history


@pytest.mark.parametrize("name", SMALL)
def test_no_bnneck_has_a_bias_that_the_engine_could_thaw(name):
    model = build(name)
    torchreid_utils.open_all_layers(model)
    necks = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm1d)]
    assert necks and all([n for n, _ in neck.named_parameters()] == ["weight"] for neck in necks)


@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_learns(name):
    model = build(name).train()
    outputs, features = model(make_batch()[1])
    (sum(o.pow(2).sum() for o in outputs) + sum(f.pow(2).sum() for f in features)).backward()
    assert not [
        n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()
    ]


def test_complexity_is_computed_as_main_py_does():
    parameters, flops = torchreid_utils.compute_model_complexity(
        build("magnifiernet_r18"), (1, 3, 64, 32)
    )
    assert parameters > 1e7 and flops > 1e7


def test_open_layers_finds_the_classifier():
    model = build("magnifiernet_r18")
    torchreid_utils.open_specified_layers(model, ["classifier"])
    assert {n.split(".")[0] for n, p in model.named_parameters() if p.requires_grad} == {
        "classifier"
    }


@pytest.mark.parametrize("name", SMALL)
def test_inspection_shows_what_leads_to_the_embedding(name):
    model = build(name).eval()
    images, _ = make_batch(2)
    with torch.no_grad():
        seen = model.inspect(images)
    assert torch.equal(seen.vector, embed(model, images))
    assert {branch: maps.shape for branch, maps in seen.maps.items()} == {
        branch: (2, 512 if branch == "global" else 256, 4, 2) for branch in seen.branches
    }
    assert min(maps.min() for maps in seen.maps.values()) >= 0
    if name.endswith("_g"):
        assert seen.part_labels is None
    else:
        assert seen.part_labels.shape == (2, 8, 4) and seen.part_labels.dtype == torch.int64
        assert 0 <= seen.part_labels.min() and seen.part_labels.max() < NUM_PARTS
    if "fusion" not in seen.branches:
        assert seen.region_maps is None and seen.regions is None
        return
    # Eq. 1, once more: features times each map, and the maximum
    masked = seen.maps["fusion"].unsqueeze(1) * seen.region_maps.unsqueeze(2)
    assert torch.equal(seen.regions, masked.amax((3, 4)))


def test_inspection_is_for_evaluation():
    with pytest.raises(ValueError, match="is for evaluation: call model.eval"):
        build("magnifiernet_r18").train().inspect(make_batch(2)[0])
    with pytest.raises(ValueError, match="labels and textures are for training only"):
        build("magnifiernet_r18").eval().inspect(make_batch(2)[1])
    with pytest.raises(ValueError, match="divisible by 16, got 60x40"):
        build("magnifiernet_r18").eval().inspect(torch.zeros(1, 3, 60, 40))


def test_regions_at_inference_are_the_predicted_ones():
    model = build("magnifiernet_r18").eval()
    images, _ = make_batch(2)
    first = embed(model, images)
    with torch.no_grad():  # now every pixel is predicted to be a head
        model.mask_module.conv.weight.zero_()
        model.mask_module.conv.bias.copy_(torch.eye(NUM_PARTS)[1])
    second = embed(model, images)
    assert torch.equal(first[:, :768], second[:, :768])  # global and adversarial branch
    assert not torch.allclose(first[:, 768:], second[:, 768:])  # fusion branch


def test_a_seed_repeats_a_training_step():
    def step():
        torch.manual_seed(5)
        model = build_model(
            "magnifiernet_r18", num_classes=NUM_CLASSES, loss="triplet", pretrained=False
        )
        outputs, features = model.train()(make_batch()[1])
        return torch.cat([t.flatten() for t in outputs + features])

    assert torch.equal(step(), step())


def test_erased_regions_do_not_reach_the_adversarial_branch(monkeypatch):
    model = build("magnifiernet_r18").train()
    monkeypatch.setattr(model.sampler, "sample", lambda generator: [0, 1, 2, 5, 6])
    images, batch = make_batch()
    batch[:, 3, :, :16] = 7  # the left half is foot, which is erased
    batch[:, 3, :, 16:] = 2
    seen = []
    model.adversarial_branch.reduce.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    bottleneck = []
    model.adversarial_branch.bottleneck.register_forward_hook(lambda *a: bottleneck.append(a[2]))
    model(batch)
    assert torch.allclose(seen[0], bottleneck[0][..., 1].amax(2))  # 4x2 cells: the right column


# ------------------------------------------------------------------ what the log says


def test_loss_terms_can_be_read_and_the_epoch_is_printed(capsys):
    model = build("magnifiernet_r18", loss="triplet_sd")
    assert model.loss_log.last == {}
    model.train()
    seen = []
    for _ in range(2):
        model(make_batch()[1])
        seen.append(model.loss_log.last)
    assert set(seen[0]) == {"loss_mask", "mask_miou", "loss_sd"}
    assert seen[0]["loss_mask"] == pytest.approx(2.08, abs=0.8)  # about log 8: untrained
    model.eval()
    (epoch,) = model.loss_log.history
    for name, value in epoch.items():
        assert value == pytest.approx((seen[0][name] + seen[1][name]) / 2)
    printed = capsys.readouterr().out
    assert printed.startswith("* MagnifierNet epoch means: loss_mask ")
    assert f"loss_sd {epoch['loss_sd']:.4f}" in printed
    model.train().eval()
    assert capsys.readouterr().out == "" and len(model.loss_log.history) == 1


def test_attached_losses_follow_their_weights():
    def mask_gradient(mask_weight):
        model = build("magnifiernet_r18", mask_weight=mask_weight).train()
        torch.manual_seed(1)
        outputs, _ = model(make_batch()[1])
        (0 * sum(o.sum() for o in outputs)).backward()
        return model.mask_module.conv.weight.grad

    assert torch.allclose(mask_gradient(6.0), 3 * mask_gradient(2.0), rtol=1e-4)


def test_stage_2_adds_the_diversity_loss_alone():
    def region_gradient(loss, **options):
        model = build("magnifiernet_r18", loss=loss, **options).train()
        torch.manual_seed(1)
        outputs, _ = model(make_batch()[1])
        (0 * sum(o.sum() for o in outputs)).backward()
        return model.fusion_branch.bottleneck.conv3.weight.grad

    assert not region_gradient("triplet").any()
    assert not region_gradient("triplet_sd", sd_weight=0.0).any()
    once, twice = (region_gradient("triplet_sd", sd_weight=w) for w in (1.0, 2.0))
    assert once.any() and torch.allclose(twice, 2 * once, rtol=1e-4, atol=1e-9)


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize("name", WITH_MASKS)
def test_training_without_labels_names_the_datasets_to_take(name):
    with pytest.raises(ValueError) as error:
        build(name).train()(make_batch()[0])
    assert str(error.value) == (
        "Training this MagnifierNet needs a batch (N, 4, H, W) of RGB and part labels: take a "
        "dataset whose name ends in '_masks' as the source (data.sources ['market1501_masks']), "
        "got (4, 3, 64, 32)."
    )


@pytest.mark.parametrize("name", SMALL)
def test_labels_in_evaluation_are_an_error(name):
    with pytest.raises(ValueError) as error:
        build(name).eval()(make_batch()[1])
    assert str(error.value) == (
        "Evaluation of MagnifierNet needs a batch (N, 3, H, W) (labels and textures are for "
        "training only), got (4, 4, 64, 32)."
    )


def test_global_branch_alone_trains_with_and_without_labels():
    images, batch = make_batch()
    model = build("magnifiernet_r18_g").train()
    with_labels, without = model(batch)[1][0], model(images)[1][0]
    assert torch.equal(with_labels, without)
    with pytest.raises(ValueError) as error:
        model(torch.zeros(2, 5, 64, 32))
    assert str(error.value) == (
        "Training this MagnifierNet needs a batch (N, 3, H, W) or (N, 4, H, W) or (N, 9, H, W), "
        "got (2, 5, 64, 32)."
    )


@pytest.mark.parametrize(("height", "width"), [(60, 32), (64, 40), (0, 32)])
def test_sizes_that_16_does_not_divide_are_an_error(height, width):
    with pytest.raises(ValueError) as error:
        build("magnifiernet_r18").eval()(torch.zeros(1, 3, height, width))
    assert str(error.value) == (
        f"MagnifierNet needs a height and width divisible by 16, got {height}x{width}: set "
        "data.height and data.width."
    )


@pytest.mark.parametrize("value", [8.0, -1.0, 2.5, float("nan")])
def test_labels_out_of_range_or_between_are_an_error(value):
    _, batch = make_batch()
    batch[1, 3, 5, 5] = value
    with pytest.raises(ValueError) as error:
        build("magnifiernet_r18").train()(batch)
    assert str(error.value) == (
        "The fourth channel of a training batch must hold the part labels 0..7 as whole numbers, "
        f"found {value:g}: feed images through a '*_masks' dataset, which moves labels by nearest "
        "neighbours and never normalises them."
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            dict(loss="contrastive"),
            "Unknown loss 'contrastive': MagnifierNet knows softmax, triplet, triplet_sd.",
        ),
        (dict(num_classes=0), "num_classes must be at least 1, got 0."),
        (dict(mask=False), "SAB and SFB need the mask module: pass mask=True."),
        (
            dict(num_kept_regions=3),
            "Random-torso keeps num_kept / 2 regions of the upper and of the lower torso: "
            "num_kept must be even and from 2 to 6, got 3.",
        ),
        (
            dict(num_kept_regions=8),
            "Random-torso keeps num_kept / 2 regions of the upper and of the lower torso: "
            "num_kept must be even and from 2 to 6, got 8.",
        ),
        (
            dict(sampling="legs"),
            "Unknown sampling strategy 'legs': expected 'torso' (Random-torso) or 'baseline' "
            "(Random-baseline).",
        ),
        (
            dict(fusion="sum"),
            "Unknown fusion 'sum': expected one of ['gru', 'lstm', 'mean', 'concat'].",
        ),
        (
            dict(region_scaling="area"),
            "Unknown region_scaling 'area': expected one of ['bilinear', 'nearest'].",
        ),
        (
            dict(fusion=None, loss="triplet_sd"),
            "loss 'triplet_sd' needs the region features of the Semantic Fusion Branch, which this "
            "variant does not have: take loss 'triplet', or a variant with the branch.",
        ),
    ],
)
def test_bad_options_are_errors_at_construction(options, message):
    with pytest.raises(ValueError) as error:
        MagnifierNet(**{"num_classes": 3, "backbone": "resnet18", "pretrained": False} | options)
    assert str(error.value) == message


# ------------------------------------------------------------------ ImageNet weights


@pytest.fixture
def imagenet_folder(monkeypatch, tmp_path):
    """An empty weight cache and a network that is down."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def no_network(*args, **kwargs):
        raise OSError("network is down")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def test_missing_imagenet_weights_are_an_error_that_says_where_to_put_them(imagenet_folder):
    with pytest.raises(RuntimeError) as error:
        build_model("magnifiernet_r18", num_classes=3, pretrained=True)
    assert str(error.value) == (
        "pretrained=True needs torchvision's ImageNet weights of resnet18, which could not be "
        "loaded (OSError: network is down). Download "
        "https://download.pytorch.org/models/resnet18-f37072fd.pth and put it at "
        f"{imagenet_folder / 'resnet18-f37072fd.pth'} (replace a file that is already there: it "
        "may be damaged), or pass pretrained=False (main.py: model.pretrained False) to start from "
        "random weights."
    )


def test_damaged_imagenet_weights_are_an_error(imagenet_folder):
    (imagenet_folder / "resnet18-f37072fd.pth").write_bytes(b"half a download")
    with pytest.raises(RuntimeError, match="replace a file that is already there"):
        build_model("magnifiernet_r18", num_classes=3, pretrained=True)


def test_imagenet_weights_reach_the_backbone(imagenet_folder):
    resnet = torchvision.models.resnet18(weights=None)
    torch.save(resnet.state_dict(), imagenet_folder / "resnet18-f37072fd.pth")
    model = build_model("magnifiernet_r18", num_classes=3, pretrained=True)
    expected = {k: v for k, v in resnet.state_dict().items() if not k.startswith("fc.")}
    assert model.backbone.state_dict().keys() == expected.keys()
    assert all(torch.equal(v, expected[k]) for k, v in model.backbone.state_dict().items())


# ------------------------------------------------------------------ torchreid's tools


def test_torchreids_feature_extractor_takes_images_and_files(tmp_path):
    weights = tmp_path / "weights.pth"
    model = build("magnifiernet_r18")
    torch.save({"state_dict": model.state_dict()}, weights)
    extractor = torchreid_utils.FeatureExtractor(
        "magnifiernet_r18", str(weights), image_size=(64, 32), device="cpu", verbose=False
    )
    picture = np.random.default_rng(0).integers(0, 256, (80, 40, 3), dtype=np.uint8)
    path = str(tmp_path / "person.png")
    Image.fromarray(picture).save(path)
    from_file, from_array = extractor(path), extractor([picture, picture])
    assert from_file.shape == (1, 1024) and from_array.shape == (2, 1024)
    assert torch.allclose(from_file[0], from_array[1], atol=1e-4)
    assert torch.equal(from_file, embed(model, extractor.preprocess(Image.open(path))[None]))


def test_images_of_another_size_than_the_weights_know_are_warned_of(recwarn):
    model = build("magnifiernet_r18_g")
    model.trained_size = (64, 32)
    embed(model, torch.rand(1, 3, 64, 32))
    assert not recwarn.list
    with pytest.warns(UserWarning, match="trained on images of 64x32 .* is given 96x32"):
        embed(model, torch.rand(1, 3, 96, 32))
    recwarn.clear()
    embed(model, torch.rand(1, 3, 96, 32))  # said once
    assert not recwarn.list
