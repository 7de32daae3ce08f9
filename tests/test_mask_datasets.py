import copy
import multiprocessing
import pickle
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_people import HEIGHT, PIDS, VIEWS, WIDTH, MorePeople, TinyPeople, places
from torch.utils.data import DataLoader
from torchreid import data as torchreid_data
from torchvision import transforms as T

from torchreid_magnifier.cli import convert, main
from torchreid_magnifier.data.datasets import read_here, with_masks
from torchreid_magnifier.data.masks import MaskError
from torchreid_magnifier.data.transforms import JointTransform
from torchreid_magnifier.images import ImageError, open_image

TinyPeopleMasks = with_masks(TinyPeople, "tiny_people")
MorePeopleMasks = with_masks(MorePeople, "more_people")


@pytest.fixture(scope="module", autouse=True)
def registered():
    torchreid_data.register_image_dataset("test_tiny_people", TinyPeople)
    torchreid_data.register_image_dataset("test_tiny_people_masks", TinyPeopleMasks)
    torchreid_data.register_image_dataset("test_more_people_masks", MorePeopleMasks)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Images that show their label map: a label is a grey value."""
    root = tmp_path_factory.mktemp("reid-data")
    rng = np.random.default_rng(0)
    for image, mask in places(root, "_ps_label"):
        labels = rng.integers(0, 8, (HEIGHT, WIDTH), dtype=np.uint8)
        Image.fromarray(labels).save(mask)
        shown = np.repeat(labels[..., None] * np.uint8(30), 3, axis=2)
        Image.fromarray(shown).save(image)
    return str(root)


@pytest.fixture
def root(made, tmp_path):
    """A copy that a test may spoil."""
    shutil.copytree(made, tmp_path / "data")
    return str(tmp_path / "data")


def flip():
    return T.Compose([T.RandomHorizontalFlip(), T.ToTensor()])


def shown_labels(image):
    return (image[..., 0, :, :] * 255 / 30).round()


def seed(value):
    random.seed(value)
    torch.manual_seed(value)


# Items


def test_a_training_item_is_torchreids_with_the_labels_as_fourth_channel(made):
    plain = TinyPeople(root=made, transform=flip(), verbose=False)
    masked = TinyPeopleMasks(root=made, transform=flip(), verbose=False)
    assert len(masked) == len(plain) == PIDS * VIEWS
    assert masked.train == plain.train
    assert all(len(sample) == 4 for sample in masked.train)
    for index in range(len(plain)):
        seed(index)
        expected = plain[index]
        seed(index)
        item = masked[index]
        image = item.pop("img")
        assert image.shape == (4, HEIGHT, WIDTH)
        assert image.dtype == torch.float32
        assert torch.equal(image[:3], expected.pop("img"))
        assert torch.equal(image[3], shown_labels(image))
        assert item == expected


def test_k_tfm_gives_views_that_are_drawn_independently(made):
    dataset = TinyPeopleMasks(root=made, transform=flip(), k_tfm=8, verbose=False)
    seed(0)
    views = dataset[0]["img"]
    assert isinstance(views, list) and len(views) == 8
    for view in views:
        assert view.shape == (4, HEIGHT, WIDTH)
        assert torch.equal(view[3], shown_labels(view))
    assert len({tuple(view.flatten().tolist()) for view in views}) == 2


def test_without_a_transform_the_labels_stand_beside_the_image(made):
    item = TinyPeopleMasks(root=made, verbose=False)[3]
    assert isinstance(item["img"], Image.Image)
    assert item["mask"].dtype == np.uint8
    assert np.array_equal(np.asarray(item["img"])[..., 0], item["mask"] * 30)


@pytest.mark.parametrize("mode", ["query", "gallery"])
def test_testing_is_as_without_masks_and_needs_none(root, mode):
    shutil.rmtree(Path(root, "tiny/images_ps_label"))
    # Lambda is a transform that training would not take.
    options = {
        "root": root,
        "transform": T.Compose([T.ToTensor(), T.Lambda(lambda image: -image)]),
        "mode": mode,
        "combineall": True,
        "verbose": False,
    }
    plain, masked = TinyPeople(**options), TinyPeopleMasks(**options)
    assert len(masked) == len(plain)
    for index in range(len(plain)):
        expected, item = plain[index], masked[index]
        assert torch.equal(item.pop("img"), expected.pop("img"))
        assert item == expected


def test_combineall_trains_with_the_masks_of_query_and_gallery(root):
    options = {"root": root, "transform": flip(), "combineall": True, "verbose": False}
    dataset = TinyPeopleMasks(**options)
    assert len(dataset) == 3 * PIDS * VIEWS
    assert all(dataset[index]["img"].shape[0] == 4 for index in range(len(dataset)))

    shutil.rmtree(Path(root, "tiny/images_ps_label/query"))
    TinyPeopleMasks(**{**options, "combineall": False})
    with pytest.raises(MaskError, match=r"^16 of 48 images cannot be used") as error:
        TinyPeopleMasks(**options)
    assert str(error.value).endswith(f"masks make --dataset tiny_people --root {root} --all")


def test_the_advised_command_makes_the_masks_of_cuhk03s_labelled_images(root):
    shutil.rmtree(Path(root, "tiny/images_ps_label/train"))
    with pytest.raises(MaskError) as error:
        with_masks(TinyPeople, "cuhk03")(root=root, cuhk03_labeled=True, verbose=False)
    assert str(error.value).endswith(f"--dataset cuhk03 --root {root} --cuhk03-labeled")
    with pytest.raises(MaskError) as error:
        with_masks(TinyPeople, "cuhk03")(root=root, cuhk03_labeled=False, verbose=False)
    assert str(error.value).endswith(f"--dataset cuhk03 --root {root}")


# The check before training


def test_faulty_masks_are_found_when_the_dataset_is_made(root):
    for name in ("0_0_0.png", "3_1_3.png"):
        Path(root, "tiny/images_ps_label/train", name).unlink()
    with pytest.raises(MaskError) as error:
        TinyPeopleMasks(root=root, transform=flip(), verbose=False)
    assert str(error.value) == (
        "2 of 16 images cannot be used with their part masks.\n"
        "images without a mask: 2\n"
        f"  {root}/tiny/images/train/0_0_0.png\n"
        f"  {root}/tiny/images/train/3_1_3.png\n"
        "  tried for the first of them:\n"
        f"    {root}/tiny/images/train_ps_label/0_0_0.png\n"
        f"    {root}/tiny/images_ps_label/train/0_0_0.png\n"
        f"    {root}/tiny_ps_label/images/train/0_0_0.png\n"
        f"    {root}_ps_label/tiny/images/train/0_0_0.png\n"
        "Part masks are made by\n"
        f"  torchreid-magnifier masks make --dataset tiny_people --root {root}"
    )


def test_an_unknown_transform_is_found_when_the_dataset_is_made(made):
    transform = T.Compose([T.Lambda(lambda image: image), T.ToTensor()])
    with pytest.raises(TypeError, match=r"^unknown transform torchvision\..*\.Lambda: "):
        TinyPeopleMasks(root=made, transform=transform, verbose=False)


def test_an_image_that_becomes_unreadable_is_an_error_and_no_endless_loop(root):
    dataset = TinyPeopleMasks(root=root, transform=flip(), verbose=False)
    path = dataset.train[5][0]
    Path(path).write_bytes(b"no image")
    with pytest.raises(ImageError, match=f"^{path}: cannot be read as an image .* remove it$"):
        dataset[5]


@pytest.mark.parametrize("mode", ["query", "gallery"])
def test_nor_is_it_an_endless_loop_in_testing(root, mode):
    dataset = TinyPeopleMasks(root=root, mode=mode, transform=T.ToTensor(), verbose=False)
    whole = dataset[0]["img"]
    path = dataset.data[0][0]
    assert torch.equal(whole, T.ToTensor()(open_image(path)))
    Path(path).write_bytes(b"no image")
    with pytest.raises(ImageError, match=path):
        dataset[0]


def test_the_error_of_a_loaders_worker_is_one_line_of_the_command(root, capsys, monkeypatch):
    dataset = TinyPeopleMasks(root=root, transform=flip(), verbose=False)
    path = dataset.train[5][0]
    Path(path).write_bytes(b"no image")

    def run(argv):
        list(DataLoader(dataset, batch_size=4, num_workers=1))

    monkeypatch.setattr(convert, "main", run)
    assert main(["convert"]) == 2
    assert capsys.readouterr().err == (
        f"torchreid-magnifier convert: error: {path}: cannot be read as an image (its content is "
        "none): copy or make it anew, or remove it\n"
    )


def test_a_plain_dataset_is_read_through_the_same_door_when_asked(root):
    dataset = TinyPeople(root=root, transform=T.ToTensor(), verbose=False)
    before = dataset[3]
    read_here(dataset)
    assert isinstance(dataset, TinyPeople) and type(dataset).__name__ == "TinyPeople"
    again = pickle.loads(pickle.dumps(dataset))
    for made in (dataset[3], again[3]):
        assert torch.equal(made.pop("img"), before["img"])
        assert made == {key: value for key, value in before.items() if key != "img"}
    Path(dataset.data[3][0]).write_bytes(b"no image")
    with pytest.raises(ImageError):
        dataset[3]


# Several sources


def test_a_sum_keeps_masks_and_k_tfm(made):
    options = {"root": made, "transform": flip(), "k_tfm": 2, "verbose": False}
    total = sum(
        [TinyPeopleMasks(**options), MorePeopleMasks(**options), TinyPeopleMasks(**options)]
    )
    plain = sum(cls(**options) for cls in (TinyPeople, MorePeople, TinyPeople))
    assert isinstance(total, torchreid_data.ImageDataset)
    assert total.train == plain.train
    assert total.k_tfm == 2
    for name in ("num_train_pids", "num_train_cams", "num_datasets"):
        assert getattr(total, name) == getattr(plain, name)
    assert len(total) == 3 * PIDS * VIEWS
    for index in range(len(total)):
        item = total[index]
        assert (item["impath"], item["pid"], item["camid"], item["dsetid"]) == total.train[index]
        assert len(item["img"]) == 2
        for view in item["img"]:
            assert view.shape[0] == 4
            assert torch.equal(view[3], shown_labels(view))


@pytest.mark.parametrize(
    "left, right",
    [(TinyPeopleMasks, MorePeople), (TinyPeople, TinyPeopleMasks), (MorePeopleMasks, MorePeople)],
)
def test_a_sum_of_masked_and_unmasked_is_an_error(made, left, right):
    with pytest.raises(TypeError) as error:
        sum([left(root=made, verbose=False), right(root=made, verbose=False)])
    assert str(error.value) == (
        "cannot add a dataset with masks and one without, found "
        f"{left.__name__} and {right.__name__}: use the *_masks version of every source"
    )


def test_a_sum_of_two_modes_is_an_error(made):
    train = TinyPeopleMasks(root=made, verbose=False)
    query = MorePeopleMasks(root=made, mode="query", verbose=False)
    with pytest.raises(ValueError, match="^expected one mode, found 'train' and 'query'$"):
        train + query


# Classes


def test_the_class_is_made_once_and_named_after_its_base():
    cls = with_masks(MorePeople)
    assert cls is with_masks(MorePeople) is with_masks(MorePeople, "morepeople")
    assert cls.__name__ == "MorePeopleMasks"
    assert issubclass(cls, MorePeople)
    assert with_masks(cls) is cls


@pytest.mark.parametrize("cls", [torchreid_data.VideoDataset, dict, "market1501"])
def test_only_image_datasets_have_a_masked_version(cls):
    with pytest.raises(TypeError) as error:
        with_masks(cls)
    assert str(error.value) == f"expected a subclass of torchreid's ImageDataset, found {cls!r}"


def test_a_dataset_with_its_own_items_cannot_be_trained_with_masks(made):
    class Special(TinyPeople):
        def __getitem__(self, index):
            return {**super().__getitem__(index), "attribute": 1}

    masked = with_masks(Special)
    assert masked(root=made, mode="query", verbose=False)[0]["attribute"] == 1
    with pytest.raises(TypeError) as error:
        masked(root=made, verbose=False)
    assert str(error.value) == (
        "Special has its own __getitem__, which does not know masks: expected torchreid's "
        "ImageDataset.__getitem__"
    )


@pytest.mark.parametrize("again", [copy.deepcopy, lambda data: pickle.loads(pickle.dumps(data))])
def test_copies_are_whole(made, again):
    single = TinyPeopleMasks(root=made, transform=flip(), verbose=False)
    total = single + MorePeopleMasks(root=made, transform=flip(), verbose=False)
    for dataset in (single, total):
        copied = again(dataset)
        assert type(copied) is type(dataset)
        seed(0)
        expected = dataset[9]["img"]
        seed(0)
        assert torch.equal(copied[9]["img"], expected)


@pytest.mark.parametrize(("method", "workers"), [("fork", 2), ("spawn", 1)])
def test_workers_load_masks(made, method, workers):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this platform has no {method}")
    single = TinyPeopleMasks(root=made, transform=flip(), verbose=False)
    total = single + MorePeopleMasks(root=made, transform=flip(), verbose=False)
    loader = DataLoader(total, batch_size=8, num_workers=workers, multiprocessing_context=method)
    images = torch.cat([batch["img"] for batch in loader])
    assert images.shape == (len(total), 4, HEIGHT, WIDTH)
    assert torch.equal(images[:, 3], shown_labels(images))


# Torchreid's data manager


def manager(root, **options):
    defaults = {
        "sources": "test_tiny_people_masks",
        "height": 32,
        "width": 16,
        "transforms": ["random_flip", "random_crop", "random_erase"],
        "batch_size_train": 8,
        "batch_size_test": 8,
        "workers": 0,
        "use_gpu": False,
    }
    return torchreid_data.ImageDataManager(root=root, **{**defaults, **options})


@pytest.mark.parametrize("workers", [0, 2])
def test_the_data_manager_trains_and_tests_on_it(made, workers):
    data = manager(made, workers=workers, train_sampler="RandomIdentitySampler")
    assert data.num_train_pids == PIDS
    batches = list(data.train_loader)
    assert batches
    for batch in batches:
        assert batch["img"].shape == (8, 4, 32, 16)
        assert set(batch["img"][:, 3].unique().tolist()) == set(range(8))
        assert sorted(batch["pid"].unique(return_counts=True)[1].tolist()) == [4, 4]
    for name in ("query", "gallery"):
        loader = data.test_loader["test_tiny_people_masks"][name]
        assert [batch["img"].shape for batch in loader] == [(8, 3, 32, 16)] * 2


def test_the_data_manager_takes_several_sources_and_views(made):
    names = ["test_tiny_people_masks", "test_more_people_masks"]
    data = manager(made, sources=names, targets="test_tiny_people", combineall=True, k_tfm=2)
    assert data.num_train_pids == 4 * PIDS
    assert isinstance(data.train_loader.dataset.transform, JointTransform)
    for batch in data.train_loader:
        assert [view.shape for view in batch["img"]] == [(8, 4, 32, 16)] * 2


def test_the_data_manager_checks_the_masks_of_target_training_sets(root):
    options = {"sources": "test_tiny_people", "targets": "test_more_people_masks"}
    data = manager(root, load_train_targets=True, **options)
    assert next(iter(data.train_loader))["img"].shape == (8, 3, 32, 16)
    assert next(iter(data.train_loader_t))["img"].shape == (8, 4, 32, 16)

    shutil.rmtree(Path(root, "more/images_ps_label"))
    manager(root, **options)
    with pytest.raises(MaskError, match=r"--dataset more_people --root "):
        manager(root, load_train_targets=True, **options)
