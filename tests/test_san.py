"""The contract of every SAN variant, and what each one learns from."""

import copy
import io
import pickle

import pytest
import torch
from torchreid import models as torchreid_models
from torchreid import utils as torchreid_utils

from torchreid_magnifier import SAN
from torchreid_magnifier.models import build as build_model
from torchreid_magnifier.models import list_models

NUM_CLASSES = 3
SMALL = [name for name in list_models("san*") if "_r18" in name]
WITH_DECODER = [name for name in SMALL if not name.endswith("_encoder")]


def build(name="san_r18", loss="triplet", **options):
    torch.manual_seed(0)
    return build_model(name, NUM_CLASSES, loss=loss, pretrained=False, **options)


def make_batch(num_images=8, height=64, width=32):
    """RGB, and RGB with the texture's halves."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(num_images, 3, height, width, generator=generator)
    texture = 2 * torch.rand(num_images, 6, height, width, generator=generator) - 1
    return images, torch.cat([images, texture], 1)


def embed(model, images):
    with torch.no_grad():
        return model.eval()(images)


# ------------------------------------------------------------------ contract


def test_names():
    suffixes = ("", "_encoder", "_reconstruction", "_pg")
    assert list_models("san*")[:8] == [
        n + suffix for n in ("san", "san_r18") for suffix in suffixes
    ]


@pytest.mark.parametrize("name", SMALL)
def test_training_outputs(name):
    _, batch = make_batch()
    (logits,), (feature,) = build(name).train()(batch)
    assert logits.shape == (8, NUM_CLASSES) and feature.shape == (8, 512)
    (softmax,) = build(name, loss="softmax").train()(batch)
    assert softmax.shape == (8, NUM_CLASSES)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("height", "width"), [(64, 32), (48, 80)])
def test_one_image_equals_itself_in_a_batch(name, height, width):
    model = build(name)
    images, _ = make_batch(3, height, width)
    together, alone = embed(model, images), embed(model, images[1:2])
    assert alone.shape == (1, 512) == (1, model.embedding_size)
    assert (together >= 0).all() and together.any()
    assert torch.allclose(alone[0], together[1], atol=1e-4)


@pytest.mark.parametrize("name", SMALL)
def test_feature_maps_and_inspection(name):
    model = build(name).eval()
    images, _ = make_batch(2)
    with torch.no_grad():
        stage4 = model(images, return_featuremaps=True)
        seen = model.inspect(images)
    assert stage4.shape == (2, 512, 4, 2)
    assert torch.equal(seen.vector, embed(model, images))
    assert torch.equal(seen.maps["global"], stage4)
    assert seen.part_labels is seen.region_maps is seen.regions is None


@pytest.mark.parametrize("name", SMALL)
def test_state_dict_round_trip_gives_the_same_embedding(name):
    model = build(name)
    images, batch = make_batch()
    model.train()(batch)  # moves the running statistics
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = build_model(name, NUM_CLASSES, "triplet", pretrained=False)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(embed(model, images), embed(other, images))


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("name", WITH_DECODER)
def test_copies_and_pickles_after_training(name, separate):
    model = build(name)
    images, batch = make_batch()
    received = []
    receive = received.append
    if separate:
        model.redirect_losses(receive)
    model.train()(batch)
    expected = embed(model, images)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(embed(other, images), expected)
        assert other.loss_log.history == model.loss_log.history
        other.train()(batch)  # a copy attaches its losses: the receiver is not its own
    assert len(received) == separate


@pytest.mark.parametrize("name", WITH_DECODER)
def test_the_losses_of_the_decoder_are_reported(name, capsys):
    model = build(name).train()
    model(make_batch()[1])
    terms = {"loss_l1"} | ({"loss_constraints"} if name in ("san_r18", "san_r18_bf16") else set())
    assert model.loss_log.last.keys() == terms
    model.eval()
    assert capsys.readouterr().out.startswith("* SAN epoch means: loss_l1 ")


def test_of_the_paper_size_on_meta():
    with torch.device("meta"):
        model = torchreid_models.build_model("san", 767, loss="triplet", pretrained=False)
    assert isinstance(model, SAN)
    sizes = {
        name: sum(p.numel() for p in child.parameters())
        for name, child in model.named_children()
        if list(child.parameters())
    }
    assert sizes["backbone"] + sizes["fc"] == 24_558_144
    assert sizes["classifier"] == 393_471
    assert sizes["decoder"] == 9_071_075


# ------------------------------------------------------------------ the decoder


@pytest.mark.parametrize("name", WITH_DECODER)
def test_the_decoder_never_runs_in_evaluation(name):
    model = build(name).eval()
    images, _ = make_batch(1)
    calls = []
    model.decoder.register_forward_hook(lambda *arguments: calls.append(1))
    embed(model, images)
    model.inspect(images)
    model(images, return_featuremaps=True)
    assert not calls
    model.decode(images)
    assert calls == [1]
    # So the embedding costs what it costs without a decoder.
    cost = [
        torchreid_utils.compute_model_complexity(network, (1, 3, 64, 32))[1]
        for network in (model, build("san_r18_encoder").eval())
    ]
    assert cost[0] == cost[1] > 0


@pytest.mark.parametrize("name", WITH_DECODER)
def test_texture_and_maps(name):
    model = build(name).eval()
    with torch.no_grad():
        decoded = model.decode(make_batch(2)[0])
    assert decoded.texture.shape == (2, 3, 64, 64)
    shapes = [(128, 8, 4), (32, 16, 8), (16, 32, 16), (8, 64, 32)]
    assert [maps.shape for maps in decoded.maps] == [(2, *shape) for shape in shapes]


def test_the_decoder_learns_to_draw_a_texture():
    model = build("san_r18_reconstruction").train()
    _, batch = make_batch(4, 32, 32)
    batch[:, 3:] = torch.linspace(-0.8, 0.8, 6)[None, :, None, None]
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(25):
        (logits,), (feature,) = model(batch)
        losses.append(model.loss_log.last["loss_l1"])
        optimizer.zero_grad()
        (0 * (logits.sum() + feature.sum())).backward()
        optimizer.step()
    assert losses[-1] < 0.75 * losses[0]


# ------------------------------------------------------------------ what is learnt from what


def gradients(name, weight):
    """Of each child of the model, with the engine's losses times ``weight``."""
    model = build(name).train()
    (logits,), (feature,) = model(make_batch()[1])
    (weight * (logits.logsumexp(1).sum() + feature.pow(2).sum())).backward()
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", SMALL)
def test_what_learns_from_identities(name):
    """san_pg nothing at all; the decoder of no variant; backbone and embedding of the others."""
    without, with_identities = gradients(name, 0.0), gradients(name, 10.0)
    changed = {n.split(".")[0] for n in without if not torch.equal(without[n], with_identities[n])}
    everything = {"backbone", "fc", "classifier"}
    assert changed == (set() if name.endswith("_pg") else everything)
    learns = {n.split(".")[0] for n, gradient in without.items() if gradient.any()}
    assert learns == (set() if name.endswith("_encoder") else {"backbone", "decoder"})


# ------------------------------------------------------------------ mistakes


@pytest.mark.parametrize("name", WITH_DECODER)
def test_training_without_textures(name):
    images, batch = make_batch()
    model = build(name).train()
    with pytest.raises(ValueError, match=r"needs a batch \(N, 9, H, W\).*market1501_textures"):
        model(images)
    with pytest.raises(ValueError, match=r"Evaluation .* \(N, 3, H, W\).* got \(8, 9, 64, 32\)"):
        model.eval()(batch)


def test_the_encoder_takes_images_with_and_without_textures():
    images, batch = make_batch()
    model = build("san_r18_encoder").train()
    assert torch.equal(model(images)[0][0], model(batch)[0][0])
    with pytest.raises(ValueError, match=r"\(N, 3, H, W\) or .* \(N, 9, H, W\)"):
        model(batch[:, :5])


@pytest.mark.parametrize(("height", "width"), [(60, 32), (64, 40), (0, 32)])
def test_wrong_sizes(height, width):
    with pytest.raises(ValueError, match=f"divisible by 16, got {height}x{width}"):
        build().eval()(torch.zeros(1, 3, height, width))


def test_textures_out_of_range():
    _, batch = make_batch()
    batch[3, 7, 5, 5] = 1.5
    with pytest.raises(ValueError, match=r"a texture in \[-1, 1\], found 1.5"):
        build().train()(batch)


@pytest.mark.parametrize("num_images", [4, 6])
def test_batches_that_are_no_groups_of_four(num_images):
    _, batch = make_batch(num_images)
    with pytest.raises(ValueError, match=f"at least two identities, got {num_images} images"):
        build().train()(batch)
    build("san_r18_reconstruction").train()(batch)  # which has no constraints


def test_unknown_losses_and_no_identities():
    with pytest.raises(ValueError, match="SAN knows softmax, triplet"):
        build(loss="triplet_sd")
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        SAN(0, pretrained=False)


def test_inspection_and_textures_are_for_evaluation():
    model = build().train()
    images, _ = make_batch(1)
    for look in (model.inspect, model.decode):
        with pytest.raises(ValueError, match="call model.eval"):
            look(images)
    with pytest.raises(ValueError, match="has no decoder"):
        build("san_r18_encoder").eval().decode(images)
