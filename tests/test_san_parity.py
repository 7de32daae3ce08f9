"""``san`` against numbers of the reference in float64 (see ``parity/san_recipe.py``)."""

import copy
import types
import zlib
from functools import cache

import plain
import pytest
import torch
import torch.nn.functional as F
import torchreid
from parity import san_recipe as recipe
from torchreid import engine as torchreid_engine

from torchreid_magnifier import convert_san_state_dict
from torchreid_magnifier.losses.decoder_triplet import DecoderTripletLoss
from torchreid_magnifier.models import build as build_model

TENSORS, NUMBERS = recipe.ARRAYS, recipe.NUMBERS
TOLERANCE = 1e-9  # relative; 1e-14 to 1e-11 were found
SMOOTHING = 1e-7  # torchreid's label smoothing computes its targets in float32
STEP_TOLERANCE = 0.01


def crc32(tensor):
    return zlib.crc32(tensor.numpy().tobytes())


def deviation(found, name):
    """Of the reference's largest value; ``found`` may be of the first images alone."""
    expected = TENSORS[name][: len(found)]
    assert found.shape == expected.shape
    return float((found.detach() - expected).abs().max() / expected.abs().max())


def close(found, name):
    """Within the tolerance of the reference's largest value."""
    assert deviation(found, name) < TOLERANCE, name


@cache
def our_names():
    """Every name of the reference, as in ``NUMBERS``, and what it is called here."""
    reference = list(NUMBERS["shapes"])
    marks = {name: torch.full(NUMBERS["shapes"][name], i) for i, name in enumerate(reference)}
    encoder, decoder = (
        {name.removeprefix(part): mark for name, mark in marks.items() if name.startswith(part)}
        for part in ("encoder.", "decoder.")
    )
    converted = convert_san_state_dict(encoder, decoder)
    return {reference[int(mark.flatten()[0])]: name for name, mark in converted.items()}


@pytest.fixture(scope="module")
def model():
    checkpoint = recipe.checkpoint()
    reference = {f"encoder.{n}": t for n, t in checkpoint["state_dict"].items()}
    reference |= {f"decoder.{n}": t for n, t in checkpoint["decoder_state_dict"].items()}
    for name, checksum in NUMBERS["state_crc32"].items():
        assert crc32(reference[name]) == checksum, f"the recipe gives other weights for {name}"
    model = build_model("san", recipe.NUM_CLASSES, "triplet", pretrained=False)
    model.load_state_dict(convert_san_state_dict(checkpoint), strict=True)
    return model.double()


# ------------------------------------------------------------------ evaluation


@pytest.fixture(scope="module")
def images():
    images = recipe.evaluation_images()
    assert crc32(images) == NUMBERS["input_crc32"]["eval"]
    return images.double()


def test_embedding_and_backbone(model, images):
    with torch.no_grad():
        close(model.eval()(images), "eval_v")
        stages = model.backbone(images)
    for stage, name in zip(stages, ("down1", "down2", "down3", "f"), strict=True):
        assert list(stage.shape) == NUMBERS["eval_shapes"][name]
        close(stage.mean((2, 3)), f"eval_{name}_mean")


def decode(model, images):
    with torch.no_grad():
        return model.eval().decode(images)


def deviations(decoded):
    """Of the texture, at every eighth pixel, and of the maps' means and standard deviations."""
    found = {"recon_s8": deviation(decoded.texture[:, :, 3::8, 5::8], "eval_recon_s8")}
    for level, maps in enumerate(decoded.maps, 1):
        found[f"sim{level}"] = max(
            deviation(maps.mean((2, 3)), f"eval_sim{level}_mean"),
            deviation(maps.std((2, 3), correction=0), f"eval_sim{level}_std"),
        )
    return found


def test_texture_and_maps_of_the_decoder(model, images):
    decoded = decode(model, images)
    assert list(decoded.texture.shape) == NUMBERS["eval_shapes"]["recon"]
    assert [list(maps.shape) for maps in decoded.maps] == NUMBERS["eval_shapes"]["sims"]
    assert max(deviations(decoded).values()) < TOLERANCE


# ------------------------------------------------------------------ training


def make_engine(model):
    """The stock engine with ``san_adam`` at the reference's learning rate, after its warm-up."""
    optimizer = torchreid.optim.build_optimizer(
        model, "san_adam", lr=8e-4, weight_decay=5e-4, adam_beta2=0.999
    )
    return torchreid_engine.ImageTripletEngine(
        types.SimpleNamespace(
            train_loader=None, test_loader=None, num_train_pids=recipe.NUM_CLASSES
        ),
        model,
        optimizer,
        margin=0.3,
        weight_t=1,
        weight_x=1,
        use_gpu=False,
        label_smooth=True,
    )


@pytest.fixture(scope="module")
def batch():
    images, textures = recipe.training_images(), recipe.training_textures()
    assert [crc32(images), crc32(textures)] == NUMBERS["input_crc32"]["train"]
    return torch.cat([images, *textures.chunk(2, 3)], 1)


@pytest.fixture(scope="module")
def step(model, batch):
    """One step of the engine in float64: outputs, losses, gradients of both streams."""
    model = copy.deepcopy(model).train()
    engine = make_engine(model)
    found = types.SimpleNamespace()
    names = {parameter: name for name, parameter in model.named_parameters()}

    def keep(module, inputs, outputs):
        (found.logits,), (found.feature,) = outputs
        gradients = engine.optimizer._gradients
        of_reconstruction = zip(model.parameters(), gradients, strict=True)
        found.of_reconstruction = {
            names[p]: gradient.clone() for p, gradient in of_reconstruction if gradient is not None
        }

    model.register_forward_hook(keep)
    model.decoder.register_forward_hook(lambda module, inputs, out: vars(found).update(decoded=out))
    found.summary = engine.forward_backward({"img": batch.double(), "pid": recipe.PIDS})
    found.terms = model.loss_log.last
    found.of_identity = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    found.buffers = dict(model.named_buffers())
    return found


def test_training_outputs(step):
    close(step.feature, "train_v")
    close(step.logits, "train_logits")
    close(step.decoded.texture[:, :, 3::8, 5::8], "train_recon_s8")
    for level, maps in enumerate(step.decoded.maps, 1):
        close(maps.mean((2, 3)), f"train_sim{level}_mean")


def test_every_training_loss(step):
    expected = NUMBERS["loss"]
    hinges = plain.constraint_terms([maps.detach() for maps in step.decoded.maps])
    found = {
        "ce": step.summary["loss_x"],
        "triplet": step.summary["loss_t"],
        "l1": step.terms["loss_l1"],
        "same_id": step.terms["loss_constraints"],
        **{f"con{level}": float(sum(hinges[level])) for level in hinges},
    }
    found["id_total"] = found["ce"] + found["triplet"]
    found["recon_total"] = found["l1"] + found["same_id"]
    found["sum_all"] = found["id_total"] + found["recon_total"]
    assert found.keys() == expected.keys() - {"ce_no_smoothing"}  # not the configured loss
    for name, value in found.items():
        assert value == pytest.approx(expected[name], rel=SMOOTHING, abs=1e-12), name


@pytest.mark.parametrize("stream", ["id", "recon", "both"])
def test_gradients(step, stream):
    of_identity, of_texture = step.of_identity, step.of_reconstruction
    found = {"id": of_identity, "recon": of_texture}.get(stream) or {
        name: of_identity.get(name, 0) + of_texture.get(name, 0)
        for name in of_identity.keys() | of_texture.keys()
    }
    reference, names = NUMBERS[f"grad_{stream}"], our_names()
    for name, norm in reference["norm"].items():
        gradient = found.get(names[name])
        if gradient is None:  # not reached by this stream
            assert norm in (0, None), name
            continue
        assert float(gradient.norm()) == pytest.approx(norm, rel=SMOOTHING), name
        values = pytest.approx(reference["first3"][name], rel=1e-5, abs=SMOOTHING * norm)
        assert gradient.flatten()[:3].tolist() == values, name
    for part in ("encoder", "decoder"):
        ours = [g for n, g in found.items() if n.startswith("decoder.") == (part == "decoder")]
        total = torch.stack([g.norm() for g in ours]).norm() if ours else torch.zeros(())
        assert float(total) == pytest.approx(reference[f"norm_{part}"], rel=SMOOTHING), part


def test_batch_statistics(step):
    names = our_names()
    for layer, expected in NUMBERS["bn_after"].items():
        ours = names[f"{layer}.running_mean"].removesuffix(".running_mean")
        buffers = step.buffers
        assert int(buffers[f"{ours}.num_batches_tracked"]) == expected["n"]
        for key in ("mean", "var"):
            found = buffers[f"{ours}.running_{key}"][:3].tolist()
            assert found == pytest.approx(expected[key], rel=TOLERANCE), (layer, key)


def test_three_steps_of_the_optimizer(model, batch):
    """By the engine and san_adam, as by the reference implementation's optimizers.

    In float32, whose gradients here are off by 0.5 % (SAN's network is deep, its batch small).
    """
    model = copy.deepcopy(model).float().train()
    start = {name: value.clone() for name, value in model.state_dict().items()}
    engine, names = make_engine(model), our_names()
    for expected in NUMBERS["steps"]["log"]:
        summary = engine.forward_backward({"img": batch, "pid": recipe.PIDS})
        identity = summary["loss_x"] + summary["loss_t"]
        assert identity == pytest.approx(expected["id"], rel=STEP_TOLERANCE)
        reconstruction = sum(model.loss_log.last.values())
        assert reconstruction == pytest.approx(expected["recon"], rel=STEP_TOLERANCE)
    end = model.state_dict()
    for name, expected in NUMBERS["steps"]["delta"].items():
        moved = end[names[name]] - start[names[name]]
        assert float(moved.norm()) == pytest.approx(expected["norm"], rel=STEP_TOLERANCE), name


# ------------------------------------------------------------------ constraints alone


@pytest.mark.parametrize("num_images", [8, 12, 16, 64])
def test_constraints_of_other_batches(num_images):
    """By a loop over the identities, with the images that the reference implementation names."""
    generator = torch.Generator().manual_seed(num_images)
    maps = [
        torch.rand(num_images, channels, 4, 2, generator=generator, dtype=torch.float64)
        for channels in (5, 4, 3, 2)
    ]
    terms = plain.constraint_terms(maps)
    assert all(len(of_level) == num_images // 4 - 1 for of_level in terms.values())
    expected = float(plain.constraints(maps))
    assert 0 < expected
    assert float(DecoderTripletLoss()(maps)) == pytest.approx(expected, rel=1e-12)
    assert float(DecoderTripletLoss(0.0)(maps)) < expected


# ------------------------------------------------------------------ problems
#
# Each of them is a way in which a copy of the decoder easily goes wrong.


def no_reflection(model, monkeypatch):
    for level in model.decoder.levels:
        level.enlarge[1] = torch.nn.ZeroPad2d(1)


def aligned_corners(model, monkeypatch):
    for level in model.decoder.levels:
        level.enlarge[0].align_corners = True


def corners_of_the_texture_not_aligned(model, monkeypatch):
    resize = F.interpolate

    def interpolate(x, size=None, *rest, **options):
        return resize(x, size, *rest, **options | ({"align_corners": False} if size else {}))

    monkeypatch.setattr(F, "interpolate", interpolate)


def leaky(model, monkeypatch):
    monkeypatch.setattr("torchreid_magnifier.models.san.decoder.F.relu", F.leaky_relu)


def no_skips(model, monkeypatch):
    for skip in model.decoder.skips:
        skip.forward = lambda stage: 0.0


def another_eps(model, monkeypatch):
    for module in model.decoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 1e-3


def no_residual(model, monkeypatch):
    for level in model.decoder.levels:
        level.forward = lambda x, level=level: level.enlarge(F.relu(level.residual(x)))


def test_without_a_fault_single_precision_shows_none(model, images):
    decoded = decode(copy.deepcopy(model).float(), images[:1].float())
    assert max(deviations(decoded).values()) < 1e-4


@pytest.mark.parametrize(
    ("problem", "first_wrong"),
    [
        (no_reflection, "sim1"),
        (aligned_corners, "sim1"),
        (corners_of_the_texture_not_aligned, "recon_s8"),
        (leaky, "sim1"),
        (no_skips, "sim1"),
        (another_eps, "sim1"),
        (no_residual, "sim1"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_fault_shows(model, images, monkeypatch, problem, first_wrong):
    model = copy.deepcopy(model).float()
    images = images[:1].float()
    problem(model, monkeypatch)
    found = deviations(decode(model, images))
    order = ["sim1", "sim2", "sim3", "sim4", "recon_s8"]
    wrong = [name for name in order if found[name] > 1e-4]
    assert wrong == order[order.index(first_wrong) :]


def test_an_encoder_without_its_last_relu_shows(model, images):
    model = copy.deepcopy(model).float().eval()
    model.fc[2] = torch.nn.Identity()
    with torch.no_grad():
        assert deviation(model(images.float()), "eval_v") > 1e-4
