"""Datasets that torchreid has not, on small made data in the exact layout of each release."""

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torchreid
from PIL import Image
from torchreid import data as torchreid_data

import torchreid_magnifier
from torchreid_magnifier import registry
from torchreid_magnifier.annotate import ParsingError
from torchreid_magnifier.annotate.images import dataset_images
from torchreid_magnifier.data.image_datasets.base import DatasetError
from torchreid_magnifier.data.image_datasets.image_folder import OWN_FOLDERS, TABLE
from torchreid_magnifier.data.masks import MASKS, MaskError

DATASETS = torchreid_data.register_image_dataset.__globals__["__image_datasets"]
WIDTH, HEIGHT = 8, 16

# For each set: (path below the root, split, pid, camid) of every image, as torchreid must get it.
# Identities to train on count from 0, cameras too; those of query and gallery are the files' own.
DUKE = [
    ("Occluded_Duke/bounding_box_train/0007_c2_f0046182.jpg", "train", 0, 1),
    ("Occluded_Duke/bounding_box_train/0007_c5_f0046302.jpg", "train", 0, 2),
    ("Occluded_Duke/bounding_box_train/0030_c1_f0046422.jpg", "train", 1, 0),
    ("Occluded_Duke/query/0019_c1_f0051230.jpg", "query", 19, 0),
    ("Occluded_Duke/bounding_box_test/0019_c1_f0051230.jpg", "gallery", 19, 0),
    ("Occluded_Duke/bounding_box_test/0019_c8_f0051350.jpg", "gallery", 19, 3),
    ("Occluded_Duke/bounding_box_test/4000_c2_f0000001.jpg", "gallery", 4000, 1),
]
REID = [
    ("Occluded_REID/occluded_body_images/001/001_01.tif", "query", 1, 0),
    ("Occluded_REID/occluded_body_images/200/200_05.tif", "query", 200, 0),
    ("Occluded_REID/whole_body_images/001/001_01.tif", "gallery", 1, 1),
    ("Occluded_REID/whole_body_images/200/200_05.tif", "gallery", 200, 1),
]
PARTIAL = [
    ("Partial-REID_Dataset/partial_body_images/001_001.jpg", "query", 1, 0),
    ("Partial-REID_Dataset/partial_body_images/060_005.jpg", "query", 60, 0),
    ("Partial-REID_Dataset/whole_body_images/001_001.jpg", "gallery", 1, 1),
    ("Partial-REID_Dataset/whole_body_images/060_005.jpg", "gallery", 60, 1),
    ("Partial-REID_Dataset/occluded_body_images/001_001.jpg", None, None, None),
]
P_DUKE = [
    ("P-DukeMTMC-reid/train/occluded_body_images/0005/0005_c2_f0046182.jpg", "train", 0, 0),
    ("P-DukeMTMC-reid/train/occluded_body_images/0009/0009_c6_f0046302.jpg", "train", 1, 0),
    ("P-DukeMTMC-reid/train/whole_body_images/0005/0005_c2_f0046422.jpg", "train", 0, 1),
    ("P-DukeMTMC-reid/train/whole_body_images/0009/0009_c1_f0046422.jpg", "train", 1, 1),
    ("P-DukeMTMC-reid/test/occluded_body_images/0002/0002_c1_f0044158.jpg", "query", 2, 0),
    ("P-DukeMTMC-reid/test/whole_body_images/0002/0002_c1_f0044278.jpg", "gallery", 2, 1),
]


def cuhk03np(boxes, *others):
    return [
        (f"cuhk03-np/{boxes}/bounding_box_train/0003_c1_21.png", "train", 0, 0),
        (f"cuhk03-np/{boxes}/bounding_box_train/0003_c2_26.png", "train", 0, 1),
        (f"cuhk03-np/{boxes}/bounding_box_train/1467_c1_14090.png", "train", 1, 0),
        (f"cuhk03-np/{boxes}/query/0001_c1_3.png", "query", 1, 0),
        (f"cuhk03-np/{boxes}/bounding_box_test/0001_c2_7.png", "gallery", 1, 1),
        *others,
    ]


DETECTED = cuhk03np(
    "detected", ("cuhk03-np/labeled/bounding_box_train/0004_c1_1.png", None, None, None)
)
LABELED = cuhk03np(
    "labeled", ("cuhk03-np/detected/bounding_box_train/0004_c1_1.png", None, None, None)
)
FOLDER = [
    ("image_folder/train/0001_1_a.jpg", "train", 0, 0),
    ("image_folder/train/0001_3_b.png", "train", 0, 2),
    ("image_folder/train/12/12_1.jpg", "train", 1, 0),
    ("image_folder/query/2_1_front door.jpeg", "query", 2, 0),
    ("image_folder/query/0003_c2s1_000451_03.jpg", "query", 3, 1),
    ("image_folder/gallery/2_3_x.bmp", "gallery", 2, 2),
    ("image_folder/gallery/0003_c1s1_000451_03.jpg", "gallery", 3, 0),
    ("image_folder/gallery/77_3.jpg", "gallery", 77, 2),
]
SETS = {
    "occluded_duke": (DUKE, {}),
    "occluded_reid": (REID, {}),
    "partial_reid": (PARTIAL, {}),
    "p_dukemtmcreid": (P_DUKE, {}),
    "cuhk03np": (DETECTED, {}),
    "cuhk03np, labelled": (LABELED, {"cuhk03_labeled": True}),
    "image_folder": (FOLDER, {}),
}
TEST_ONLY = ("occluded_reid", "partial_reid")


def make(root, images):
    """Images of one colour, and a file that belongs to no set."""
    for number, (path, *_) in enumerate(images):
        path = Path(root, path)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT), (number * 9, 80, 80)).save(path)
        path.with_name("Readme.txt").write_text("no image")
        path.with_name(f"._{path.name}").write_bytes(b"no image")


def label(root, images, folder, split="train"):
    """Random labels below ``folder``, in EANet's layout, for the images of a split."""
    rng = np.random.default_rng(0)
    for path in [path for path, of, *_ in images if of == split]:
        labels = Path(root, folder, *Path(path).parts[1:]).with_suffix(".png")
        labels.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 8, (HEIGHT, WIDTH), dtype=np.uint8)).save(labels)


def build(name, root, mode="train", **options):
    name = name.split(",")[0]
    return DATASETS[name](root=str(root), mode=mode, verbose=False, **options)


def manager(root, sources, targets, **options):
    return torchreid_data.ImageDataManager(
        root=str(root),
        sources=sources,
        targets=targets,
        height=32,
        width=16,
        batch_size_train=2,
        batch_size_test=2,
        workers=0,
        use_gpu=False,
        **options,
    )


# ---------------------------------------------------------------------- what is read


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("suffix", ["", "_masks"])
def test_the_published_layout_is_read(tmp_path, name, suffix):
    images, options = SETS[name]
    make(tmp_path, images)
    registered = name.split(",")[0]
    for mode in ("query", "gallery"):
        dataset = build(registered + suffix, tmp_path, mode, **options)
        for split in ("train", "query", "gallery"):
            expected = {
                (str(tmp_path / path), pid, camid, 0)
                for path, of, pid, camid in images
                if of == split
            }
            found = getattr(dataset, split)
            assert set(found) == expected and len(found) == len(expected)
        assert dataset.data is getattr(dataset, mode)
        assert dataset.num_train_pids == len({s[1] for s in dataset.train})
        assert dataset[0]["img"].size == (WIDTH, HEIGHT)


@pytest.mark.parametrize("name", [name for name in SETS if name not in TEST_ONLY])
def test_training_images_carry_the_labels_in_eanets_layout(tmp_path, name):
    images, options = SETS[name]
    make(tmp_path, images)
    folder = Path(images[0][0]).parts[0]
    label(tmp_path, images, f"{folder}_ps_label")
    dataset = build(name.split(",")[0] + "_masks", tmp_path, **options)
    assert len(dataset) == sum(split == "train" for _, split, *_ in images)
    for index in range(len(dataset)):
        item = dataset[index]
        path = Path(item["impath"]).relative_to(tmp_path / folder)
        expected = Path(tmp_path, f"{folder}_ps_label", path).with_suffix(".png")
        assert np.array_equal(item["mask"], np.asarray(Image.open(expected)))


@pytest.mark.parametrize("name", ["cuhk03np", "cuhk03np, labelled"])
def test_eanets_own_folder_of_labels_for_cuhk03_np_needs_no_renaming(tmp_path, name):
    images, options = SETS[name]
    make(tmp_path, images)
    with pytest.raises(MaskError) as error:
        build("cuhk03np_masks", tmp_path, **options)
    flag = " --cuhk03-labeled" if options else ""
    assert str(error.value).endswith(f"--dataset cuhk03np --root {tmp_path}{flag}")
    label(tmp_path, images, "cuhk03-np-jpg_ps_label")
    dataset = build("cuhk03np_masks", tmp_path, **options)
    assert dataset[0]["mask"].shape == (HEIGHT, WIDTH)


def test_dukes_labels_fit_occluded_duke(tmp_path):
    """Its training images are some of DukeMTMC-reID's, so labels of all of those do."""
    make(tmp_path, DUKE)
    duke = [("x/bounding_box_train/0001_c1_f0000001.jpg", "train")]
    label(tmp_path, [*DUKE, *duke], "DukeMTMC-reID_ps_label")
    (tmp_path / "Occluded_Duke_ps_label").symlink_to(tmp_path / "DukeMTMC-reID_ps_label")
    assert len(build("occluded_duke_masks", tmp_path)) == 3


def test_the_classic_split_is_not_in_cuhk03_np(tmp_path):
    make(tmp_path, DETECTED)
    with pytest.raises(DatasetError, match="^cuhk03np has the new protocol only: take cuhk03 "):
        build("cuhk03np", tmp_path, cuhk03_classic_split=True)


# ---------------------------------------------------------------------- missing and misnamed


@pytest.mark.parametrize("name", SETS)
def test_a_missing_folder_is_reported_at_once_with_what_belongs_there(tmp_path, name):
    images, options = SETS[name]
    with pytest.raises(DatasetError) as error:
        build(name, tmp_path, **options)
    folder = tmp_path / Path(images[0][0]).parts[0]
    message = str(error.value)
    assert message.startswith(f"there is no folder {folder}\n")
    assert f"\nexpected images named like these below {folder}:\n" in message
    if name != "image_folder":
        assert "https://" in message or "http://isee" in message
    assert os.listdir(tmp_path) == []  # no half download


def test_the_message_for_a_missing_folder(tmp_path):
    make(tmp_path, REID)
    shutil.rmtree(tmp_path / "Occluded_REID/whole_body_images")
    with pytest.raises(DatasetError) as error:
        build("occluded_reid", tmp_path, "query")
    assert str(error.value) == (
        f"there is no folder {tmp_path}/Occluded_REID/whole_body_images\n"
        f"expected images named like these below {tmp_path}/Occluded_REID:\n"
        "  occluded_body_images/001/001_01.tif\n"
        "  whole_body_images/001/001_01.tif\n"
        "Occluded_REID.zip is in https://github.com/tinajia2012/"
        "ICME2018_Occluded-Person-Reidentification_datasets, with its terms of use."
    )


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("split", ["query", "gallery"])
def test_an_empty_split_is_an_error(tmp_path, name, split):
    images, options = SETS[name]
    make(tmp_path, images)
    for path, of, *_ in images:
        if of == split:
            (tmp_path / path).unlink()
    with pytest.raises(DatasetError, match=f"has no {split} images\n"):
        build(name, tmp_path, "query", **options)


def test_names_that_do_not_parse_are_listed(tmp_path):
    make(tmp_path, FOLDER)
    bad = [
        tmp_path / "image_folder" / name
        for name in ("query/a_1.jpg", "train/12.jpg", "train/1_2b.jpg", "train/_1_2.jpg")
        + tuple(f"train/x{n}.jpg" for n in range(4))
    ]
    for path in bad:
        shutil.copy(tmp_path / FOLDER[0][0], path)
    with pytest.raises(DatasetError) as error:
        build("image_folder", tmp_path)
    lines = str(error.value).splitlines()
    assert lines[0] == "names that tell no identity: 7"
    assert lines[1:6] == [f"  {path}" for path in sorted(map(str, bad[1:]))[:5]]
    assert lines[6] == "  ... and 2 more"


# ---------------------------------------------------------------------- for testing only


@pytest.mark.parametrize("name", TEST_ONLY)
@pytest.mark.parametrize("suffix", ["", "_masks"])
@pytest.mark.parametrize("combineall", [False, True])
def test_a_set_for_testing_only_is_a_target(tmp_path, capsys, name, suffix, combineall):
    images, _ = SETS[name]
    make(tmp_path, images)
    make(tmp_path, DUKE)
    data = manager(tmp_path, "occluded_duke", name + suffix, combineall=combineall)
    for split in ("query", "gallery"):
        expected = [(str(tmp_path / path), pid) for path, of, pid, _ in images if of == split]
        batches = list(data.test_loader[name + suffix][split])
        paths = [path for batch in batches for path in batch["impath"]]
        pids = [pid for batch in batches for pid in batch["pid"].tolist()]
        assert list(zip(paths, pids)) == expected
    assert f"  train    | {0:5d} | {0:8d} | {0:9d}\n" in capsys.readouterr().out


@pytest.mark.parametrize("name", [*TEST_ONLY, "image_folder"])
@pytest.mark.parametrize("suffix", ["", "_masks"])
@pytest.mark.parametrize("combineall", [False, True])
def test_a_set_for_testing_only_is_no_source(tmp_path, name, suffix, combineall):
    images, _ = SETS[name]
    make(tmp_path, [image for image in images if image[1] != "train"])
    folder = Path(images[0][0]).parts[0]
    with pytest.raises(DatasetError) as error:
        manager(tmp_path, name + suffix, name + suffix, combineall=combineall)
    assert str(error.value) == (
        f"{tmp_path}/{folder} has no images to train on, only to test with: make it a target "
        "(-t, data.targets), and another dataset the source (-s, data.sources)"
    )


def test_nor_is_it_one_when_targets_are_trained_on_too(tmp_path):
    make(tmp_path, REID)
    make(tmp_path, DUKE)
    with pytest.raises(DatasetError, match="has no images to train on"):
        manager(tmp_path, "occluded_duke", "occluded_reid", load_train_targets=True)


# ---------------------------------------------------------------------- a user's own images


def table(root, *lines, header="split,path,pid,camid"):
    path = Path(root, "image_folder", TABLE)
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def crops(tmp_path):
    """Images whose names say nothing; the last one is not below the dataset's folder."""
    names = [f"image_folder/crops/{n}.jpg" for n in range(5)] + ["elsewhere/door, 5.jpg"]
    make(tmp_path, [(name,) for name in names])
    return [str(tmp_path / name) for name in names]


def test_a_table_says_what_names_do_not(tmp_path, crops):
    # As spreadsheets write it: a byte-order mark, quotes, columns in another order.
    table(
        tmp_path,
        "7,4,crops/0.jpg,train",
        "7,9,crops/1.jpg,train",
        "8,4,./crops/2.jpg,train",
        "2,4,crops/3.jpg,query",
        f"2,6,{crops[4]},gallery",
        '2,9,"../elsewhere/door, 5.jpg",gallery',
        header="\ufeffpid,camid,path,split",
    )
    dataset = build("image_folder", tmp_path)
    assert dataset.train == [(crops[0], 0, 0, 0), (crops[1], 0, 2, 0), (crops[2], 1, 0, 0)]
    assert dataset.query == [(crops[3], 2, 0, 0)]
    assert dataset.gallery == [(crops[4], 2, 1, 0), (crops[5], 2, 2, 0)]


@pytest.mark.parametrize(
    "line, problem",
    [
        ("train,crops/0.jpg,1", "expected 4 values"),
        ("train,crops/0.jpg,1,2,3", "expected 4 values"),
        ("Train,crops/0.jpg,1,2", "split: expected train, query, gallery, found 'Train'"),
        ("train,crops/0.jpg,-2,2", "pid: expected a whole number from -1, found '-2'"),
        ("train,crops/0.jpg,1,c2", "camid: expected a whole number from 0, found 'c2'"),
        ("train,crops/9.jpg,1,2", "there is no file {root}/image_folder/crops/9.jpg"),
    ],
)
def test_a_line_that_cannot_be_used_is_reported_with_its_number(tmp_path, crops, line, problem):
    path = table(tmp_path, "query,crops/3.jpg,2,1", line, "gallery,crops/4.jpg,2,2")
    with pytest.raises(DatasetError) as error:
        build("image_folder", tmp_path)
    assert str(error.value) == (
        f"lines that cannot be used: 1\n  {path}, line 3: {problem.format(root=tmp_path)}"
    )


@pytest.mark.parametrize(
    "header",
    ["split,path,pid", "split,path,pid,camid,sex", "split,path,pid,cam", "split;path;pid;camid"],
)
def test_a_table_has_its_four_columns(tmp_path, crops, header):
    path = table(tmp_path, header=header)
    with pytest.raises(DatasetError) as error:
        build("image_folder", tmp_path)
    assert str(error.value) == (
        f"{path}, line 1: expected the columns split,path,pid,camid, found {header}"
    )


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", None])
def test_a_table_that_is_none(tmp_path, crops, content):
    path = table(tmp_path)
    path.unlink()
    path.mkdir() if content is None else path.write_bytes(content)
    expected = {
        b"": f"{path}, line 1: expected the columns",
        b"\xff\xfe\x00": f"{path}, line 1: expected text in UTF-8, or in UTF-16 with",
        None: f"{path}: cannot be",
    }[content]
    with pytest.raises(DatasetError) as error:
        build("image_folder", tmp_path)
    assert str(error.value).startswith(expected)


def test_nobody_is_both_trained_on_and_tested_with(tmp_path):
    make(tmp_path, FOLDER)
    place = tmp_path / "image_folder"
    shutil.copy(place / "gallery/77_3.jpg", place / "train/2_5.jpg")
    shutil.copy(place / "gallery/77_3.jpg", place / "train/77_1.jpg")
    with pytest.raises(DatasetError) as error:
        build("image_folder", tmp_path)
    assert str(error.value) == (
        "identities both to train on and to test with, which must be other people: 2\n"
        f"  2: {place}/train/2_5.jpg and {place}/gallery/2_3_x.bmp\n"
        f"  77: {place}/train/77_1.jpg and {place}/gallery/77_3.jpg"
    )


def test_every_query_has_its_match_from_another_camera(tmp_path, crops):
    path = table(
        tmp_path,
        "query,crops/0.jpg,1,1",
        "query,crops/1.jpg,2,1",
        "query,crops/2.jpg,3,1",
        "gallery,crops/3.jpg,1,2",
        "gallery,crops/4.jpg,2,1",
    )
    with pytest.raises(DatasetError) as error:
        build("image_folder", tmp_path, "query")
    assert str(error.value) == (
        "queries whose identity has no image from another camera in the gallery: 2\n"
        f"  identity 2, camera 1: {path}, line 3 ({crops[1]})\n"
        f"  identity 3, camera 1: {path}, line 4 ({crops[2]})"
    )


# ---------------------------------------------------------------------- several sets of one's own


@pytest.fixture
def own(monkeypatch):
    """Registers folders by the environment variable, and takes them away again."""
    before = dict(DATASETS)

    def register(names):
        monkeypatch.setenv(OWN_FOLDERS, names)
        torchreid_magnifier.register()

    yield register
    DATASETS.clear()
    DATASETS.update(before)


def test_folders_of_ones_own_are_named_by_a_variable(tmp_path, own):
    for name in ("shop", "air-port"):
        make(tmp_path, [(path.replace("image_folder", name), *rest) for path, *rest in FOLDER])
    own("shop, air-port")
    own("shop,air-port")
    assert {"shop", "shop_masks", "air-port", "air-port_masks"} <= set(registry.dataset_names())
    label(tmp_path, FOLDER, "shop_ps_label")
    data = manager(tmp_path, "shop_masks", ["air-port", "shop"])
    assert next(iter(data.train_loader))["img"].shape == (2, 4, 32, 16)
    assert data.test_dataset["air-port"]["query"][0][0].startswith(str(tmp_path / "air-port"))
    for dataset in (build("shop", tmp_path), build("shop_masks", tmp_path)):
        assert pickle.loads(pickle.dumps(dataset)).train == dataset.train


@pytest.mark.parametrize("name", ["a/b", "..", "my set", "shop_masks", "shop_textures"])
def test_a_folder_of_ones_own_needs_a_plain_name(own, name):
    with pytest.raises(ValueError, match=f"^{OWN_FOLDERS}: expected names of .* found '{name}'$"):
        own(name)


def test_a_folder_of_ones_own_cannot_take_the_name_of_a_dataset(own):
    with pytest.raises(ValueError, match=f"^{OWN_FOLDERS}: there is a dataset 'market1501'"):
        own("market1501")


def test_a_new_process_knows_them(tmp_path):
    make(tmp_path, [(path.replace("image_folder", "shop"), *rest) for path, *rest in FOLDER])
    script = (
        "import torchreid_magnifier, torchreid\n"
        "d = torchreid.data.datasets.init_image_dataset"
        f"('shop', root={str(tmp_path)!r}, verbose=False)\n"
        "print(type(d).__name__, len(d))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, OWN_FOLDERS: "shop"},
        capture_output=True,
        text=True,
    )
    assert run.stdout.splitlines()[-1:] == ["ImageFolder_shop 3"], run.stderr


# ---------------------------------------------------------------------- the whole way


def test_training_and_testing_on_ones_own_images(tmp_path):
    """Torchreid's engine takes a step on the masks of an image folder and tests on two sets."""
    make(tmp_path, FOLDER)
    make(tmp_path, REID)
    label(tmp_path, FOLDER, "image_folder_ps_label")
    data = manager(tmp_path, "image_folder_masks", ["image_folder", "occluded_reid"])
    model = torchreid.models.build_model(
        "magnifiernet_r18", data.num_train_pids, loss="softmax", pretrained=False
    )
    optimizer = torchreid.optim.build_optimizer(model)
    scheduler = torchreid.optim.build_lr_scheduler(optimizer)
    engine = torchreid.engine.ImageSoftmaxEngine(data, model, optimizer, scheduler, use_gpu=False)
    engine.run(save_dir=str(tmp_path / "log"), max_epoch=1, ranks=[1])
    assert (tmp_path / "log/model/model.pth.tar-1").is_file()
    assert model.loss_log.history[0]["loss_mask"] > 0


def test_labels_of_a_set_for_testing_only_are_made_when_they_are_asked_for(tmp_path):
    make(tmp_path, REID)
    with pytest.raises(ParsingError, match="^occluded_reid has no images to train on, .*--all"):
        dataset_images("occluded_reid", str(tmp_path))
    images = dataset_images("occluded_reid_masks", str(tmp_path), everything=True)
    assert images.paths == [str(tmp_path / path) for path, *_ in REID]
    label(tmp_path, REID, "Occluded_REID_ps_label", "query")
    assert [Path(images.sidecar_path(MASKS, path)).is_file() for path in images.paths] == [
        split == "query" for _, split, *_ in REID
    ]


# ---------------------------------------------------------------------- who is who


def test_distractors_are_nobody_to_train_on(tmp_path, capsys):
    others = [
        ("image_folder/gallery/0000_c1s1_000151_01.jpg", "gallery", 0, 0),
        ("image_folder/gallery/0000_c3s1_000151_01.jpg", "gallery", 0, 2),
    ]
    junk = [
        (f"image_folder/{split}/-1_c1s1_{n}.jpg",) for n, split in enumerate(("train", "gallery"))
    ]
    make(tmp_path, [*FOLDER, *others, *junk])
    dataset = DATASETS["image_folder"](root=str(tmp_path), mode="gallery")
    assert "  2 images of identity -1 (nobody) passed over\n" in capsys.readouterr().out
    assert sorted(s[:3] for s in dataset.gallery) == sorted(
        (str(tmp_path / path), pid, camid)
        for path, split, pid, camid in [*FOLDER, *others]
        if split == "gallery"
    )
    trained = build("image_folder", tmp_path, combineall=True)
    people = {2, 3, 77}  # of query and gallery, beside the two to train on
    assert trained.num_train_pids == 2 + len(people)
    assert not [path for path, *_ in trained.train if "/0000_" in path]


def test_number_0_is_a_person_who_is_asked_for(tmp_path):
    make(tmp_path, [(f"image_folder/{name}",) for name in ("query/0_1.jpg", "gallery/0_2.jpg")])
    make(tmp_path, FOLDER[:3])
    assert build("image_folder", tmp_path, combineall=True).num_train_pids == 3


def test_the_camera_of_names_like_msmt17s_is_their_third_number(tmp_path):
    names = [
        ("image_folder/train/0000_000_01_0303morning_0015_0.jpg", "train", 0, 0),
        ("image_folder/train/0000_001_05_0303noon_0016_1_ex.jpg", "train", 0, 1),
        ("image_folder/query/0007_021_12_0303afternoon_0015_0.jpg", "query", 7, 2),
        ("image_folder/gallery/0007_022_01_0303morning_0015_0.jpg", "gallery", 7, 0),
    ]
    make(tmp_path, names)
    dataset = build("image_folder", tmp_path)
    found = [
        (split, s[1], s[2])
        for split in ("train", "query", "gallery")
        for s in getattr(dataset, split)
    ]
    assert found == [(split, pid, camid) for _, split, pid, camid in names]


def test_names_of_cuhk03_are_refused(tmp_path):
    names = [
        f"image_folder/{s}/1_00{n}_{c}_01.png"
        for n, (s, c) in enumerate([("train", 1), ("train", 2), ("query", 1), ("gallery", 2)])
    ]
    make(tmp_path, [(name,) for name in names])
    with pytest.raises(
        DatasetError, match="have the identity at their second place: take .*cuhk03"
    ):
        build("image_folder", tmp_path)


def test_an_images_number_in_the_place_of_the_camera_is_said(tmp_path):
    names = [f"train/1_{n}.jpg" for n in range(9)] + ["train/2_0.jpg", "train/2_1.jpg"]
    names += ["query/3_0.jpg", "gallery/3_1.jpg", "gallery/3_2.jpg"]
    make(tmp_path, [(f"image_folder/{name}",) for name in names])
    with pytest.warns(UserWarning, match="counts the images of each identity: is it a camera?"):
        build("image_folder", tmp_path)


@pytest.mark.parametrize(
    ("other", "split"),
    [("train,crops/0.jpg,2,1", "train"), ("gallery,./crops/0.jpg,1,2", "gallery")],
)
def test_a_file_is_one_image_of_one_person(tmp_path, crops, other, split):
    lines = ["train,crops/0.jpg,1,1", "query,crops/3.jpg,5,1", "gallery,crops/4.jpg,5,2"]
    path = table(tmp_path, *lines, other)
    with pytest.raises(DatasetError) as error:
        build("image_folder", tmp_path)
    assert str(error.value) == (
        "files that stand for two images, which must be different ones: 1\n"
        f"  train: {path}, line 2 ({crops[0]}); {split}: {path}, line 5 ({crops[0]})"
    )


def test_a_link_is_the_file_that_it_leads_to(tmp_path):
    make(tmp_path, FOLDER)
    link = tmp_path / "image_folder" / "gallery" / "0044_1.jpg"
    link.symlink_to(tmp_path / FOLDER[0][0])
    with pytest.raises(DatasetError, match=f"stand for two images.*\n.*gallery: {link}"):
        build("image_folder", tmp_path)


def test_a_query_may_be_in_the_gallery_too(tmp_path, crops):
    table(
        tmp_path,
        "query,crops/3.jpg,5,1",
        "gallery,crops/3.jpg,5,1",
        "gallery,crops/4.jpg,5,2",
    )
    assert len(build("image_folder", tmp_path, mode="query").gallery) == 2


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
def test_a_table_as_windows_saves_it(tmp_path, crops, encoding):
    path = table(tmp_path)
    lines = [
        "split,path,pid,camid",
        "query,crops\\3.jpg,5,1",
        "",
        " \t",
        "gallery,.\\crops\\4.jpg,5,2",
    ]
    path.write_bytes("\r\n".join([*lines, ""]).encode(encoding))
    dataset = build("image_folder", tmp_path, mode="query")
    assert [s[0] for s in (*dataset.query, *dataset.gallery)] == crops[3:5]


def test_a_set_to_train_on_only_is_the_first_of_several(tmp_path):
    make(tmp_path, FOLDER)
    make(tmp_path, [("pit/images/0001_01.jpg",), ("pit/images/0002_01.jpg",)])
    (tmp_path / "pit/textures").mkdir()
    data = manager(tmp_path, ["pit", "image_folder"], "image_folder", combineall=False)
    trained = data.train_loader.dataset.train
    assert [s[1] for s in trained] == [0, 1, 2, 2, 3]
    assert [s[3] for s in trained] == [0, 0, 1, 1, 1]


def test_all_of_msmt17_is_what_combineall_trains_on(tmp_path):
    home = tmp_path / "msmt17" / "MSMT17_V1"
    for name, folder, pid in (
        *(("train", "train", 0), ("val", "train", 0), ("query", "test", 1), ("gallery", "test", 1)),
    ):
        image = f"{pid:04}/{pid:04}_{len(name):03}_01_0303morning_0015_0.jpg"
        make(tmp_path, [(f"msmt17/MSMT17_V1/{folder}/{image}",)])
        (home / f"list_{name}.txt").write_text(f"{image} {pid}\n")
    trained = {s[0] for s in build("msmt17", tmp_path, combineall=True).train}
    assert len(trained) == 4
    assert set(dataset_images("msmt17", str(tmp_path), everything=True).paths) == trained
    assert len(dataset_images("msmt17", str(tmp_path)).paths) == 1


def test_a_registered_class_of_another_kind_is_left_alone(monkeypatch):
    class Foreign:
        """No ImageDataset of torchreid's, as in forks."""

    monkeypatch.setitem(DATASETS, "foreign", Foreign)
    monkeypatch.setitem(DATASETS, "function", lambda **kwargs: Foreign())
    torchreid_magnifier.register()
    assert not {"foreign_masks", "foreign_textures", "function_masks"} & set(DATASETS)
