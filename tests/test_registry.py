"""What torchreid offers once this package is registered, in whichever of its two layouts."""

import importlib
import inspect
import sys

import numpy as np
import pytest
import torch
import torchreid
from torch import nn

import torchreid_magnifier
from torchreid_magnifier import CheckpointError, WarmupMultiStepLR, registry
from torchreid_magnifier.models import SAN, MagnifierNet, list_models

MODEL_NAMES = vars(torchreid.models)["__model_factory"]
SCALARS = torch.__version__ >= "2.6"  # older ones refuse numpy's among the weights
DATASETS = torchreid.data.register_image_dataset.__globals__["__image_datasets"]


def build(name="magnifiernet_r18", num_classes=3, loss="softmax"):
    return torchreid.models.build_model(name, num_classes, loss=loss, pretrained=False)


def state() -> dict:
    """Everything that registering touches, except the wrappers."""
    return {
        "models": dict(MODEL_NAMES),
        "datasets": dict(DATASETS),
        "losses": dict(vars(torchreid.losses)),
        "schedules": list(torchreid.optim.lr_scheduler.AVAI_SCH),
        "optimizers": list(torchreid.optim.optimizer.AVAI_OPTIMS),
        "originals": [
            torchreid.optim.build_lr_scheduler.torchreid_original,
            torchreid.optim.build_optimizer.torchreid_original,
            torchreid.utils.load_pretrained_weights.torchreid_original,
            torchreid.utils.resume_from_checkpoint.torchreid_original,
        ],
    }


# ---------------------------------------------------------------------- what is there


def test_models():
    assert {"magnifiernet", "magnifiernet_r18"} <= set(list_models()) <= set(MODEL_NAMES)
    assert isinstance(build(), MagnifierNet) and isinstance(build("san_r18"), SAN)
    with pytest.raises(KeyError) as error:
        build("magnifiernet_r34")
    assert error.value.args == (
        f"Unknown model: magnifiernet_r34. Must be one of {registry.model_names()}",
    )
    assert {"resnet50", "magnifiernet_r18_g"} <= set(registry.model_names())


def test_names_of_datasets_are_all_names():
    torchreid.data.register_image_dataset("my-set", torchreid.data.ImageDataset)
    try:
        assert {"market1501", "market1501_masks", "my-set"} <= set(registry.dataset_names())
    finally:
        del DATASETS["my-set"]


def test_losses():
    assert torchreid.losses.SemanticDiversityLoss is torchreid_magnifier.SemanticDiversityLoss
    assert torchreid.losses.PartSegmentationLoss is torchreid_magnifier.PartSegmentationLoss


@pytest.mark.parametrize("suffix", ["_masks", "_textures"])
def test_every_image_dataset_has_its_masks_and_textures(suffix):
    plain = [name for name in DATASETS if not name.endswith(("_masks", "_textures"))]
    names = [name for name in plain if not name.startswith("test_")]  # those of other tests
    assert {"market1501", "cuhk03", "dukemtmcreid", "msmt17", "synthetic_pedestrians"} <= set(names)
    assert "synthetic_pedestrians_occluded" in names
    for name in names:
        extended = DATASETS[name + suffix]
        assert issubclass(extended, DATASETS[name]) and extended is not DATASETS[name]
        assert not {name + suffix + other for other in ("_masks", "_textures")} & set(DATASETS)


def test_a_dataset_of_the_users_own_gets_sidecar_files_when_registered_again():
    class Mine(torchreid.data.ImageDataset):
        pass

    torchreid.data.register_image_dataset("mine", Mine)
    try:
        torchreid_magnifier.register()
        assert issubclass(DATASETS["mine_masks"], Mine)
        assert issubclass(DATASETS["mine_textures"], Mine)
    finally:
        for name in ("mine", "mine_masks", "mine_textures"):
            DATASETS.pop(name, None)


# ---------------------------------------------------------------------- once is enough


def test_registering_again_changes_nothing():
    before = state()
    torchreid_magnifier.register()
    registry.register()
    assert state() == before


@pytest.mark.parametrize("name", ["torchreid_magnifier.registry", "torchreid_magnifier"])
def test_reloading_changes_nothing(name):
    before = state()
    importlib.reload(sys.modules[name]).register()
    assert state() == before
    assert not hasattr(
        torchreid.utils.load_pretrained_weights.torchreid_original, "torchreid_original"
    )


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (torchreid.optim, "build_lr_scheduler"),
        (torchreid.optim, "build_optimizer"),
        (torchreid.utils, "load_pretrained_weights"),
        (torchreid.utils, "resume_from_checkpoint"),
    ],
)
def test_extended_functions_look_like_torchreids_own(place, name):
    extended = getattr(place, name)
    original = extended.torchreid_original
    assert original.__module__.startswith("torchreid.")
    assert extended.__doc__ == original.__doc__ and extended.__module__ == original.__module__
    own = inspect.signature(extended, follow_wrapped=False).parameters
    if own.keys() == {"args", "kwargs"}:  # whatever torchreid takes
        own = inspect.signature(extended).parameters
    torchreids = inspect.signature(original).parameters.values()
    assert [(p.name, p.default) for p in own.values()] == [(p.name, p.default) for p in torchreids]


# ---------------------------------------------------------------------- the schedule


def make_optimizer():
    return torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=0.1)


def test_warmup_multi_step():
    schedule = torchreid.optim.build_lr_scheduler(
        make_optimizer(), lr_scheduler="warmup_multi_step", stepsize=[40, 70], gamma=0.2
    )
    assert isinstance(schedule, WarmupMultiStepLR)
    assert (schedule.milestones, schedule.gamma) == ([40, 70], 0.2)
    assert (schedule.warmup_factor, schedule.warmup_epochs) == (0.01, 10)
    short = torchreid.optim.build_lr_scheduler(
        make_optimizer(), "warmup_multi_step", [20, 30], 0.1, 60
    )
    assert short.warmup_epochs == 5
    exponential = torchreid.optim.build_lr_scheduler(
        make_optimizer(), "exponential_warmup_multi_step", [60, 100], 0.5
    )
    assert (exponential.warmup_method, exponential.warmup_epochs) == ("exponential", 20)
    assert (exponential.warmup_factor, exponential.gamma) == (0.01, 0.5)


@pytest.mark.parametrize("stepsize", [20, (20, 30)])
def test_warmup_multi_step_needs_a_list(stepsize):
    with pytest.raises(TypeError) as error:
        torchreid.optim.build_lr_scheduler(make_optimizer(), "warmup_multi_step", stepsize)
    assert str(error.value) == (
        "For warmup_multi_step lr_scheduler, stepsize must be a list of epochs, "
        f"but got {type(stepsize)}"
    )


def test_torchreids_own_schedules_are_as_before():
    build_lr_scheduler = torchreid.optim.build_lr_scheduler
    single = build_lr_scheduler(make_optimizer(), stepsize=7, gamma=0.3)
    assert (type(single), single.step_size) == (torch.optim.lr_scheduler.StepLR, 7)
    multi = build_lr_scheduler(make_optimizer(), "multi_step", stepsize=[2, 5])
    assert type(multi) is torch.optim.lr_scheduler.MultiStepLR
    cosine = build_lr_scheduler(make_optimizer(), lr_scheduler="cosine", max_epoch=9)
    assert cosine.T_max == 9
    with pytest.raises(ValueError) as error:
        build_lr_scheduler(make_optimizer(), "no_such_schedule")
    assert str(error.value) == (
        "Unsupported scheduler: no_such_schedule. Must be one of "
        "['single_step', 'multi_step', 'cosine', 'warmup_multi_step', "
        "'exponential_warmup_multi_step']"
    )


# ---------------------------------------------------------------------- checkpoints


def save(model, folder, epoch=4, optimizer=None, scheduler=None) -> str:
    """As torchreid's engine saves: rank-1 is a numpy scalar."""
    content = {"state_dict": model.state_dict(), "epoch": epoch, "rank1": np.float32(0.5)}
    if optimizer is not None:
        content["optimizer"] = optimizer.state_dict()
        content["scheduler"] = scheduler.state_dict()
    torchreid.utils.save_checkpoint(content, str(folder))
    return str(folder / f"model.pth.tar-{epoch}")


def test_torchreids_own_checkpoint_loads_again(tmp_path):
    path = save(nn.Linear(2, 3), tmp_path)
    assert torchreid.utils.load_checkpoint(path)["rank1"] == 0.5
    assert torch.load(path, weights_only=SCALARS)["rank1"] == 0.5


def test_stage_two_starts_from_stage_one(tmp_path):
    first, second = build(loss="triplet"), build(loss="triplet_sd")
    torchreid.utils.load_pretrained_weights(second, save(first, tmp_path))
    theirs = first.state_dict()
    assert all(torch.equal(t, theirs[name]) for name, t in second.state_dict().items())


def test_stage_two_refuses_another_model(tmp_path):
    path = save(build("magnifiernet_r18_g"), tmp_path)
    for model in (build(), nn.DataParallel(build())):
        with pytest.raises(CheckpointError, match="is a checkpoint of another model"):
            torchreid.utils.load_pretrained_weights(model, path)


def test_torchreids_models_load_as_torchreid_loads_them(tmp_path):
    model = nn.Linear(2, 3)
    path = save(nn.Linear(5, 3), tmp_path)
    torchreid.utils.load_pretrained_weights(model, path)  # the bias fits, the weight is skipped
    assert torch.equal(model.bias, torch.load(path, weights_only=SCALARS)["state_dict"]["bias"])


def test_feature_extractor(tmp_path):
    path = save(build(num_classes=5), tmp_path)

    def extractor(name):
        return torchreid.utils.FeatureExtractor(
            name, path, image_size=(64, 32), device="cpu", verbose=False
        )

    features = extractor("magnifiernet_r18")([np.full((80, 40, 3), 128, np.uint8)] * 2)
    assert features.shape == (2, build().embedding_size) and torch.isfinite(features).all()
    with pytest.raises(CheckpointError, match="is a checkpoint of another model"):
        extractor("magnifiernet_r18_g")


def training(stepsize):
    model = build("magnifiernet_r18_g")
    optimizer = torchreid.optim.build_optimizer(model, optim="adam", lr=0.1)
    scheduler = torchreid.optim.build_lr_scheduler(optimizer, "warmup_multi_step", stepsize)
    return model, optimizer, scheduler


def test_resume(tmp_path):
    model, optimizer, scheduler = training([8, 10])
    for _ in range(9):
        optimizer.step()
        scheduler.step()
    path = save(model, tmp_path, 9, optimizer, scheduler)

    resumed, optimizer, scheduler = training([8, 10])
    epoch = torchreid.utils.resume_from_checkpoint(path, resumed, optimizer, scheduler)
    assert epoch == scheduler.last_epoch == 9
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01)
    theirs = model.state_dict()
    assert all(torch.equal(t, theirs[name]) for name, t in resumed.state_dict().items())


def test_resume_refuses_another_model_and_a_file_cut_short(tmp_path):
    path = save(build("magnifiernet_r18_g"), tmp_path)
    with pytest.raises(CheckpointError, match="is a checkpoint of another model"):
        torchreid.utils.resume_from_checkpoint(path, build())
    with open(path, "r+b") as file:
        file.truncate(1000)
    with pytest.raises(CheckpointError, match="it is corrupt, cut short, or holds more"):
        torchreid.utils.resume_from_checkpoint(path, build("magnifiernet_r18_g"))
