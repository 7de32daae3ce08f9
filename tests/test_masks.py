import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from torchreid_magnifier.data.masks import MASKS, MaskError, find_mask, mask_candidates

WIDTH, HEIGHT = 8, 16


def labels_0_to_7(height=HEIGHT, width=WIDTH):
    return (np.arange(height * width).reshape(height, width) % 8).astype(np.uint8)


def save(path, array):
    """Writes an array as .npy, or as an image of the format that the path ends in."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if str(path).endswith(".npy"):
        np.save(path, array)
    else:
        Image.fromarray(array).save(path)
    return str(path)


def save_image(path, height=HEIGHT, width=WIDTH):
    return save(path, np.full((height, width, 3), 90, np.uint8))


def cut(path):
    """Cuts a file short after its header."""
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: len(content) * 2 // 3])


# Where masks are looked for


@pytest.mark.parametrize(
    "image, mask",
    [
        (
            "market1501/Market-1501-v15.09.15/bounding_box_train/0002_c1s1_000451_03.jpg",
            "market1501/Market-1501-v15.09.15_ps_label/bounding_box_train/0002_c1s1_000451_03.png",
        ),
        (
            "dukemtmc-reid/DukeMTMC-reID/bounding_box_train/0001_c2_f0046182.jpg",
            "dukemtmc-reid/DukeMTMC-reID_ps_label/bounding_box_train/0001_c2_f0046182.png",
        ),
        (
            "cuhk03/images_labeled/1_001_1_01.png",
            "cuhk03/images_labeled_ps_label/1_001_1_01.png",
        ),
        (
            "msmt17/MSMT17_V1/train/0000/0000_000_01_0303morning_0008_0.jpg",
            "msmt17/MSMT17_V1_ps_label/train/0000/0000_000_01_0303morning_0008_0.png",
        ),
        (
            "synthetic_pedestrians/images/train/0003_c1_05.jpg",
            "synthetic_pedestrians/images_ps_label/train/0003_c1_05.png",
        ),
        # the layout of MagnifierNet's reference implementation
        (
            "Market-1501/bounding_box_train/0002_c1s1_000451_03.jpg",
            "Market-1501/segmentation/bounding_box_train/0002_c1s1_000451_03.jpg.npy",
        ),
    ],
)
def test_finds_the_mask_in_each_layout(tmp_path, image, mask):
    image = str(tmp_path / image)
    assert find_mask(image, tmp_path) is None
    mask = save(tmp_path / mask, labels_0_to_7())
    assert find_mask(image, tmp_path) == mask
    assert find_mask(image) == mask
    assert MASKS.check([save_image(image)], root=tmp_path) == {image: mask}


def test_candidates_go_from_the_nearest_folder_up_to_the_root():
    assert mask_candidates("/data/market/M/bounding_box_test/x.jpg", "/data") == [
        "/data/market/M/bounding_box_test_ps_label/x.png",
        "/data/market/M_ps_label/bounding_box_test/x.png",
        "/data/market_ps_label/M/bounding_box_test/x.png",
        "/data_ps_label/market/M/bounding_box_test/x.png",
        "/data/market/M/segmentation/bounding_box_test/x.jpg.npy",
    ]


@pytest.mark.parametrize("root", [None, "/elsewhere", "/d"])
def test_without_a_root_above_the_image_all_ancestors_are_candidates(root):
    assert mask_candidates("/data/set/x.jpg", root) == [
        "/data/set_ps_label/x.png",
        "/data_ps_label/set/x.png",
    ]


def test_the_first_layout_wins_when_there_are_two(tmp_path):
    image = str(tmp_path / "set/bounding_box_train/x.jpg")
    reference = save(tmp_path / "set/segmentation/bounding_box_train/x.jpg.npy", labels_0_to_7())
    assert find_mask(image, tmp_path) == reference
    eanet = save(tmp_path / "set_ps_label/bounding_box_train/x.png", labels_0_to_7())
    assert find_mask(image, tmp_path) == eanet


def test_relative_paths_are_followed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_image("images/x.jpg")
    mask = save(tmp_path / "images_ps_label/x.png", labels_0_to_7())
    assert MASKS.check(["images/x.jpg"]) == {"images/x.jpg": mask}


def test_folders_are_searched_once_however_many_images_they_hold(tmp_path, monkeypatch):
    images = [save_image(tmp_path / f"set/train/{i}.jpg") for i in range(100)]
    for i in range(100):
        save(tmp_path / f"set_ps_label/train/{i}.png", labels_0_to_7())
    asked = []
    isdir = os.path.isdir
    monkeypatch.setattr(os.path, "isdir", lambda path: asked.append(path) or isdir(path))
    MASKS.check(images, root=tmp_path / "set")
    assert len(asked) == 2


# The check before training


@pytest.fixture
def images(tmp_path):
    """Ten images, each with a mask."""
    for i in range(10):
        save(tmp_path / f"set_ps_label/{i}.png", labels_0_to_7())
    return [save_image(tmp_path / f"set/{i}.jpg") for i in range(10)]


def check(images, root):
    with pytest.raises(MaskError) as error:
        MASKS.check(images, "my_set", root)
    return str(error.value).replace(str(root), "ROOT")


def test_all_is_well(images, tmp_path):
    masks = MASKS.check(images * 2, "my_set", tmp_path)
    assert list(masks) == images
    assert list(masks.values()) == [str(tmp_path / f"set_ps_label/{i}.png") for i in range(10)]


def test_no_images_is_all_well():
    assert MASKS.check([]) == {}


def test_one_message_reports_every_kind_of_problem(images, tmp_path):
    folder = tmp_path / "set_ps_label"
    (tmp_path / "set/1.jpg").write_bytes(b"no image")
    (folder / "2.png").unlink()
    (folder / "3.png").write_bytes(b"no mask")
    save(folder / "4.png", labels_0_to_7(height=WIDTH, width=HEIGHT))
    save(folder / "5.png", labels_0_to_7() + np.uint8(1))
    Image.new("RGB", (WIDTH, HEIGHT), "red").save(folder / "6.png")
    assert check(images, tmp_path) == (
        "6 of 10 images cannot be used with their part masks.\n"
        "unreadable images: 1\n"
        "  ROOT/set/1.jpg: cannot be read as an image (its content is none)\n"
        "images without a mask: 1\n"
        "  ROOT/set/2.jpg\n"
        "  tried for the first of them:\n"
        "    ROOT/set_ps_label/2.png\n"
        "    ROOT_ps_label/set/2.png\n"
        "unreadable masks: 2\n"
        "  ROOT/set_ps_label/3.png: cannot be read as a label map (its content is none)\n"
        "  ROOT/set_ps_label/6.png: cannot be read as a label map (expected one channel or three "
        "equal ones, found mode 'RGB')\n"
        "masks of another size than their image (width x height): 1\n"
        "  ROOT/set_ps_label/4.png: expected 8x16, found 16x8\n"
        "masks with labels other than the integers 0 to 7: 1\n"
        "  ROOT/set_ps_label/5.png: expected the integer labels 0 to 7, found 8 at x=7, y=0\n"
        "Part masks are made by\n"
        "  torchreid-magnifier masks make --dataset my_set --root ROOT --overwrite"
    )


def test_a_long_list_is_cut_after_five_paths(images, tmp_path):
    for i in range(9):
        (tmp_path / f"set_ps_label/{i}.png").unlink()
    assert check(images, tmp_path) == (
        "9 of 10 images cannot be used with their part masks.\n"
        "images without a mask: 9\n"
        "  ROOT/set/0.jpg\n"
        "  ROOT/set/1.jpg\n"
        "  ROOT/set/2.jpg\n"
        "  ROOT/set/3.jpg\n"
        "  ROOT/set/4.jpg\n"
        "  ... and 4 more\n"
        "  tried for the first of them:\n"
        "    ROOT/set_ps_label/0.png\n"
        "    ROOT_ps_label/set/0.png\n"
        "Part masks are made by\n"
        "  torchreid-magnifier masks make --dataset my_set --root ROOT"
    )


def test_making_masks_is_no_advice_for_unreadable_images(images, tmp_path):
    (tmp_path / "set/0.jpg").unlink()
    assert check(images, tmp_path) == (
        "1 of 10 images cannot be used with their part masks.\n"
        "unreadable images: 1\n"
        "  ROOT/set/0.jpg: cannot be read as an image (there is no such file)"
    )


def test_an_image_cut_short_is_found_though_its_header_is_whole(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (128, 64, 3)).astype(np.uint8)
    image = save(tmp_path / "set/x.jpg", noise)
    save(tmp_path / "set_ps_label/x.png", labels_0_to_7(128, 64))
    MASKS.check([image])
    cut(image)
    with Image.open(image) as header:
        assert header.size == (64, 128)
    message = "1\n  ROOT/set/x.jpg: cannot be read as an image (image file is truncated"
    assert f"unreadable images: {message}" in check([image], tmp_path)


def test_a_root_with_a_space_is_quoted_and_an_unknown_one_is_left_open(tmp_path):
    images = [save_image(tmp_path / "my data/x.jpg")]
    with pytest.raises(MaskError) as error:
        MASKS.check(images, "my_set", tmp_path / "my data")
    assert str(error.value).endswith(f" --dataset my_set --root '{tmp_path}/my data'")
    with pytest.raises(MaskError) as error:
        MASKS.check(images)
    assert str(error.value).endswith(" masks make --dataset DATASET --root ROOT")
