"""``torchreid-magnifier show``, with networks of random weights on images of noise."""

import os
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
import torchreid
from matplotlib.image import AxesImage
from networks import save_run
from PIL import Image

from torchreid_magnifier import figures
from torchreid_magnifier.cli import main
from torchreid_magnifier.images import read_image
from torchreid_magnifier.inference.explain.maps import activation_map, branch_maps, inspect_images
from torchreid_magnifier.inference.explain.rankings import Search
from torchreid_magnifier.inference.open import open_network
from torchreid_magnifier.parts import PARTS

TR14_SCRIPT = Path(torchreid.__file__).parents[1] / "tools" / "visualize_actmap.py"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Checkpoints as a training run leaves them, by the name of the run."""
    folder = tmp_path_factory.mktemp("runs")
    runs = {
        "before": "magnifiernet_r18",
        "after": "magnifiernet_r18",
        "baseline": "magnifiernet_r18_g",
        "san": "san_r18",
    }
    return {
        run: save_run(folder / run, name, seed, epoch=7, std=0.2)
        for seed, (run, name) in enumerate(runs.items())
    }


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved."""
    kept, save = [], figures.save

    def keep(figure, path):
        kept.append(figure)
        save(figure, path)

    monkeypatch.setattr("torchreid_magnifier.cli.show.save", keep)
    return kept


def pictures(figure) -> list[np.ndarray]:
    """Of the first axes, from left to right, row by row."""
    images = [artist for artist in figure.axes[0].get_children() if isinstance(artist, AxesImage)]
    return [np.asarray(image.get_array()) for image in images]


def texts(figure) -> str:
    found, names = [*figure.texts], []
    for axes in figure.axes:
        found += [axes.title, *axes.texts, *axes.get_xticklabels()]
        names.append(axes.get_title(loc="left"))
    return "\n".join([*names, *(text.get_text() for text in found)])


def queries(root: Path) -> list[str]:
    return [str(path) for path in sorted(root.glob("market1501/*/query/*.jpg"))]


def inspection(weights: str, paths: list[str]):
    network = open_network(weights)
    (seen,) = inspect_images(network, paths, len(paths))
    return seen


# ---------------------------------------------------------------------- masks


def test_masks_beside_the_true_ones(weights, noise_root, tmp_path, drawn, capsys):
    paths, out = queries(noise_root), tmp_path / "masks.png"
    assert main(["show", "masks", *paths, "--weights", weights["after"], "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: images: 2, of these with true labels: 2\n"
    with Image.open(out) as picture:
        assert picture.format == "PNG"
    labels = inspection(weights["after"], paths).part_labels.numpy()
    shown = pictures(drawn[0])
    assert len(shown) == 2 * 3
    for index in range(2):
        image, true, predicted = shown[3 * index :][:3]
        assert np.array_equal(image, read_image(paths[index]))
        assert np.array_equal(predicted, figures.mask_overlay(image, labels[index]))
        assert not np.array_equal(true, predicted)
    assert "after, epoch 7: a label for each 8 x 8 pixels of an image at 64 x 32" in texts(drawn[0])


def test_masks_of_images_without_labels(weights, tmp_path, drawn, capsys):
    for name, size in (("a.png", (40, 90)), ("b.jpg", (300, 100))):
        Image.new("RGB", size, "red").save(tmp_path / name)
    out = tmp_path / "out.jpg"
    command = ["show", "masks", str(tmp_path), "--weights", weights["after"], "--out", str(out)]
    assert main(command) == 0
    assert "of these with true labels: 0" in capsys.readouterr().out
    assert len(pictures(drawn[0])) == 2 * 2


def test_count_draws_images_at_random_once_and_again(weights, noise_root, tmp_path, drawn):
    folder, out = str(noise_root / "market1501" / "Market-1501-v15.09.15"), tmp_path / "o.png"
    command = ["show", "masks", folder, "--weights", weights["after"], "--out", str(out)]
    for seed in ("1", "1", "2"):
        assert main([*command, "--count", "3", "--seed", seed]) == 0
    names = [{text for text in texts(f).split("\n") if "_c" in text} for f in drawn]
    assert names[0] == names[1] != names[2] and len(names[0]) == 3


# ---------------------------------------------------------------------- activations


def test_activations_of_the_branches(weights, noise_root, tmp_path, drawn):
    paths, out = queries(noise_root), tmp_path / "activations.png"
    assert (
        main(["show", "activations", *paths, "--weights", weights["after"], "--out", str(out)]) == 0
    )
    maps = branch_maps(inspection(weights["after"], paths))
    expected = []
    for index, path in enumerate(paths):
        image = read_image(path)
        overlays = [figures.heat_overlay(image, found[index].numpy()) for found in maps.values()]
        expected += [image, *overlays]
    assert all(map(np.array_equal, pictures(drawn[0]), expected))
    assert len(pictures(drawn[0])) == 2 * 5
    shown = texts(drawn[0])
    assert all(name in shown for name in ("image", "G", "SAB", "SFB", "joint", "low", "high"))


def test_activations_of_one_branch_have_no_joint_map(weights, noise_root, tmp_path, drawn):
    out = str(tmp_path / "o.png")
    for run in ("baseline", "san"):
        command = ["show", "activations", *queries(noise_root), "--weights", weights[run]]
        assert main([*command, "--out", out]) == 0
    assert [len(pictures(figure)) for figure in drawn] == [2 * 2, 2 * 2]


def test_activations_of_several_networks(weights, noise_root, tmp_path, drawn):
    paths, out = queries(noise_root), str(tmp_path / "o.pdf")
    several = ["--weights", weights["baseline"], "--weights", weights["after"]]
    names = ["--names", "G", "--names", "all branches"]
    assert main(["show", "activations", "--out", out, *several, *names, *paths]) == 0
    assert len(pictures(drawn[0])) == 2 * 3
    assert "G" in texts(drawn[0]) and "all\nbranches" in texts(drawn[0])
    assert Path(out).read_bytes().startswith(b"%PDF")


def test_activations_of_regions(weights, noise_root, tmp_path, drawn):
    out = str(tmp_path / "o.png")
    command = ["show", "activations", *queries(noise_root), "--regions", "--out", out]
    assert main([*command, "--weights", weights["after"]]) == 0
    assert len(pictures(drawn[0])) == 2 * (1 + len(PARTS))
    assert all(part.replace("_", " ") in texts(drawn[0]) for part in PARTS)


# ---------------------------------------------------------------------- rankings


def rankings(noise_root, *more) -> int:
    return main(
        ["show", "rankings", "--dataset", "market1501", "--root", str(noise_root), *map(str, more)]
    )


def test_rankings_with_the_regions_that_matter(weights, noise_root, tmp_path, drawn, capsys):
    out = tmp_path / "o.png"
    both = ["--weights", weights["before"], weights["after"]]
    assert rankings(noise_root, *both, "--top", 2, "--out", out) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"{out}: queries: 2 of 2; before, epoch 7: rank-1 ")
    assert len(pictures(drawn[0])) == 2 * (1 + 2 * 2 * 2)  # the query; of each hit two
    shown = texts(drawn[0])
    for text in ("before, epoch 7\nrank-1", "after, epoch 7\nrank-1"):
        assert text in printed.replace(": rank-1", "\nrank-1")
    assert "share of the gallery whose part resembles the query's less" in shown
    measures = printed.partition("after, epoch 7: ")[2].strip()
    assert measures in shown


def test_rankings_of_named_queries_and_networks_without_regions(
    weights, noise_root, tmp_path, drawn
):
    query, out = queries(noise_root)[1], tmp_path / "o.png"
    only = ["--weights", weights["baseline"], "--query", os.path.basename(query), "--out", out]
    assert rankings(noise_root, *only) == 0
    found = pictures(drawn[0])
    assert np.array_equal(found[0], read_image(query))
    assert len(found) == 1 + 4 * 2  # the whole gallery
    assert "activation, each map on its own scale" in texts(drawn[0])
    assert rankings(noise_root, *only, "--why", "none") == 0
    assert len(pictures(drawn[1])) == 1 + 4


def test_differing_draws_queries_that_one_network_only_finds(
    weights, noise_root, tmp_path, drawn, monkeypatch, capsys
):
    both = ["--weights", weights["before"], weights["after"], "--out", tmp_path / "o.png"]
    rights = iter([True, True, False, True])  # the first network's two queries, the second's
    monkeypatch.setattr(Search, "finds", lambda *_: next(rights))
    assert rankings(noise_root, *both, "--differing", "--why", "none") == 0
    assert np.array_equal(pictures(drawn[0])[0], read_image(queries(noise_root)[0]))
    assert "from the 1 of 2 queries whose nearest" in texts(drawn[0])
    assert "(left 1, right 0)" in texts(drawn[0])
    monkeypatch.setattr(Search, "finds", lambda *_: True)
    assert rankings(noise_root, *both, "--differing") == 2
    assert "right or wrong for both networks alike" in capsys.readouterr().err


# ---------------------------------------------------------------------- regions


def test_regions_before_and_after(weights, noise_root, tmp_path, drawn, capsys):
    data = ["--dataset", "market1501", "--root", str(noise_root), "--out", str(tmp_path / "o.svg")]
    networks = ["--weights", weights["before"], weights["after"], "--names", "one", "two"]
    assert main(["show", "regions", *networks, *data]) == 0
    printed = capsys.readouterr().out
    paths = sorted(noise_root.glob("market1501/Market*09.15/query/*")) + sorted(
        noise_root.glob("market1501/Market*09.15/bounding_box_test/*")
    )
    regions = [
        inspection(weights[run], list(map(str, paths))).regions for run in ("before", "after")
    ]
    for name, found in zip(("one", "two"), regions, strict=True):
        loss = float(torchreid.losses.SemanticDiversityLoss()(found))
        assert f"{name} {loss:.4f}" in printed and f"(SD loss) {loss:.4f}" in texts(drawn[0])
    matrices = [
        np.ma.filled(axes.images[0].get_array(), np.nan) for axes in drawn[0].axes if axes.images
    ]
    assert len(matrices) == 3
    np.testing.assert_allclose(matrices[2], matrices[1] - matrices[0])
    assert main(["show", "regions", "--weights", weights["after"], *data]) == 0
    assert sum(bool(axes.images) for axes in drawn[1].axes) == 1


# ---------------------------------------------------------------------- mistakes


def test_mistakes_are_reported_before_anything_is_drawn(
    weights, noise_root, tmp_path, drawn, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    image, net = queries(noise_root)[0], ["--weights", weights["after"]]
    baseline, san = ["--weights", weights["baseline"]], ["--weights", weights["san"]]
    data = ["--dataset", "market1501", "--root", str(noise_root)]
    both = ["--weights", weights["before"], weights["after"], *data]
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.jpg").write_text("no image")
    for command, message in [
        (["masks", "nowhere", *net], "there is no file or folder nowhere"),
        (["masks", "empty", *net], "found none"),
        (["masks", "text.jpg", *net], "text.jpg: cannot be read as an image"),
        (["masks", image, "--weights", "gone"], "there are no weights 'gone'"),
        (["masks", image, "--weights", "text.jpg"], "text.jpg"),
        (["masks", image, *net, "--out", "a.txt"], "expected .png"),
        (["masks", image, *net, "--out", "no/a.png"], "there is no folder no"),
        (["masks", image, *baseline], "magnifiernet_r18_g predicts no body parts"),
        (["masks", image, *san], "san_r18 predicts no body parts"),
        (["masks", image, *net, "--device", "gpu"], "--device gpu"),
        (["activations", image, *net, *net], "would both be called 'after, epoch 7'"),
        (["activations", image, *net, "--names", "a", "--names", "b"], "one for each of the 1"),
        (["activations", image, *net, *baseline, "--regions"], "--regions shows one network"),
        (["activations", image, *baseline, "--regions"], "no features of regions"),
        (["rankings", *both, *net], "expected at most 2 networks, found 3"),
        (["rankings", *net, "--dataset", "market"], "did you mean 'market1501'"),
        (["rankings", *net, "--dataset", "cuhk03np", "--root", "empty"], "there is no folder"),
        (["rankings", *net, *data, "--differing"], "give two --weights"),
        (["rankings", *both, "--differing", "--query", image], "leave out --query"),
        (["rankings", *net, *data, "--query", "0009.jpg"], "no query is called 0009.jpg"),
        (["rankings", *baseline, *data, "--why", "regions"], "no features of regions"),
        (["regions", *san, *data], "no features of regions"),
    ]:
        assert main(["show", *command]) == 2, command
        printed = capsys.readouterr()
        assert printed.err.startswith(f"torchreid-magnifier show {command[0]}: error: "), command
        assert message in printed.err and not printed.out, command
    assert not drawn and {path.name for path in tmp_path.iterdir()} == {"empty", "text.jpg"}


@pytest.mark.parametrize(
    "command",
    [[], ["nothing"], ["masks"], ["masks", "a.jpg", "--weights", "w", "--count", "0"]],
)
def test_usage(command, capsys):
    with pytest.raises(SystemExit) as exit_status:
        main(["show", *command])
    assert exit_status.value.code == 2
    assert capsys.readouterr().err.startswith("usage: torchreid-magnifier show")


def test_disk_that_is_full(weights, noise_root, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr("torchreid_magnifier.cli.show.save", full)
    command = ["show", "masks", *queries(noise_root), "--weights", weights["after"]]
    assert main([*command, "--out", str(tmp_path / "o.png")]) == 1
    assert capsys.readouterr().err.endswith("error: the disk is full\n")


# ---------------------------------------------------------------------- torchreid's own pictures


@pytest.mark.skipif(not TR14_SCRIPT.is_file(), reason="torchreid 0.2.5 has no tools")
def test_torchreids_script_shows_the_same_map_of_the_global_branch(weights, noise_root, tmp_path):
    import cv2

    network = open_network(weights["after"])
    paths = queries(noise_root)
    images = torch.stack([network.preprocessing(Image.open(path)) for path in paths])
    loader = {"market1501": {"query": [{"img": images.clone(), "impath": paths}]}}
    script = runpy.run_path(str(TR14_SCRIPT))
    script["visactmap"](network.model, loader, str(tmp_path), 32, 64, False)
    (seen,) = inspect_images(network, paths, 2)
    for path, found in zip(paths, activation_map(seen.maps["global"]), strict=True):
        written = cv2.imread(str(tmp_path / "actmap_market1501" / os.path.basename(path)))
        assert written.shape == (64, 3 * 32 + 2 * 10, 3)
        scaled = cv2.resize(found.numpy(), (32, 64))
        scaled = 255 * (scaled - scaled.min()) / (scaled.max() - scaled.min())
        expected = cv2.applyColorMap(scaled.astype(np.uint8), cv2.COLORMAP_JET)
        shown = written[:, 32 + 10 : 2 * 32 + 10].astype(float)
        assert abs(shown - expected).mean() < 12  # of 255: the file is a JPEG
