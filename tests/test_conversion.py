"""Checkpoints of the reference: what is converted, what is left out, what is refused."""

import numpy as np
import pytest
import torch
from parity import recipe, san_recipe
from torchreid import models as torchreid_models
from torchreid import utils as torchreid_utils

from torchreid_magnifier import CheckpointError, convert_official_state_dict, convert_san_state_dict
from torchreid_magnifier.cli import main
from torchreid_magnifier.inference.open import open_network


def reference(num_classes=5):
    """A state dict by the reference's names, of that many identities, random but well behaved."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, shape in recipe.NUMBERS["shapes"].items():
        if name.startswith("classifier"):
            shape = [num_classes, *shape[1:]]
        if name.endswith("num_batches_tracked"):
            tensors[name] = torch.tensor(7)
        elif name.endswith("running_var"):
            tensors[name] = torch.ones(shape)
        else:
            tensors[name] = 0.02 * torch.randn(shape, generator=generator)
    return tensors


@pytest.fixture(scope="module")
def state_dict():
    return reference()


@pytest.fixture
def checkpoint(tmp_path, state_dict):
    path = tmp_path / "resnet50_model_500.pth"
    torch.save(state_dict, path)
    return path


def build(num_classes=5):
    return torchreid_models.build_model(
        "magnifiernet_official", num_classes=num_classes, loss="triplet", pretrained=False
    )


def test_every_tensor_of_the_model_comes_from_the_file(state_dict):
    converted = convert_official_state_dict(state_dict)
    model = build()
    model.load_state_dict(converted, strict=True)
    assert len(converted) == len(state_dict) == len(model.state_dict())
    assert sorted(t.double().sum().item() for t in converted.values()) == pytest.approx(
        sorted(t.double().sum().item() for t in state_dict.values())
    )
    weight = state_dict["classifier_part.6.weight"]
    assert torch.equal(model.classifier["region_lower_leg"].weight, weight)


def test_the_input_is_left_alone(state_dict):
    before = dict(state_dict)
    convert_official_state_dict(state_dict)
    assert state_dict.keys() == before.keys()
    assert all(state_dict[name] is before[name] for name in before)


def test_data_parallel_prefixes(state_dict):
    plain = convert_official_state_dict(state_dict)
    prefixed = convert_official_state_dict({f"module.{n}": t for n, t in state_dict.items()})
    assert all(torch.equal(prefixed[name], plain[name]) for name in plain)


def test_command(checkpoint, state_dict, tmp_path, capsys):
    out = tmp_path / "converted.pth"
    assert main(["convert", str(checkpoint), str(out)]) == 0
    printed = capsys.readouterr().out
    assert f"Wrote {out}: 444 tensors, 5 training identities." in printed
    assert "attribute" not in printed
    loaded = torch.load(out, weights_only=True)
    assert all(
        torch.equal(loaded[n], t) for n, t in convert_official_state_dict(state_dict).items()
    )
    model = build()
    model.load_state_dict(loaded, strict=True)
    # As torchreid loads it, into a model of other identities.
    other = build(num_classes=3)
    torchreid_utils.load_pretrained_weights(other, str(out))
    assert "Kept the model's own values for 22 classifier entries" in capsys.readouterr().out
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        assert torch.equal(model.eval()(images), other.eval()(images))


def test_the_attribute_head_is_left_out_and_said(state_dict, tmp_path, capsys, recwarn):
    attributes = {
        "base.class_attr.masks.weight": torch.zeros(4, 2048, 1, 1),
        "base.class_attr.clf_gen.bias": torch.zeros(5),
    }
    path = tmp_path / "market.pth"
    torch.save({f"module.{n}": t for n, t in (state_dict | attributes).items()}, path)
    assert main(["convert", str(path), str(tmp_path / "out.pth")]) == 0
    assert "Left out the attribute head (2 tensors, base.class_attr.*)" in capsys.readouterr().out
    build().load_state_dict(torch.load(tmp_path / "out.pth", weights_only=True), strict=True)
    assert not recwarn  # the command prints it among its own lines
    with pytest.warns(UserWarning, match="Left out the attribute head"):
        convert_official_state_dict(state_dict | attributes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: d.pop("base.part.lstm.weight_hh_l0"),
            "1 missing (base.part.lstm.weight_hh_l0)",
        ),
        (
            lambda d: d.update({"base.part.dim_reducer.0.weight": torch.zeros(1)}),
            "1 not known (base.part.dim_reducer.0.weight)",
        ),
        (
            lambda d: d.update({"base.feat_bn.weight": torch.zeros(256)}),
            "1 of another shape (base.feat_bn.weight (256,) instead of (2048,))",
        ),
        (
            lambda d: d.update({"classifier.weight": torch.tensor(1.0)}),
            "classifier.weight () instead of (1, 2048)",
        ),
        (
            lambda d: d.update({"classifier_mask.bias": torch.zeros(4)}),
            "classifier_mask.bias (4,) instead of (5,)",
        ),
    ],
    ids=["missing", "unknown", "misshapen", "scalar", "identities"],
)
def test_other_checkpoints_are_refused_by_name(state_dict, change, message):
    changed = dict(state_dict)
    change(changed)
    with pytest.raises(CheckpointError) as error:
        convert_official_state_dict(changed)
    assert message in str(error.value)


def test_a_plain_resnet_is_refused(tmp_path, capsys):
    path, out = tmp_path / "resnet.pth", tmp_path / "out.pth"
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7), "fc.bias": torch.zeros(10)}, path)
    assert main(["convert", str(path), str(out)]) == 2
    error = capsys.readouterr().err
    assert "444 missing (base.feat_bn.bias, " in error
    assert "2 not known (conv1.weight, fc.bias)" in error
    assert not out.exists()


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_file_with_code_is_refused_unrun(tmp_path, capsys):
    path, trace = tmp_path / "evil.pth", tmp_path / "trace"
    torch.save({"base.model.conv1.weight": Payload(trace)}, path)
    assert main(["convert", str(path), str(tmp_path / "out.pth")]) == 2
    assert "cannot be read" in capsys.readouterr().err
    assert not trace.exists()


def test_out_is_never_overwritten(checkpoint, tmp_path, capsys):
    out = tmp_path / "mine.pth"
    out.write_bytes(b"mine")
    assert main(["convert", str(checkpoint), str(out)]) == 2
    assert f"{out} exists already" in capsys.readouterr().err
    assert out.read_bytes() == b"mine"


def test_paths_that_do_not_exist(checkpoint, tmp_path, capsys):
    assert main(["convert", str(tmp_path / "no.pth"), str(tmp_path / "out.pth")]) == 2
    assert f'There is no checkpoint "{tmp_path / "no.pth"}"' in capsys.readouterr().err
    assert main(["convert", str(checkpoint), str(tmp_path / "no" / "out.pth")]) == 2
    assert f"there is no folder {tmp_path / 'no'}" in capsys.readouterr().err


# ------------------------------------------------------------------ SAN


@pytest.fixture(scope="module")
def san():
    """A checkpoint as SAN's reference implementation saves it, of 5 identities."""
    return {**san_recipe.checkpoint(num_classes=5), "rank1": np.float64(0.5), "epoch": 299}


def prefixed(tensors):
    return {f"module.{name}": tensor for name, tensor in tensors.items()}


def build_san(name="san", num_classes=5):
    return torchreid_models.build_model(name, num_classes, loss="triplet", pretrained=False)


def test_san_every_tensor_comes_from_the_file(san):
    encoder, decoder = san["state_dict"], san["decoder_state_dict"]
    converted = convert_san_state_dict(encoder, decoder)
    build_san().load_state_dict(converted, strict=True)
    assert len(converted) == len(encoder) + len(decoder) == 413
    for ours, theirs in (
        ("backbone.layer4.2.bn3.running_var", encoder["layer4.2.bn3.running_var"]),
        ("fc.0.weight", encoder["fc.0.weight"]),
        ("decoder.skips.0.0.weight", decoder["embed_layer3.0.weight"]),
        ("decoder.levels.3.enlarge.2.bias", decoder["up4.conv.2.bias"]),
    ):
        assert converted[ours] is theirs
    for same in (
        convert_san_state_dict(san),
        convert_san_state_dict(prefixed(encoder), prefixed(decoder)),
    ):
        assert same.keys() == converted.keys()
        assert all(same[name] is converted[name] for name in converted)


def test_san_the_encoder_alone(san):
    converted = convert_san_state_dict(san["state_dict"])
    build_san("san_encoder").load_state_dict(converted, strict=True)
    assert len(converted) == 327


def test_san_command(san, tmp_path, capsys):
    path, out = tmp_path / "checkpoint_ep300.pth.tar", tmp_path / "san.pth"
    torch.save(san | {"decoder_state_dict": prefixed(san["decoder_state_dict"])}, path)
    assert main(["convert", str(path), str(out)]) == 0
    printed = capsys.readouterr().out
    assert f"Wrote {out}: 413 tensors, 5 training identities." in printed
    assert "model.name san " in printed and "data.height 256 data.width 128" in printed
    # As it is opened for search, without the identities of its training.
    network = open_network(str(out), "san", 256, 128)
    model = build_san()
    model.load_state_dict(torch.load(out, weights_only=True), strict=True)
    images = torch.randn(1, 3, 64, 32)
    with torch.no_grad():
        assert torch.equal(model.eval()(images), network.model(images))
    assert network.model.embedding_size == 512 and network.card.model == "san"


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("state_dict", lambda d: d.pop("layer3.5.bn2.bias"), "1 missing (layer3.5.bn2.bias)"),
        ("decoder_state_dict", lambda d: d.pop("up2.res.res.3.weight"), "1 missing (decoder.up2."),
        (
            "decoder_state_dict",
            lambda d: d.update({"up5.conv.2.bias": torch.zeros(1)}),
            "1 not known (decoder.up5.conv.2.bias)",
        ),
        (
            "decoder_state_dict",
            lambda d: d.update({"final_layer.1.weight": torch.zeros(3, 8, 7, 7)}),
            "1 of another shape (decoder.final_layer.1.weight (3, 8, 7, 7) instead of "
            "(3, 16, 7, 7))",
        ),
        (
            "state_dict",
            lambda d: d.update({"classifier.bias": torch.zeros(4)}),
            "classifier.bias (4,) instead of (5,)",
        ),
        ("decoder_state_dict", lambda d: d.clear(), "86 missing (decoder.embed_layer1.0.bias, "),
    ],
    ids=["missing", "missing in the decoder", "unknown", "misshapen", "identities", "empty"],
)
def test_san_other_checkpoints_are_refused_by_name(san, tmp_path, capsys, part, change, message):
    changed = san | {part: dict(san[part])}
    change(changed[part])
    with pytest.raises(CheckpointError) as error:
        convert_san_state_dict(changed)
    assert message in str(error.value)
    path, out = tmp_path / "in.pth", tmp_path / "out.pth"
    torch.save(changed, path)
    assert main(["convert", str(path), str(out)]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()
