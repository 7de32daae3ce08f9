import copy
import pickle
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torchreid
from PIL import Image
from tiny_people import HEIGHT, PIDS, VIEWS, WIDTH, MorePeople, TinyPeople, places
from torch.utils.data import DataLoader
from torchreid import data as torchreid_data
from torchvision import transforms as T

from torchreid_magnifier.data.datasets import plain_name, with_masks, with_textures
from torchreid_magnifier.data.textures import TextureError, TextureFiles
from torchreid_magnifier.data.transforms import TextureTransform
from torchreid_magnifier.images import read_image

TinyPeopleTextures = with_textures(TinyPeople, "tiny_people")
MorePeopleTextures = with_textures(MorePeople, "more_people")
NAMES = ["test_tiny_surfaces_textures", "test_more_surfaces_textures"]


@pytest.fixture(scope="module", autouse=True)
def registered():
    for name, cls in zip(NAMES, (TinyPeopleTextures, MorePeopleTextures), strict=True):
        torchreid_data.register_image_dataset(name, cls)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Noise, and other noise as its texture."""
    root = tmp_path_factory.mktemp("reid-data")
    rng = np.random.default_rng(0)
    for image, texture in places(root, "_texture"):
        for path, width in ((image, WIDTH), (texture, 2 * WIDTH)):
            Image.fromarray(rng.integers(0, 256, (HEIGHT, width, 3), dtype=np.uint8)).save(path)
    return str(root)


@pytest.fixture
def root(made, tmp_path):
    """A copy that a test may spoil."""
    shutil.copytree(made, tmp_path / "data")
    return str(tmp_path / "data")


def flip():
    return T.Compose([T.RandomHorizontalFlip(), T.ToTensor()])


def seed(value):
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)


def drawn():
    """What each generator gives next."""
    return random.random(), np.random.random(), torch.rand(1).item()


def texture_path(image_path):
    return Path(image_path.replace("/images/", "/images_texture/"))


def as_channels(path):
    """(6, H, W): what a training item has to hold of a texture of the right size."""
    texture = np.asarray(Image.open(path), np.float32) / 127.5 - 1
    left, right = texture[:, : texture.shape[1] // 2], texture[:, texture.shape[1] // 2 :]
    return torch.from_numpy(np.concatenate([left, right], axis=2)).permute(2, 0, 1)


# Items


def test_a_training_item_is_torchreids_with_the_halves_of_the_texture_as_six_channels(made):
    plain = TinyPeople(root=made, transform=flip(), verbose=False)
    textured = TinyPeopleTextures(root=made, transform=flip(), verbose=False)
    assert len(textured) == len(plain) == PIDS * VIEWS
    assert textured.train == plain.train
    for index in range(len(plain)):
        seed(index)
        expected = plain[index]
        seed(index)
        item = textured[index]
        image = item.pop("img")
        assert image.shape == (9, HEIGHT, WIDTH)
        assert image.dtype == torch.float32
        assert torch.equal(image[:3], expected.pop("img"))
        torch.testing.assert_close(image[3:], as_channels(texture_path(item["impath"])))
        assert item == expected


def test_values_go_from_minus_one_to_one(root):
    pixels = np.zeros((HEIGHT, 2 * WIDTH, 3), np.uint8)
    pixels[:, :WIDTH] = (255, 0, 51)
    pixels[:, WIDTH:] = (0, 102, 255)
    Image.fromarray(pixels).save(texture_path(f"{root}/tiny/images/train/0_0_0.png"))
    image = TinyPeopleTextures(root=root, transform=flip(), verbose=False)[0]["img"]
    expected = torch.tensor([1, -1, -0.6, -1, -0.2, 1])[:, None, None].expand(6, HEIGHT, WIDTH)
    torch.testing.assert_close(image[3:], expected)


def test_erasing_and_cropping_leave_the_texture_alone(made):
    erase = T.RandomErasing(p=1, scale=(0.6, 0.6), ratio=(2, 2), value=7)
    transform = T.Compose(
        [T.RandomHorizontalFlip(p=1), T.RandomCrop((HEIGHT, WIDTH), 2), T.ToTensor(), erase]
    )
    dataset = TinyPeopleTextures(root=made, transform=transform, verbose=False)
    image = dataset[0]["img"]
    assert (image[:3] == 7).float().mean() > 0.5
    torch.testing.assert_close(image[3:], as_channels(texture_path(dataset.train[0][0])))


def test_k_tfm_gives_views_that_are_drawn_independently_of_one_texture(made):
    dataset = TinyPeopleTextures(root=made, transform=flip(), k_tfm=8, verbose=False)
    seed(0)
    views = dataset[0]["img"]
    assert isinstance(views, list) and len(views) == 8
    for view in views:
        assert view.shape == (9, HEIGHT, WIDTH)
        assert torch.equal(view[3:], views[0][3:])
    assert len({tuple(view[:3].flatten().tolist()) for view in views}) == 2


def test_without_a_transform_the_texture_stands_beside_the_image(made):
    item = TinyPeopleTextures(root=made, verbose=False)[3]
    assert isinstance(item["img"], Image.Image)
    assert item["texture"].dtype == np.uint8
    expected = np.asarray(Image.open(texture_path(item["impath"])))
    assert np.array_equal(item["texture"], expected)


@pytest.mark.parametrize("mode", ["query", "gallery"])
def test_testing_is_as_without_textures_and_needs_none(root, mode):
    shutil.rmtree(Path(root, "tiny/images_texture"))
    options = {"root": root, "transform": flip(), "mode": mode, "verbose": False}
    plain, textured = TinyPeople(**options), TinyPeopleTextures(**options)
    assert len(textured) == len(plain)
    for index in range(len(plain)):
        seed(index)
        expected = plain[index]
        seed(index)
        item = textured[index]
        assert torch.equal(item.pop("img"), expected.pop("img"))
        assert item == expected


# Sizes


@pytest.mark.parametrize("factor", [2, 3])
def test_a_larger_texture_is_reduced_by_the_mean_of_areas(root, factor):
    large = np.random.default_rng(1).integers(0, 256, (factor * HEIGHT, 2 * factor * WIDTH, 3))
    path = texture_path(f"{root}/tiny/images/train/0_0_0.png")
    Image.fromarray(large.astype(np.uint8)).save(path)
    image = TinyPeopleTextures(root=root, transform=flip(), verbose=False)[0]["img"]
    for row, column, channel in ((0, 0, 0), (5, 7, 1), (HEIGHT - 1, WIDTH - 1, 2)):
        rows = slice(factor * row, factor * (row + 1))
        for half in (0, 1):
            x = half * WIDTH + column
            area = large[rows, factor * x : factor * (x + 1), channel]
            expected = area.mean() / 127.5 - 1
            assert image[3 + 3 * half + channel, row, column].item() == pytest.approx(
                expected, abs=1e-6
            )


def test_textures_may_be_half_as_large_again(root):
    flat = np.full((3 * HEIGHT // 2, 3 * WIDTH, 3), 51, np.uint8)
    Image.fromarray(flat).save(texture_path(f"{root}/tiny/images/train/0_0_0.png"))
    image = TinyPeopleTextures(root=root, transform=flip(), verbose=False)[0]["img"]
    torch.testing.assert_close(image[3:], torch.full((6, HEIGHT, WIDTH), -0.6))


def test_the_size_that_counts_is_that_of_the_transformed_images(root):
    transform = T.Compose([T.Resize((2 * HEIGHT, 2 * WIDTH)), T.ToTensor()])
    with pytest.raises(TextureError) as error:
        TinyPeopleTextures(root=root, transform=transform, verbose=False)
    assert "does not fit the images (width x height): 16\n" in str(error.value)
    assert "expected 32x32, or larger of the same shape, found 16x16\n" in str(error.value)
    transform = T.Compose([T.Resize((HEIGHT // 2, WIDTH // 2)), T.ToTensor()])
    dataset = TinyPeopleTextures(root=root, transform=transform, verbose=False)
    assert dataset[0]["img"].shape == (9, HEIGHT // 2, WIDTH // 2)


# The check before training


def test_one_message_reports_every_kind_of_problem(root):
    images, textures = Path(root, "tiny/images/train"), Path(root, "tiny/images_texture/train")
    (images / "0_0_0.png").write_bytes(b"no image")
    (textures / "0_0_2.png").unlink()
    (textures / "0_1_1.png").write_bytes(b"no texture")
    whole = (textures / "0_1_3.png").read_bytes()
    (textures / "0_1_3.png").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(np.zeros((HEIGHT, 2 * WIDTH), np.uint16)).save(textures / "1_0_0.png")  # scaled
    for name, size in (("1_0_2", (8, 8)), ("1_1_1", (16, 8)), ("1_1_3", (16, 32))):
        Image.new("RGB", size).save(textures / f"{name}.png")
    with pytest.raises(TextureError) as error:
        TinyPeopleTextures(root=root, transform=flip(), verbose=False)
    cut = f"{textures}/0_1_3.png: cannot be read as an image ("
    lines = str(error.value).splitlines()
    assert [line for line in lines if not line.startswith(f"  {cut}")] == [
        "7 of 16 images cannot be used with their textures.",
        "unreadable images: 1",
        f"  {images}/0_0_0.png: cannot be read as an image (its content is none)",
        "images without a texture: 1",
        f"  {images}/0_0_2.png",
        "  tried for the first of them:",
        f"    {images}_texture/0_0_2.png",
        f"    {textures}/0_0_2.png",
        f"    {root}/tiny_texture/images/train/0_0_2.png",
        f"    {root}_texture/tiny/images/train/0_0_2.png",
        "unreadable textures: 2",
        f"  {textures}/0_1_1.png: cannot be read as an image (its content is none)",
        "textures of a size that does not fit the images (width x height): 3",
        f"  {textures}/1_0_2.png: expected 16x16, or larger of the same shape, found 8x8",
        f"  {textures}/1_1_1.png: expected 16x16, or larger of the same shape, found 16x8",
        f"  {textures}/1_1_3.png: expected 16x16, or larger of the same shape, found 16x32",
        "Textures are made by",
        f"  torchreid-magnifier textures make --dataset tiny_people --root {root} "
        "--weights WEIGHTS --overwrite",
    ]
    assert cut in str(error.value)


def test_without_a_transform_every_size_will_do(root):
    Image.new("RGB", (5, 3)).save(texture_path(f"{root}/tiny/images/train/0_0_0.png"))
    assert TinyPeopleTextures(root=root, verbose=False)[0]["texture"].shape == (3, 5, 3)


def test_combineall_trains_with_the_textures_of_query_and_gallery(root):
    options = {"root": root, "transform": flip(), "combineall": True, "verbose": False}
    dataset = TinyPeopleTextures(**options)
    assert len(dataset) == 3 * PIDS * VIEWS
    assert all(dataset[index]["img"].shape[0] == 9 for index in range(len(dataset)))
    shutil.rmtree(Path(root, "tiny/images_texture/query"))
    TinyPeopleTextures(**{**options, "combineall": False})
    with pytest.raises(TextureError, match=r"^16 of 48 images cannot be used") as error:
        TinyPeopleTextures(**options)
    assert str(error.value).endswith(f"--root {root} --all --weights WEIGHTS")


# Where textures are looked for


@pytest.mark.parametrize(
    "image, texture",
    [
        (
            "market1501/Market-1501-v15.09.15/bounding_box_train/0002_c1s1_000451_03.jpg",
            "market1501/Market-1501-v15.09.15_texture/bounding_box_train/0002_c1s1_000451_03.png",
        ),
        ("cuhk03/images_labeled/1_001_1_01.png", "cuhk03/images_labeled_texture/1_001_1_01.png"),
        # the layout of SAN's reference implementation
        ("cuhk03/images_labeled/1_001_1_01.png", "cuhk03/texture_cuhk03_labeled/1_001_1_01.png"),
        ("cuhk03/images_labeled/1_001_1_01.jpg", "cuhk03/texture_cuhk03_labeled/1_001_1_01.jpg"),
        ("cuhk03/images_detected/1_001_1_01.png", "cuhk03/texture_cuhk03_detected/1_001_1_01.png"),
    ],
)
def test_finds_the_texture_in_each_layout(tmp_path, image, texture):
    files = TextureFiles((16, 8))
    image, texture = tmp_path / image, tmp_path / texture
    assert files.find(str(image), tmp_path) is None
    for path in (image, texture):
        path.parent.mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(path)
    assert files.find(str(image), tmp_path) == str(texture)
    assert files.check([str(image)], root=tmp_path) == {str(image): str(texture)}


def test_candidates_go_from_the_nearest_folder_up_to_the_root():
    assert TextureFiles().candidates("/data/cuhk03/images_labeled/x.jpg", "/data") == [
        "/data/cuhk03/images_labeled_texture/x.png",
        "/data/cuhk03_texture/images_labeled/x.png",
        "/data_texture/cuhk03/images_labeled/x.png",
        "/data/cuhk03/texture_cuhk03_labeled/x.jpg",
    ]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_textures_are_read_as_rgb(tmp_path, mode):
    grey = Image.new("RGB", (4, 2), (10, 10, 10))
    grey.convert(mode, palette=Image.Palette.ADAPTIVE).save(tmp_path / "x.png")
    assert Image.open(tmp_path / "x.png").mode == mode
    assert np.array_equal(read_image(tmp_path / "x.png"), np.full((2, 4, 3), 10, np.uint8))


# The transform


def test_looking_for_the_size_draws_no_random_numbers(made):
    class Draws:
        def __call__(self, image):
            drawn()
            return image

    transform = T.Compose([Draws(), T.ToTensor()])
    seed(3)
    expected = drawn()
    seed(3)
    TinyPeopleTextures(root=made, transform=transform, verbose=False)
    assert drawn() == expected


def test_looking_for_the_size_leaves_no_trace_in_a_transform_that_remembers():
    class Remembers:
        def __init__(self):
            self.seen = []

        def __call__(self, image):
            self.seen.append(image)
            return T.functional.to_tensor(image)

    transform = Remembers()
    assert TextureTransform(transform, (6, 10)).size == (10, 6)
    assert transform.seen == []


@pytest.mark.parametrize(
    "transform, found",
    [
        (T.Compose([]), "Image"),
        (T.Compose([T.Grayscale(), T.ToTensor()]), "(1, 16, 8)"),
        (T.Compose([T.ToTensor(), T.Lambda(lambda image: image[0])]), "(16, 8)"),
    ],
)
def test_a_transform_has_to_give_tensors(made, transform, found):
    with pytest.raises(ValueError) as error:
        TinyPeopleTextures(root=made, transform=transform, verbose=False)
    assert str(error.value) == (
        f"expected the transform to end in a tensor of shape (3, H, W), found {found}"
    )


def test_images_of_several_sizes_need_a_transform_that_resizes(root):
    path = f"{root}/tiny/images/train/3_1_3.png"
    Image.new("RGB", (WIDTH, HEIGHT + 2)).save(path)
    dataset = TinyPeopleTextures(root=root, transform=flip(), verbose=False)
    with pytest.raises(ValueError) as error:
        dataset[len(dataset) - 1]
    assert str(error.value) == (
        "expected the transform to give every image the shape (3, 16, 8), found (3, 18, 8): let it "
        "begin with a Resize"
    )


# Several sources


def test_a_sum_keeps_textures_and_k_tfm(made):
    options = {"root": made, "transform": flip(), "k_tfm": 2, "verbose": False}
    total = sum([TinyPeopleTextures(**options), MorePeopleTextures(**options)])
    plain = sum(cls(**options) for cls in (TinyPeople, MorePeople))
    assert total.train == plain.train
    assert total.k_tfm == 2
    assert len(total) == 2 * PIDS * VIEWS
    for index in range(len(total)):
        item = total[index]
        assert (item["impath"], item["pid"], item["camid"], item["dsetid"]) == total.train[index]
        for view in item["img"]:
            torch.testing.assert_close(view[3:], as_channels(texture_path(item["impath"])))


def test_a_sum_with_and_without_textures_is_an_error(made):
    textured = TinyPeopleTextures(root=made, verbose=False)
    masked = with_masks(MorePeople)(root=made, mode="query", verbose=False)
    plain = MorePeople(root=made, verbose=False)
    for pair in ([textured, plain], [textured, masked], [masked, textured]):
        with pytest.raises(TypeError, match="^cannot add a dataset with (masks|textures) and one"):
            sum(pair)


# Classes


def test_the_class_is_made_once_and_named_after_its_base():
    cls = with_textures(MorePeople)
    assert cls is with_textures(MorePeople) is with_textures(MorePeople, "morepeople")
    assert cls is not with_masks(MorePeople)
    assert cls.__name__ == "MorePeopleTextures"
    assert issubclass(cls, MorePeople)
    assert with_textures(cls) is cls


def test_one_kind_of_sidecar_files_is_enough():
    with pytest.raises(TypeError) as error:
        with_masks(TinyPeopleTextures)
    assert str(error.value) == (
        "TinyPeopleTextures has textures already, and there is no dataset with masks too: take "
        "the class that it was made of"
    )


@pytest.mark.parametrize("name", ["market1501", "market1501_masks", "market1501_textures"])
def test_the_plain_name_of_a_dataset(name):
    assert plain_name(name) == "market1501"


@pytest.mark.parametrize("again", [copy.deepcopy, lambda data: pickle.loads(pickle.dumps(data))])
def test_copies_are_whole(made, again):
    single = TinyPeopleTextures(root=made, transform=flip(), verbose=False)
    total = single + MorePeopleTextures(root=made, transform=flip(), verbose=False)
    for dataset in (single, total):
        copied = again(dataset)
        assert type(copied) is type(dataset)
        seed(0)
        expected = dataset[9]["img"]
        seed(0)
        assert torch.equal(copied[9]["img"], expected)


def test_workers_load_textures(made):
    """Those of ``test_mask_datasets.py`` are spawned, too, and get what is pickled alike."""
    total = TinyPeopleTextures(root=made, transform=flip(), verbose=False)
    total += MorePeopleTextures(root=made, transform=flip(), verbose=False)
    loader = DataLoader(total, batch_size=8, num_workers=2)
    images = torch.cat([batch["img"] for batch in loader])
    expected = torch.stack([as_channels(texture_path(path)) for path, *_ in total.train])
    torch.testing.assert_close(images[:, 3:], expected)


# Torchreid's data manager


def manager(root, **options):
    defaults = {
        "sources": NAMES,
        "height": 16,
        "width": 8,
        "transforms": ["random_flip", "random_crop", "random_patch", "random_erase"],
        "batch_size_train": 8,
        "batch_size_test": 8,
        "workers": 0,
        "use_gpu": False,
        "train_sampler": "RandomIdentitySampler",
    }
    return torchreid_data.ImageDataManager(root=root, **{**defaults, **options})


def test_the_data_manager_trains_and_tests_on_it(made):
    data = manager(made)
    assert data.num_train_pids == 2 * PIDS
    batches = list(data.train_loader)
    assert batches
    for batch in batches:
        assert batch["img"].shape == (8, 9, 16, 8)
        expected = torch.stack([as_channels(texture_path(path)) for path in batch["impath"]])
        torch.testing.assert_close(batch["img"][:, 3:], expected)
    for name in ("query", "gallery"):
        loader = data.test_loader[NAMES[0]][name]
        assert [batch["img"].shape for batch in loader] == [(8, 3, 16, 8)] * 2


def test_san_learns_from_it(root):
    for path in Path(root).rglob("images_texture/*/*.png"):
        Image.open(path).resize((64, 64)).save(path)
    data = manager(root, height=64, width=32)
    model = torchreid.models.build_model("san_r18", data.num_train_pids, "triplet", False)
    engine = torchreid.engine.ImageTripletEngine(
        data, model, torchreid.optim.build_optimizer(model), use_gpu=False
    )
    engine.model.train()
    engine.forward_backward(next(iter(data.train_loader)))
    assert all(
        parameter.grad.abs().sum() > 0 for parameter in model.decoder.to_texture.parameters()
    )
