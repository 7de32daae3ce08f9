"""``torchreid-magnifier masks`` from the command line's words to the files."""

import json
import os
import shutil

import cv2
import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image
from processes import on_a_code_page
from torchreid import data as torchreid_data
from torchvision.models import get_model, get_model_weights

import torchreid_magnifier
from torchreid_magnifier import registry
from torchreid_magnifier.annotate import sheets as show
from torchreid_magnifier.annotate.images import dataset_images
from torchreid_magnifier.cli import main
from torchreid_magnifier.data.masks import find_mask
from torchreid_magnifier.figures import masks_figure
from torchreid_magnifier.images import read_labels
from torchreid_magnifier.parts import PARTS
from torchreid_magnifier.synthetic import Settings, generate

SMALL = Settings(train_ids=2, test_ids=2, distractors=2)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Synthetic people, to be copied by a test that writes."""
    folder = tmp_path_factory.mktemp("data") / "people"
    return folder, generate(folder, SMALL)


@pytest.fixture
def people(drawn, tmp_path):
    """A folder of images with keypoints, without labels."""
    source, entries = drawn
    for entry in entries:
        target = tmp_path / entry.image
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(source / entry.image, target)
    shutil.copy(source / "keypoints.json", tmp_path)
    return tmp_path


def run_make(people, *arguments):
    words = ["--parser", "keypoints", "--keypoints", str(people / "keypoints.json")]
    return main(["masks", "make", "--images", str(people / "images"), *words, *arguments])


def labels_of(people):
    root = people / "images_ps_label"
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*.png"))}


def test_labels_of_a_folder(people, drawn, capsys):
    assert run_make(people, "--workers", "2", "--batch-size", "7") == 0
    out = capsys.readouterr().out
    entries = drawn[1]
    for entry in entries:
        mask = find_mask(str(people / entry.image))
        assert mask == str(people / entry.labels)
        labels = read_labels(mask)
        assert labels.shape == (128, 64)
        assert bool(labels.any()) == bool(entry.pid)  # 0 is nobody in the keypoints' file
    assert f"labels in {people}/images_ps_label\nimages           {len(entries)}\n" in out
    assert "\nwithout a person 2 (all background)\n" in out
    assert "\nhead " in out
    record = json.loads((people / "images_ps_label" / "masks.json").read_text())
    assert record["parser"] == "keypoints"
    assert record["version"] == torchreid_magnifier.__version__
    assert list(record["settings"]["files"]) == ["keypoints.json"]
    hidden = {p.name for p in (people / "images_ps_label").rglob(".*")}
    assert hidden <= {".masks.lock"}


def test_existing_labels_are_kept_unless_overwritten(people):
    run_make(people)
    complete = labels_of(people)
    kept = people / "images_ps_label" / next(iter(complete))
    missing = people / "images_ps_label" / list(complete)[-1]
    kept.write_bytes(b"mine")
    missing.unlink()
    assert run_make(people) == 0
    assert kept.read_bytes() == b"mine" and missing.exists()
    assert run_make(people, "--overwrite") == 0
    assert labels_of(people) == complete


def test_an_interrupted_run_goes_on_and_leaves_no_half_file(people, interrupted_after):
    run_make(people)
    complete = labels_of(people)
    for path in (people / "images_ps_label").rglob("*.png"):
        path.unlink()
    with interrupted_after(9):
        assert run_make(people, "--workers", "1", "--batch-size", "4") == 130
    partial = labels_of(people)
    assert 0 < len(partial) < len(complete)
    assert all(complete[name] == data for name, data in partial.items())
    written = {p: p.stat().st_mtime_ns for p in (people / "images_ps_label").rglob("*.png")}
    assert run_make(people) == 0
    assert labels_of(people) == complete
    assert all(p.stat().st_mtime_ns == time for p, time in written.items())
    assert not list((people / "images_ps_label").rglob("*.partial"))


def test_of_two_runs_at_once_the_second_stops(people, capsys):
    folder = people / "images_ps_label"
    folder.mkdir()
    with FileLock(folder / ".masks.lock"):
        assert run_make(people) == 2
    assert capsys.readouterr().err == (
        f"torchreid-magnifier masks make: error: another run is writing into {folder}: wait until "
        "it has ended\n"
    )


def test_labels_of_two_settings_are_not_mixed(people, capsys):
    run_make(people)
    some = next((people / "images_ps_label").rglob("*.png"))
    some.unlink()
    assert run_make(people, "--min-score", "1.5") == 2
    folder = people / "images_ps_label"
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"torchreid-magnifier masks make: error: {folder} holds part masks made otherwise "
        f"(settings differ, see {folder}/masks.json): give the same settings, or --overwrite to "
        "make them anew"
    )
    assert run_make(people, "--min-score", "1.5", "--overwrite") == 0


def test_colours_sizes_and_damage(tmp_path, capsys):
    images = tmp_path / "images"
    images.mkdir()
    grey = Image.new("L", (30, 70))
    grey.save(images / "grey.png")
    Image.new("CMYK", (40, 90)).save(images / "cmyk.JPG")
    whole = cv2.imencode(".jpg", np.zeros((64, 32, 3), np.uint8))[1].tobytes()
    (images / "short.jpg").write_bytes(whole[:-80])
    nobody = {name: [] for name in ("grey.png", "cmyk.JPG", "short.jpg")}
    (tmp_path / "keypoints.json").write_text(json.dumps(nobody))
    assert run_make(tmp_path) == 1
    err = capsys.readouterr().err
    assert f"  {images}/short.jpg: cannot be read as an image (" in err
    shapes = {p.name: read_labels(p).shape for p in tmp_path.rglob("images_ps_label/*.png")}
    assert shapes == {"grey.png": (70, 30), "cmyk.png": (90, 40)}


def error_of(capsys, *arguments):
    assert main(["masks", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    prefix = f"torchreid-magnifier masks {arguments[0]}: error: "
    assert err.startswith(prefix)
    return err[len(prefix) :].rstrip("\n")


@pytest.mark.parametrize("action", ["make", "check"])
def test_unknown_dataset(action, tmp_path, capsys):
    message = error_of(capsys, action, "--dataset", "market1051", "--root", str(tmp_path))
    assert message.startswith(
        "--dataset: unknown name 'market1051'; did you mean 'market1501' or 'market1501_masks'"
    )


def test_a_dataset_that_is_not_there(tmp_path, capsys):
    root = tmp_path / "absent"
    message = error_of(capsys, "make", "--dataset", "cuhk03", "--root", str(root))
    assert message.startswith(f"dataset CUHK03: {root}/cuhk03 is not there and could not be")
    assert f"in {tmp_path} there is: nothing" in message


def test_folders_without_images(tmp_path, capsys):
    message = error_of(capsys, "make", "--images", str(tmp_path / "absent"))
    assert message == f"there is no folder {tmp_path}/absent"
    (tmp_path / "readme.txt").touch()
    message = error_of(capsys, "make", "--images", str(tmp_path))
    assert message == (
        f"{tmp_path}: expected images (.jpg, .jpeg, .jfif, .png, .bmp, .tif, .tiff, .webp) in it "
        "or below, found none"
    )


def test_two_images_of_one_name(tmp_path, capsys):
    for name in ("a.jpg", "a.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    message = error_of(capsys, "make", "--images", str(tmp_path))
    assert message == (
        f"{tmp_path}/a.jpg and a.png would share one sidecar file (labels, texture): rename one "
        "of them"
    )


def test_no_keypoint_file(people, capsys):
    (people / "keypoints.json").unlink()
    assert run_make(people) == 2
    expected = f"error: there is no keypoint file {people}/keypoints.json\n"
    assert capsys.readouterr().err.endswith(expected)
    assert not (people / "images_ps_label").exists()
    for arguments in (["--parser", "keypoints"], ["--keypoints", "k.json"]):
        assert main(["masks", "make", "--images", str(people), *arguments]) == 2
        message = "error: --parser keypoints and --keypoints FILE ... go together\n"
        assert capsys.readouterr().err.endswith(message)


def test_keypoints_of_other_images(people, capsys):
    (people / "keypoints.json").write_text('{"other.jpg": []}')
    assert run_make(people) == 2
    images = sorted((people / "images").rglob("*.jpg"))
    assert capsys.readouterr().err == (
        f"torchreid-magnifier masks make: error: keypoints.json: 1 images, but {len(images)} of "
        f"the {len(images)} images are not among them; the first is {images[0]}, the first in the "
        "files other.jpg. An image without a person needs an entry too: with an empty list, or in "
        'COCO\'s "images"; --absent-is-nobody does without\n'
    )


# -- datasets --------------------------------------------------------------------------------------


@pytest.fixture
def market(people, drawn):
    """The synthetic people as a Market-1501."""
    folder = people / "root" / "market1501" / "Market-1501-v15.09.15"
    subsets = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
    names = {}
    for entry in drawn[1]:
        target = folder / subsets[entry.subset] / (entry.name + ".jpg")
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(people / entry.image, target)
        names[entry.image] = f"{target.parent.name}/{target.name}"
    content = json.loads((people / "keypoints.json").read_text())
    for image in content["images"]:
        image["file_name"] = names[image["file_name"]]
    (people / "market.json").write_text(json.dumps(content))
    return folder


def run_market(market, action, *arguments):
    root = market.parent.parent
    return main(["masks", action, "--dataset", "market1501", "--root", str(root), *arguments])


def test_make_and_check_a_dataset(market, capsys):
    keypoints = str(market.parents[2] / "market.json")
    words = ["--parser", "keypoints", "--keypoints", keypoints]
    labels = market.with_name(market.name + "_ps_label")
    assert run_market(market, "make", *words) == 0
    assert [p.name for p in labels.iterdir() if p.is_dir()] == ["bounding_box_train"]
    assert run_market(market, "check") == 0
    train = len(list((market / "bounding_box_train").iterdir()))
    out = capsys.readouterr().out
    assert f"images           {train}\nwith labels      {train}\n" in out
    assert out.endswith("masks with labels other than the integers 0 to 7: 0\n")

    assert run_market(market, "check", "--all") == 1
    assert "images without a mask: " in capsys.readouterr().err
    assert run_market(market, "make", *words, "--all") == 0
    assert run_market(market, "check", "--all") == 0


def test_check_reports_every_problem(market, capsys):
    keypoints = str(market.parents[2] / "market.json")
    run_market(market, "make", "--parser", "keypoints", "--keypoints", keypoints)
    capsys.readouterr()
    labels = sorted(market.with_name(market.name + "_ps_label").rglob("*.png"))
    labels[0].unlink()
    labels[1].write_bytes(b"no image")
    cv2.imwrite(str(labels[2]), np.zeros((10, 20), np.uint8))
    cv2.imwrite(str(labels[3]), np.full((128, 64), 9, np.uint8))
    for path in labels[4:]:  # a part that never appears
        array = read_labels(path).copy()
        array[array == PARTS.index("foot")] = 0
        cv2.imwrite(str(path), array)
    assert run_market(market, "check") == 1
    out, err = capsys.readouterr()
    total = len(labels)
    assert f"images           {total}\nwith labels      {total - 1}\n" in out
    readable = total - 3
    [foot] = [line.split() for line in out.splitlines() if line.startswith("foot")]
    assert foot == ["foot", "0.0%", "0.0%", str(readable)]
    for kind in (
        "images without a mask: 1",
        "unreadable masks: 1",
        "masks of another size than their image (width x height): 1",
        "masks with labels other than the integers 0 to 7: 1",
    ):
        assert f"\n{kind}\n" in err and f"\n{kind}\n" in out
    assert "\nunreadable images: 0\n" in out
    assert err.endswith(
        "Part masks are made by\n  torchreid-magnifier masks make --dataset market1501 --root "
        f"{market.parents[1]} --overwrite\n"
    )


def test_check_of_a_folder_lists_images_without_a_part(people, drawn, capsys):
    images, labels = people / "images", people / "images_ps_label"
    for entry in drawn[1]:
        target = people / entry.labels
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(drawn[0] / entry.labels, target)
    expected = [
        str(images / path.relative_to(labels).with_suffix(".jpg"))
        for path in sorted(labels.rglob("*.png"))
        if not (read_labels(path) == PARTS.index("foot")).any()
    ]
    assert 0 < len(expected) < len(drawn[1])
    assert main(["masks", "check", "--images", str(images), "--without", "foot"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.endswith("\n".join([f"\nwithout foot: {len(expected)}", *expected]) + "\n")
    some = next(labels.rglob("*.png"))
    some.unlink()
    assert main(["masks", "check", "--images", str(images)]) == 1
    out, err = capsys.readouterr()
    assert "\nimages without a mask: 1\n" in out and str(some) in err
    assert err.endswith(f"torchreid-magnifier masks make --images {images}\n")


def test_show_draws_what_is_there(market, tmp_path, monkeypatch, capsys):
    keypoints = str(market.parents[2] / "market.json")
    run_market(market, "make", "--parser", "keypoints", "--keypoints", keypoints)
    images = sorted((market / "bounding_box_train").iterdir())
    labels = [market.with_name(market.name + "_ps_label") / p.parent.name / p.name for p in images]
    labels = [path.with_suffix(".png") for path in labels]
    labels[0].unlink()
    labels[1].write_bytes(b"no image")
    cv2.imwrite(str(labels[2]), np.zeros((10, 20), np.uint8))
    images[3].write_bytes(b"no image")
    sheets = []

    def draw(examples, title):
        sheets.append((examples, title))
        return masks_figure(examples, title)

    monkeypatch.setattr(show, "masks_figure", draw)
    capsys.readouterr()
    out = tmp_path / "sheet.png"
    assert run_market(market, "show", "--count", "1000") == 2
    assert "--count: expected at most 600 images, found 1000" in capsys.readouterr().err
    assert run_market(market, "show", "--count", "500", "--out", str(out)) == 0
    count = len(images)
    assert capsys.readouterr().out == (
        f"{count} images, 4 without labels that can be shown: {out}\n"
    )
    [(examples, title)] = sheets
    assert title.startswith(f"market1501: {count} of {count} images\n4 of these ")
    reasons = ["no labels", "faulty\nlabels", "labels of\nanother size", "unreadable\nimage"]
    assert [example.pictures[1] for example in examples[:4]] == reasons
    for example, image, path in zip(examples[4:], images[4:], labels[4:], strict=True):
        assert np.array_equal(example.pictures[0], np.asarray(Image.open(image)))
        assert np.array_equal(example.pictures[1], read_labels(path))
        assert example.caption == image.name  # with its folder it would be too long
    with Image.open(out) as sheet:
        assert sheet.width > sheet.height / 4 and sheet.format == "PNG"


def test_show_chooses_by_the_seed_and_writes_jpeg(people, monkeypatch):
    chosen = []

    def draw(examples, title):
        chosen.append([example.caption for example in examples])
        return masks_figure(examples, title)

    monkeypatch.setattr(show, "masks_figure", draw)
    words = ["masks", "show", "--images", str(people / "images"), "--count", "5"]
    words += ["--out", str(people / "sheet.jpg")]
    for seed in ("3", "3", "4"):
        assert main([*words, "--seed", seed]) == 0
    assert chosen[0] == chosen[1] != chosen[2]
    assert len(set(chosen[0])) == 5
    with Image.open(people / "sheet.jpg") as sheet:
        assert sheet.format == "JPEG"


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("sheet.gif", "--out: expected .png, .jpg, .jpeg, "),
        ("no/a.png", "--out: there is no"),
    ],
)
def test_show_tells_at_once_that_it_cannot_write(out, message, people, capsys):
    arguments = ["--images", str(people / "images"), "--out", str(people / out)]
    assert error_of(capsys, "show", *arguments).startswith(message)


def test_labels_that_would_hide_new_ones(market, capsys):
    keypoints = str(market.parents[2] / "market.json")
    image = sorted((market / "bounding_box_train").iterdir())[0]
    nearer = market / "bounding_box_train_ps_label" / (image.stem + ".png")
    nearer.parent.mkdir()
    cv2.imwrite(str(nearer), np.zeros((128, 64), np.uint8))
    words = ["--parser", "keypoints", "--keypoints", keypoints, "--overwrite"]
    assert run_market(market, "make", *words) == 2
    assert capsys.readouterr().err == (
        f"torchreid-magnifier masks make: error: the mask {nearer} is read before those in "
        f"{market}_ps_label, which --overwrite makes anew: move it away\n"
    )


# -- the detectors ---------------------------------------------------------------------------------


def weights_path(hub, name):
    return hub / "checkpoints" / os.path.basename(get_model_weights(name)["COCO_V1"].url)


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """Torch's folder of downloads, with random weights that see people everywhere."""
    folder = tmp_path_factory.mktemp("torch") / "hub"
    (folder / "checkpoints").mkdir(parents=True)
    torch.manual_seed(0)
    for name in ("keypointrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn"):
        state = get_model(name, weights=None, weights_backbone=None).state_dict()
        state["roi_heads.box_predictor.cls_score.bias"][1] = 20  # the person
        state = {key: value.half() for key, value in state.items()}  # half the disk
        torch.save(state, weights_path(folder, name))
    return folder


@pytest.fixture
def crops(tmp_path):
    folder = tmp_path / "crops"
    folder.mkdir()
    noise = np.random.default_rng(0)
    # Narrow: torchvision's detectors enlarge the longer side to 1333 pixels.
    for name, size in (("a.jpg", (64, 8)), ("b.jpg", (128, 16)), ("c.jpg", (64, 12))):
        Image.fromarray(noise.integers(0, 255, (*size, 3), np.uint8)).save(folder / name)
    return folder


def test_detectors_end_to_end(hub, crops, monkeypatch, capsys):
    monkeypatch.setenv("TORCH_HOME", str(hub.parent))  # for the worker's process too
    arguments = ["--batch-size", "2", "--min-score=-1e9", "--workers", "1", "--person-mask"]
    assert main(["masks", "make", "--images", str(crops), *arguments]) == 0
    shapes = {p.name: read_labels(p).shape for p in crops.parent.glob("crops_ps_label/*.png")}
    assert shapes == {"a.png": (64, 8), "b.png": (128, 16), "c.png": (64, 12)}
    assert "images           3\nwith labels      3\nwithout a person 0 " in capsys.readouterr().out
    record = json.loads((crops.parent / "crops_ps_label" / "masks.json").read_text())
    assert record["parser"] == "keypointrcnn"
    assert record["settings"]["person_mask"] is True
    assert record["settings"]["min_score"] == -1e9


def test_weights_that_cannot_be_had(tmp_path, crops, monkeypatch, capsys):
    name = "keypointrcnn_resnet50_fpn"
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    path = weights_path(tmp_path / "hub", name)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"cut short")
    message = error_of(capsys, "make", "--images", str(crops))
    assert message.startswith(f"torchvision's weights of {name} could not be loaded (")
    assert message.endswith(
        f"). Download {get_model_weights(name)['COCO_V1'].url} and put it at {path} (replace a "
        "file that is already there: it may be damaged)"
    )
    assert not list(crops.parent.glob("crops_ps_label/*.png"))


def test_a_datasets_own_options_choose_the_images(tmp_path, monkeypatch):
    class TwoKinds(torchreid_data.ImageDataset):
        def __init__(self, root="", cuhk03_labeled=False, **kwargs):
            image = str(tmp_path / ("labeled/1.png" if cuhk03_labeled else "detected/1.png"))
            super().__init__([(image, 0, 0)], [(image, 0, 0)], [(image, 0, 0)], **kwargs)

    monkeypatch.setitem(registry._image_datasets(), "two_kinds", TwoKinds)
    for labeled, folder in ((True, "labeled"), (False, "detected")):
        images = dataset_images("two_kinds", str(tmp_path), cuhk03_labeled=labeled)
        assert images.paths == [str(tmp_path / folder / "1.png")]


def test_paths_that_a_windows_code_page_lacks(tmp_path):
    folder = tmp_path / "行人_é"
    folder.mkdir()
    for name in ("甲.png", "b.png"):
        Image.new("RGB", (32, 64), "red").save(folder / name)
    (folder / "丙.png").write_bytes(b"no image")
    keypoints = tmp_path / "k.json"
    keypoints.write_text(json.dumps(dict.fromkeys(["甲.png", "b.png", "丙.png"], [])), "utf-8")
    with on_a_code_page("cp1252") as streams:
        statuses = [
            main([*words, "--images", str(folder)])
            for words in (
                ["masks", "make", "--parser", "keypoints", "--keypoints", str(keypoints)],
                ["masks", "check", "--without", "foot"],
                ["masks", "show", "--out", str(tmp_path / "sheet.png")],
                ["textures", "check"],
            )
        ]
    out, err = (stream.getvalue().decode("cp1252") for stream in streams)
    assert statuses == [1, 1, 0, 1]  # of the damaged image
    assert "\\u884c\\u4eba_é" in out and "\\u4e19.png: cannot be read as an image" in err
    assert (tmp_path / "sheet.png").is_file()
