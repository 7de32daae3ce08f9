"""The dataset ``pit``: pairs of an image and a texture, to train on only."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torchreid import data as torchreid_data

from torchreid_magnifier.cli import main
from torchreid_magnifier.data.image_datasets.base import DatasetError
from torchreid_magnifier.data.textures import TextureError

HEIGHT, WIDTH = 32, 16
TEXTURES = {"0003": (255, 0, 0), "0929": (0, 0, 51)}


@pytest.fixture
def root(tmp_path):
    """Two textures, each in four images, in the layout that docs/guides/textures.md describes."""
    for folder in ("images", "textures"):
        (tmp_path / "pit" / folder).mkdir(parents=True)
    for name, colour in TEXTURES.items():
        Image.new("RGB", (2 * WIDTH, HEIGHT), colour).save(tmp_path / f"pit/textures/{name}.png")
        for number in range(4):
            image = Image.new("RGB", (WIDTH, HEIGHT), colour)
            image.save(tmp_path / f"pit/images/{name}_{number:02d}.jpg")
    return tmp_path


def build(root, name="pit", mode="train"):
    return torchreid_data.datasets.init_image_dataset(
        name, root=str(root), mode=mode, verbose=False
    )


def manager(root, sources, targets, **options):
    return torchreid_data.ImageDataManager(
        root=str(root),
        sources=sources,
        targets=targets,
        height=HEIGHT,
        width=WIDTH,
        batch_size_train=4,
        batch_size_test=2,
        workers=0,
        use_gpu=False,
        **options,
    )


def test_an_identity_is_a_texture(root, capsys):
    dataset = build(root)
    assert [sample[1:] for sample in dataset.train] == [(0, 0, 0)] * 4 + [(1, 0, 0)] * 4
    assert dataset.query == dataset.gallery == []
    assert (dataset.num_train_pids, dataset.num_train_cams) == (2, 1)
    assert capsys.readouterr().out == ""
    dataset.show_summary()
    assert "  train    |     2 |        8 |         1" in capsys.readouterr().out


def test_images_share_their_texture(root):
    dataset = build(root, "pit_textures")
    for index in range(len(dataset)):
        item = pickle.loads(pickle.dumps(dataset))[index]
        name = item["impath"].rsplit("/", 1)[1].split("_")[0]
        assert (item["texture"] == np.array(TEXTURES[name], np.uint8)).all()


def test_it_is_a_source(root, noise_root):
    (root / "market1501").symlink_to(noise_root / "market1501")
    data = manager(root, "pit_textures", "market1501", transforms=[], combineall=True)
    batches = list(data.train_loader)
    assert len(batches) == 2 and batches[0]["img"].shape == (4, 9, HEIGHT, WIDTH)
    for image, pid in zip(batches[0]["img"], batches[0]["pid"], strict=True):
        red, green, blue = torch.tensor(list(TEXTURES.values())[pid]) / 127.5 - 1
        for half in image[3:].split(3):
            expected = torch.stack([red, green, blue])[:, None, None].expand(3, HEIGHT, WIDTH)
            assert torch.allclose(half, expected)
    assert len(data.test_loader["market1501"]["query"].dataset) == 2


@pytest.mark.parametrize("name", ["pit", "pit_textures"])
@pytest.mark.parametrize("mode", ["query", "gallery"])
def test_it_is_no_target(root, name, mode):
    with pytest.raises(DatasetError) as error:
        build(root, name, mode)
    assert str(error.value) == (
        f"{root}/pit has images to train on only, none to test with: make it a source (-s, "
        "data.sources), and another dataset the target (-t, data.targets)"
    )


def test_a_missing_folder(root):
    (root / "pit" / "textures").rename(root / "pit" / "texture")
    with pytest.raises(DatasetError) as error:
        build(root)
    message = str(error.value)
    assert message.startswith(f"there is no folder {root}/pit/textures\nexpected images named ")
    assert "docs/guides/textures.md" in message


def test_no_images(root):
    for path in (root / "pit" / "images").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match="has no train images\n"):
        build(root)


def test_a_name_that_tells_no_texture(root):
    path = next((root / "pit" / "images").iterdir())
    path.rename(path.with_name("render.jpg"))
    with pytest.raises(DatasetError, match="names that tell no identity: 1\n"):
        build(root)


def test_a_missing_texture_is_reported_with_the_places_tried(root, capsys):
    (root / "pit" / "textures" / "0929.png").unlink()
    with pytest.raises(TextureError) as error:
        build(root, "pit_textures")
    message = str(error.value)
    assert "images without a texture: 4\n" in message
    assert f"\n    {root}/pit/textures/0929.png\n" in message
    words = ["textures", "check", "--dataset", "pit", "--root", str(root)]
    assert main(words) == 1
    out, err = capsys.readouterr()
    assert "images: 8\nwith a texture that fits: 4\n" in out
    assert f"    {root}/pit/textures/0929.png\n" in err


def test_part_labels_can_be_made_for_it_as_for_every_dataset(root):
    from torchreid_magnifier.annotate.images import dataset_images

    images = dataset_images("pit_masks", str(root))
    assert len(images.paths) == 8 and images.root == f"{root}/pit/images"
