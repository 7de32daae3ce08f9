"""``torchreid-magnifier textures`` from the command line's words to the files."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image
from torchreid import data as torchreid_data
from torchreid import models as torchreid_models

import torchreid_magnifier
from torchreid_magnifier.annotate import sheets as show
from torchreid_magnifier.annotate.textures import to_pixels
from torchreid_magnifier.cli import main
from torchreid_magnifier.figures import pictures_figure
from torchreid_magnifier.inference.open import open_network

HEIGHT, WIDTH = 64, 32


def save_weights(model, path, seed=0):
    """Random weights of a model as training saves them, with the configuration beside them."""
    torch.manual_seed(seed)
    network = torchreid_models.build_model(model, num_classes=4, loss="softmax", pretrained=False)
    if getattr(network, "decoder", None):
        # As it begins, it sees grey in everything. This one sees other shades in other images, some
        # of them beyond [-1, 1], and more green than red, and more blue than green.
        for module in network.decoder.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.reset_parameters()
        last = network.decoder.to_texture[1]
        with torch.no_grad():
            last.weight.copy_(60 * last.weight[:1])
            last.bias.copy_(torch.tensor([-0.6, 0.0, 0.6]))
    path = path / model / "model" / "model.pth.tar-1"
    path.parent.mkdir(parents=True)
    torch.save({"state_dict": network.state_dict(), "epoch": 1}, path)
    (path.parents[1] / "config.yaml").write_text(
        f"model: {{name: {model}}}\n"
        f"data: {{height: {HEIGHT}, width: {WIDTH}, norm_mean: [0.485, 0.456, 0.406], "
        "norm_std: [0.229, 0.224, 0.225]}\n"
    )
    return str(path)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_weights("san_r18_pg", tmp_path_factory.mktemp("weights"))


@pytest.fixture
def root(noise_root, tmp_path):
    shutil.copytree(noise_root / "market1501", tmp_path / "data" / "market1501")
    return tmp_path / "data"


def run_make(root, weights, *arguments):
    where = ["--dataset", "market1501", "--root", str(root)]
    return main(["textures", "make", *where, "--weights", weights, "--device", "cpu", *arguments])


def images_of(root):
    return root / "market1501" / "Market-1501-v15.09.15"


def textures_of(root):
    folder = images_of(root).with_name("Market-1501-v15.09.15_texture")
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.png"))}


def test_a_dataset_gets_what_its_textures_version_reads(root, weights, capsys):
    assert run_make(root, weights, "--batch-size", "5") == 0
    out = capsys.readouterr().out
    folder = f"{images_of(root)}_texture"
    assert out == f"textures in {folder}\nimages without a texture: 0 of 16\n"
    dataset = torchreid_data.datasets.init_image_dataset(
        "market1501_textures", root=str(root), mode="train", verbose=False
    )
    network = open_network(weights)
    assert len(dataset) == len(textures_of(root)) == 16
    means = []
    for index in range(len(dataset)):
        item = dataset[index]
        with torch.inference_mode():
            decoded = network.model.decode(network.preprocessing(item["img"])[None]).texture[0]
        expected = (decoded.clamp(-1, 1).permute(1, 2, 0).numpy() * 0.5 + 0.5) * 255
        assert item["texture"].shape == (HEIGHT, 2 * WIDTH, 3)
        assert np.abs(item["texture"] - expected).max() < 0.51  # of a batch, a hair otherwise
        assert decoded.abs().max() > 1  # some had to be cut
        means.append(item["texture"].mean((0, 1)))
    red, green, blue = np.mean(means, 0)
    assert red < green < blue
    assert np.ptp(np.array(means), axis=0).max() > 1  # not the same for every image
    assert json.loads((images_of(root).parent / folder / "textures.json").read_text()) == {
        "version": torchreid_magnifier.__version__,
        "model": "san_r18_pg",
        "weights": network.card.sha256,
        "settings": {
            "height": HEIGHT,
            "width": WIDTH,
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
        },
    }


def test_from_float_to_8_bits():
    """Rounded, and cut where the reference implementation wraps around."""
    values = torch.tensor([-7.0, -1.0, -0.999, -0.99, 0.0, 0.5, 1.0, 1.01, 3.0])
    pixels = to_pixels(values.expand(2, 3, 4, -1))
    assert pixels.shape == (2, 4, 9, 3) and pixels.dtype == np.uint8
    for row in pixels.transpose(0, 1, 3, 2).reshape(-1, 9):
        assert row.tolist() == [0, 0, 0, 1, 128, 191, 255, 255, 255]


def test_query_and_gallery_too(root, weights):
    assert run_make(root, weights, "--all") == 0
    assert len(textures_of(root)) == 16 + 2 + 4


def test_a_folder_of_images_of_any_size_and_colour(tmp_path, weights):
    crops = tmp_path / "crops"
    (crops / "below").mkdir(parents=True)
    Image.new("L", (30, 70)).save(crops / "grey.png")
    Image.new("CMYK", (40, 90)).save(crops / "below" / "cmyk.JPG")
    words = ["--images", str(crops), "--weights", weights, "--device", "cpu"]
    assert main(["textures", "make", *words]) == 0
    for name in ("grey.png", "below/cmyk.png"):
        with Image.open(tmp_path / "crops_texture" / name) as texture:
            assert (texture.mode, texture.size) == ("RGB", (2 * WIDTH, HEIGHT))


def test_existing_textures_are_kept_unless_overwritten(root, weights):
    run_make(root, weights)
    complete = textures_of(root)
    folder = images_of(root).with_name("Market-1501-v15.09.15_texture")
    kept, missing = folder / min(complete), folder / max(complete)
    kept.write_bytes(b"mine")
    missing.unlink()
    assert run_make(root, weights) == 0
    assert kept.read_bytes() == b"mine"
    assert missing.read_bytes() == complete[max(complete)]
    assert run_make(root, weights, "--overwrite") == 0
    assert textures_of(root) == complete


def test_an_interrupted_run_goes_on_and_leaves_no_half_file(root, weights, interrupted_after):
    run_make(root, weights, "--batch-size", "3")
    complete = textures_of(root)
    folder = images_of(root).with_name("Market-1501-v15.09.15_texture")
    shutil.rmtree(folder)
    with interrupted_after(6):  # the record, and five textures
        assert run_make(root, weights, "--batch-size", "3") == 130
    partial = textures_of(root)
    assert 0 < len(partial) < len(complete) and partial.items() <= complete.items()
    written = {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}
    assert run_make(root, weights, "--batch-size", "3") == 0
    assert textures_of(root) == complete
    assert all(path.stat().st_mtime_ns == time for path, time in written.items())
    assert not list(folder.rglob("*.partial"))


def test_unreadable_images_are_listed_and_the_others_made(root, weights, capsys):
    damaged = sorted((images_of(root) / "bounding_box_train").iterdir())[3]
    damaged.write_bytes(damaged.read_bytes()[:200])
    assert run_make(root, weights) == 1
    out, err = capsys.readouterr()
    assert "images without a texture: 1 of 16\n" in out
    assert f"unreadable images: 1\n  {damaged}: " in err
    assert len(textures_of(root)) == 15


# -- mistakes --------------------------------------------------------------------------------------


def error_of(capsys, *arguments):
    assert main(["textures", *arguments]) == 2
    prefix = f"torchreid-magnifier textures {arguments[0]}: error: "
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(prefix)
    return line[len(prefix) :]


def make_words(root, weights):
    where = ["--dataset", "market1501", "--root", str(root)]
    return ["make", *where, "--weights", weights, "--device", "cpu"]


@pytest.mark.parametrize("model", ["magnifiernet_r18_g", "san_r18_encoder"])
def test_a_network_without_a_decoder(model, root, tmp_path, capsys):
    weights = save_weights(model, tmp_path)
    assert error_of(capsys, *make_words(root, weights)) == (
        f"{weights} is of the model {model}, which has no decoder and sees no textures: expected "
        "weights of san_pg or of another SAN with a decoder"
    )
    assert not textures_of(root)


def test_weights_that_are_not_there(root, capsys):
    message = error_of(capsys, *make_words(root, "model.pth.tar-9"))
    assert message.startswith("there are no weights 'model.pth.tar-9': expected a name that ")


def test_weights_that_are_no_checkpoint(root, tmp_path, capsys):
    path = Path(save_weights("san_r18_pg", tmp_path))
    path.write_bytes(b"PK no checkpoint")
    assert str(path) in error_of(capsys, *make_words(root, str(path)))


def test_weights_without_their_configuration(root, weights, tmp_path, capsys):
    path = str(shutil.copy(weights, tmp_path / "bare.pth"))
    assert "give model, height, width" in error_of(capsys, *make_words(root, path))
    given = ["--model", "san_r18_pg", "--height", str(HEIGHT), "--width", str(WIDTH)]
    assert main(["textures", *make_words(root, path), *given]) == 0
    assert len(textures_of(root)) == 16


def test_weights_are_required(root, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["textures", "make", "--dataset", "market1501", "--root", str(root)])
    assert stopped.value.code == 2
    assert "the following arguments are required: --weights" in capsys.readouterr().err


def test_textures_of_two_networks_are_not_mixed(root, weights, tmp_path, capsys):
    run_make(root, weights)
    min((images_of(root).parent).rglob("*_texture/*/*.png")).unlink()
    other = save_weights("san_r18_pg", tmp_path, seed=1)
    folder = f"{images_of(root)}_texture"
    assert error_of(capsys, *make_words(root, other)) == (
        f"{folder} holds textures made otherwise (weights differ, see {folder}/textures.json): "
        "give the same settings, or --overwrite to make them anew"
    )
    assert run_make(root, other, "--overwrite") == 0


def test_of_two_runs_at_once_the_second_stops(root, weights, capsys):
    folder = images_of(root).with_name("Market-1501-v15.09.15_texture")
    folder.mkdir()
    with FileLock(folder / ".textures.lock"):
        assert error_of(capsys, *make_words(root, weights)) == (
            f"another run is writing into {folder}: wait until it has ended"
        )


def test_an_unknown_dataset_and_images_that_are_not_there(root, weights, capsys):
    words = ["--weights", weights, "--root", str(root)]
    message = error_of(capsys, "make", "--dataset", "market1051", *words)
    assert message.startswith("--dataset: unknown name 'market1051'; did you mean 'market1501'")
    folder = root / "absent"
    assert error_of(capsys, "make", "--images", str(folder), *words) == (
        f"there is no folder {folder}"
    )


def test_an_unknown_device(root, weights, capsys):
    words = ["abacus" if word == "cpu" else word for word in make_words(root, weights)]
    assert error_of(capsys, *words).startswith("--device abacus: ")


# -- check and show --------------------------------------------------------------------------------


@pytest.fixture
def faulty(root, weights):
    """Textures, of which one is missing, one no image and one too small; an image is unreadable."""
    run_make(root, weights)
    images = sorted((images_of(root) / "bounding_box_train").iterdir())
    folder = images_of(root).with_name("Market-1501-v15.09.15_texture") / "bounding_box_train"
    paths = [folder / f"{image.stem}.png" for image in images]
    paths[0].unlink()
    paths[1].write_bytes(b"no image")
    Image.new("RGB", (2 * WIDTH - 2, HEIGHT)).save(paths[2])
    images[3].write_bytes(b"no image")
    return root, images, paths


def test_check_counts_every_kind_of_problem(faulty, capsys):
    root, images, paths = faulty
    capsys.readouterr()
    words = ["textures", "check", "--dataset", "market1501", "--root", str(root)]
    size = ["--height", str(HEIGHT), "--width", str(WIDTH)]
    assert main([*words, *size]) == 1
    out, err = capsys.readouterr()
    assert out == (
        "images: 16\n"
        "with a texture that fits: 12\n"
        "unreadable images: 1\n"
        "images without a texture: 1\n"
        "unreadable textures: 1\n"
        "textures of a size that does not fit the images (width x height): 1\n"
    )
    for path in (images[0], paths[1], paths[2], images[3]):
        assert str(path) in err
    assert err.endswith(
        f"torchreid-magnifier textures make --dataset market1501 --root {root} --weights WEIGHTS "
        "--overwrite\n"
    )
    assert main(words) == 1  # without a size, every size fits
    assert "with a texture that fits: 13\n" in capsys.readouterr().out


def test_check_of_what_is_well(root, weights, capsys):
    run_make(root, weights)
    capsys.readouterr()
    assert main(["textures", "check", "--dataset", "market1501", "--root", str(root)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("images: 16\nwith a texture that fits: 16\n") and err == ""


def test_check_needs_both_sides_of_a_size(root, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["textures", "check", "--images", str(root), "--height", "64"])
    assert stopped.value.code == 2
    assert "--height and --width go together" in capsys.readouterr().err


def test_show_draws_what_is_there(faulty, tmp_path, monkeypatch, capsys):
    root, images, paths = faulty
    sheets = []

    def draw(pairs, title):
        sheets.append((pairs, title))
        return pictures_figure(pairs, title)

    monkeypatch.setattr(show, "pictures_figure", draw)
    capsys.readouterr()
    out = tmp_path / "sheet.jpg"
    where = ["--dataset", "market1501", "--root", str(root), "--out", str(out)]
    assert main(["textures", "show", *where]) == 0
    assert capsys.readouterr().out == (f"16 images, 3 without textures that can be shown: {out}\n")
    [(pairs, title)] = sheets
    assert title == ("market1501: 16 of 16 images\n3 of these without textures that can be shown")
    assert [pair.pictures[1] for pair in (*pairs[:2], pairs[3])] == [
        "no texture",
        "faulty\ntexture",
        "unreadable\nimage",
    ]
    for pair, image, path in list(zip(pairs, images, paths, strict=True))[4:]:
        assert np.array_equal(pair.pictures[0], np.asarray(Image.open(image)))
        assert np.array_equal(pair.pictures[1], np.asarray(Image.open(path)))
    with Image.open(out) as sheet:
        assert sheet.format == "JPEG" and min(sheet.size) > 300
