"""``torchreid-magnifier masks import``: labels of other parsers, in the files that they write."""

import json
import os

import cv2
import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

import torchreid_magnifier
from torchreid_magnifier.annotate.images import folder_images
from torchreid_magnifier.annotate.importers import LabelFiles, split_classes
from torchreid_magnifier.annotate.importers.tables import FORMATS, Class, Format
from torchreid_magnifier.cli import main
from torchreid_magnifier.images import read_labels
from torchreid_magnifier.parts import FOREGROUND, PARTS
from torchreid_magnifier.synthetic import Settings, generate

HEIGHT, WIDTH = 128, 64

# What each value becomes: the published classes in the order of their values, by hand.
EXPECTED = {
    "densepose14": [0, 2, 4, 4, 7, 7, 5, 5, 6, 6, 3, 3, 4, 4, 1],
    "densepose24": [0, 2, 2, 4, 4, 7, 7, *[5] * 4, *[6] * 4, *[3] * 4, *[4] * 4, 1, 1],
    "pascal": [0, 1, 2, 3, 4, 5, 6],
    "atr": [0, 1, 1, 1, 2, 5, 5, 2, 2, 7, 7, 1, 6, 6, 4, 4, 0, 2],
    "lip": [0, 1, 1, 4, 1, 2, 2, 2, 6, 5, 2, 2, 5, 1, 4, 4, 5, 5, 7, 7],
    "cihp": [0, 1, 1, 4, 1, 2, 2, 2, 6, 5, 2, 2, 5, 1, 4, 4, 5, 5, 7, 7],
    "sapiens": [0, 0, 1, 1, 7, 4, 4, 6, 7, 6, 3, 5, 5, 7, 4, 4, 6, 7, 6, 3, 5, 2, 2, *[1] * 5],
}


def save_palette(folder, stem, labels):
    """Self-Correction-Human-Parsing's files."""
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette([(37 * i) % 256 for i in range(3 * 20)])
    image.save(folder / f"{stem}.png")


def save_grey(folder, stem, labels):
    """CIHP's own labels."""
    cv2.imwrite(str(folder / f"{stem}.png"), labels.astype(np.uint8))


def save_iuv(folder, stem, labels):
    """DensePose's files: I, U and V in the order in which OpenCV writes them."""
    uv = np.random.default_rng(1).integers(0, 256, (*labels.shape, 2))
    iuv = np.dstack([labels, uv]).astype(np.uint8)
    cv2.imwrite(str(folder / f"{stem}_IUV.png"), iuv)


def save_npy(folder, stem, labels):
    np.save(folder / f"{stem}.npy", labels)


def save_sapiens(folder, stem, labels):
    """Sapiens' files: where a person is, and the classes."""
    np.save(folder / f"{stem}.npy", labels > 0)
    np.save(folder / f"{stem}_seg.npy", labels)


SAVE = {
    "densepose14": save_npy,
    "densepose24": save_iuv,
    "pascal": save_palette,
    "atr": save_palette,
    "lip": save_palette,
    "cihp": save_grey,
    "sapiens": save_sapiens,
}


@pytest.fixture
def crops(tmp_path):
    """Images in two folders, and an empty folder for the labels of another parser."""
    for name in ("a/0001_c1.jpg", "b/0002_c1.jpg", "b/0003_c2.png"):
        path = tmp_path / "crops" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(path)
        (tmp_path / "parsed" / name).parent.mkdir(parents=True, exist_ok=True)
    return tmp_path


def stems(crops):
    root = crops / "crops"
    return [path.relative_to(root).with_suffix("") for path in sorted(root.rglob("*.*"))]


def classes_of(number, count):
    """A label map in which every class occurs."""
    return np.random.default_rng(number).permutation(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % count


def fill(crops, name):
    for number, stem in enumerate(stems(crops)):
        labels = classes_of(number, len(EXPECTED[name]))
        SAVE[name](crops / "parsed" / stem.parent, stem.name, labels)


def run_import(crops, name, *arguments):
    words = ["--images", str(crops / "crops")]
    if "--labels" not in arguments:
        words += ["--labels", str(crops / "parsed")]
    return main(["masks", "import", "--format", name, *words, *arguments])


def error_of(capsys):
    prefix = "torchreid-magnifier masks import: error: "
    err = capsys.readouterr().err.splitlines()
    [start] = [number for number, line in enumerate(err) if line.startswith(prefix)]
    return "\n".join(err[start:])[len(prefix) :]


def written(crops):
    root = crops / "crops_ps_label"
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.png")}


@pytest.mark.parametrize("name", EXPECTED)
def test_label_maps(name, crops, capsys):
    fill(crops, name)
    assert run_import(crops, name, "--workers", "2") == 0
    table = EXPECTED[name]
    for number, stem in enumerate(stems(crops)):
        labels = read_labels(crops / "crops_ps_label" / stem.with_suffix(".png"))
        classes = classes_of(number, len(table))
        expected = [[table[value] for value in row] for row in classes]
        assert labels.tolist() == expected
    assert "images           3\nwith labels      3\n" in capsys.readouterr().out
    record = json.loads((crops / "crops_ps_label" / "masks.json").read_text())
    assert record == {
        "format": name,
        "version": torchreid_magnifier.__version__,
        "settings": {"keypoints": None},
    }


# The channels that are largest somewhere, and what they are: nose, left shoulder, right elbow,
# left ankle, left ankle to left knee, right knee to right hip, left elbow to left wrist.
CHANNELS = {0: 1, 5: 2, 8: 3, 15: 7, 17: 6, 20: 5, 27: 4}


@pytest.mark.parametrize(
    ("file", "size", "field", "cell_of"),
    [
        # A cell on each eighth pixel of the image, which was padded to 129x65.
        ("x.jpg.confidence_fields.npy", (128, 64), (17, 9), lambda y, x: (y / 8, x / 8)),
        # Padded to 161x65, of which 0 rows and 2 columns lie before the image.
        ("x.jpg.npy", (160, 60), (21, 9), lambda y, x: (y / 8, (x + 2) / 8)),
        # Of another size: corners on corners.
        ("x.npy", (90, 40), (17, 9), lambda y, x: (y * 16 / 89, x * 8 / 39)),
    ],
)
def test_confidence_fields(file, size, field, cell_of, tmp_path):
    (tmp_path / "crops").mkdir()
    (tmp_path / "parsed").mkdir()
    Image.new("RGB", size[::-1]).save(tmp_path / "crops/x.jpg")
    random = np.random.default_rng(0)
    fields = random.uniform(0, 0.2, (36, *field)).astype(np.float32)
    fields[list(CHANNELS)] = random.uniform(0, 1, (len(CHANNELS), *field))
    np.save(tmp_path / "parsed" / file, fields)
    images = folder_images(str(tmp_path / "crops"))
    labels = LabelFiles("bpbreid", tmp_path / "parsed", images).read(images.paths[0])
    assert labels.shape == size

    def at(values, y, x):
        v, u = cell_of(y, x)
        top, left = min(int(v), field[0] - 2), min(int(u), field[1] - 2)
        v, u = v - top, u - left
        upper = (1 - u) * values[top, left] + u * values[top, left + 1]
        lower = (1 - u) * values[top + 1, left] + u * values[top + 1, left + 1]
        return (1 - v) * upper + v * lower

    sure = 0
    pixels = [(y, x) for y in range(0, size[0], 3) for x in range(0, size[1], 3)]
    for y, x in pixels:
        ranks = {part: at(fields[channel], y, x) for channel, part in CHANNELS.items()}
        ranks[0] = 0.5
        second, first = sorted(ranks.values())[-2:]
        if first - second > 1e-4:  # not a matter of rounding
            assert labels[y, x] == max(ranks, key=ranks.get)
            sure += 1
    assert sure > 0.98 * len(pixels)
    assert set(np.unique(labels)) == {0, *FOREGROUND}


def test_every_field_has_its_part():
    points = "1 1 1 1 1 2 2 3 3 4 4 2 2 5 5 7 7"  # nose, eyes, ears, ... ankles
    joints = "6 5 6 5 2 2 2 2 3 3 4 4 1 1 1 1 1 1 1"  # ankle to knee, ... ear to shoulder
    expected = [int(part) for part in f"{points} {joints}".split()]
    assert [entry.parts for entry in FORMATS["bpbreid"].classes] == [(p,) for p in expected]


# -- splitting clothes -----------------------------------------------------------------------------


def test_pixels_of_clothes_go_to_the_nearest_drawn_part():
    head, torso, arm, leg = (PARTS.index(n) for n in ("head", "torso", "upper_arm", "upper_leg"))
    described = Format(
        "made",
        (
            Class("background", (0,)),
            Class("shirt", (torso, arm)),
            Class("face", (head,)),
            Class("trousers", (leg,)),
            Class("hat or foot", (head, PARTS.index("foot"))),
        ),
    )
    random = np.random.default_rng(3)
    classes = random.integers(0, 5, (20, 16))
    drawn = np.zeros((20, 16), np.uint8)
    drawn[4:9, 3:7], drawn[12:14, 8:15], drawn[15:18, 1:4] = torso, arm, leg
    labels = np.array([0, torso, head, leg, head], np.uint8)[classes]
    split_classes(labels, classes, drawn, described)

    def distance(y, x, part):
        return min((y - v) ** 2 + (x - u) ** 2 for v, u in np.argwhere(drawn == part))

    for (y, x), value in np.ndenumerate(classes):
        if value == 1:
            away = distance(y, x, torso), distance(y, x, arm)
            assert labels[y, x] == (torso if away[0] <= away[1] else arm)
        else:  # one part only, or none of its parts drawn
            assert labels[y, x] == (0, None, head, leg, head)[value]
    assert {torso, arm} <= set(labels[classes == 1])


# Synthetic people's parts as classes of ATR: clothes hide arms and legs.
DRESSED = {"background": 0, "head": 11, "torso": 4, "upper_arm": 4, "lower_arm": 4}
DRESSED |= {"upper_leg": 6, "lower_leg": 6, "foot": 9}


def test_keypoints_find_the_limbs_in_clothes(tmp_path):
    made = tmp_path / "made"
    entries = generate(made, Settings(train_ids=4, test_ids=1, distractors=1))
    entries = [entry for entry in entries if entry.subset == "train"]
    table = np.array([DRESSED[part] for part in PARTS], np.uint8)
    for entry in entries:
        target = tmp_path / "crops" / os.path.relpath(entry.image, "images")
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(made / entry.image, target)
        parsed = tmp_path / "parsed" / target.parent.relative_to(tmp_path / "crops")
        parsed.mkdir(parents=True, exist_ok=True)
        save_palette(parsed, target.stem, table[read_labels(made / entry.labels)])
    keypoints = json.loads((made / "keypoints.json").read_text())
    for image in keypoints["images"]:
        image["file_name"] = os.path.basename(image["file_name"])
    (tmp_path / "keypoints.json").write_text(json.dumps(keypoints))

    def mean_iou():
        both, either = np.zeros(len(PARTS)), np.zeros(len(PARTS))
        for entry in entries:
            name = os.path.relpath(entry.labels, "images_ps_label")
            found = read_labels(tmp_path / "crops_ps_label" / name)
            true = read_labels(made / entry.labels)
            for part in FOREGROUND:
                both[part] += ((found == part) & (true == part)).sum()
                either[part] += ((found == part) | (true == part)).sum()
        return (both / np.maximum(either, 1))[list(FOREGROUND)].mean()

    assert run_import(tmp_path, "atr") == 0
    plain = mean_iou()
    words = ["--keypoints", str(tmp_path / "keypoints.json")]
    assert run_import(tmp_path, "atr", *words) == 2  # other settings are not mixed
    assert run_import(tmp_path, "atr", *words, "--overwrite") == 0
    split = mean_iou()
    assert plain < 0.6 and split > 0.8, (plain, split)
    record = json.loads((tmp_path / "crops_ps_label" / "masks.json").read_text())
    assert list(record["settings"]["keypoints"]["files"]) == ["keypoints.json"]


# -- going on, and bad input -----------------------------------------------------------------------


def test_an_interrupted_import_goes_on(crops, interrupted_after):
    fill(crops, "lip")
    run_import(crops, "lip")
    complete = written(crops)
    for name in complete:
        (crops / "crops_ps_label" / name).unlink()
    with interrupted_after(2):
        assert run_import(crops, "lip", "--workers", "1") == 130
    [(name, data)] = written(crops).items()  # the record was the first file
    assert complete[name] == data
    before = (crops / "crops_ps_label" / name).stat().st_mtime_ns
    assert run_import(crops, "lip") == 0
    assert written(crops) == complete
    assert (crops / "crops_ps_label" / name).stat().st_mtime_ns == before
    assert not list((crops / "crops_ps_label").rglob("*.partial"))


def test_one_import_at_a_time(crops, capsys):
    fill(crops, "lip")
    folder = crops / "crops_ps_label"
    folder.mkdir()
    with FileLock(folder / ".masks.lock"):
        assert run_import(crops, "lip") == 2
    assert error_of(capsys).startswith(f"another run is writing into {folder}")


def test_labels_of_two_formats_are_not_mixed(crops, capsys):
    fill(crops, "lip")
    run_import(crops, "lip")
    assert run_import(crops, "cihp") == 2
    folder = crops / "crops_ps_label"
    made_otherwise = f"{folder} holds part masks made otherwise (format differ, see "
    assert error_of(capsys).startswith(made_otherwise)


def test_labels_outside_the_table(crops, capsys):
    fill(crops, "lip")
    labels = classes_of(0, 20)
    labels[5, 7] = 25
    save_palette(crops / "parsed/a", "0001_c1", labels)
    assert run_import(crops, "lip") == 2
    assert error_of(capsys) == (
        f"{crops}/parsed/a/0001_c1.png: expected the labels 0 to 19 of lip, found 25 at x=7, y=5: "
        "is it of another format? (torchreid-magnifier masks formats prints all)"
    )


@pytest.mark.parametrize("labels", [np.full((HEIGHT, WIDTH), v) for v in (-1, 0.5, np.nan)])
def test_values_that_are_no_labels(labels, crops, capsys):
    fill(crops, "densepose14")
    np.save(crops / "parsed/b/0002_c1.npy", labels)
    assert run_import(crops, "densepose14") == 2
    found = f"found {labels[0, 0]:g} at x=0, y=0: is it of another format?"
    assert f"b/0002_c1.npy: expected the labels 0 to 14 of densepose14, {found}" in error_of(capsys)


def test_a_mask_of_true_and_false_is_no_label_map(crops, capsys):
    fill(crops, "densepose14")
    np.save(crops / "parsed/b/0002_c1.npy", np.ones((HEIGHT, WIDTH), bool))
    assert run_import(crops, "densepose14") == 2
    assert error_of(capsys).endswith(": expected labels 0 to 14, found only true and false")


def test_problems_of_single_files_are_all_reported(crops, capsys):
    fill(crops, "lip")
    parsed = crops / "parsed"
    (parsed / "a/0001_c1.png").unlink()
    save_grey(parsed / "b", "0002_c1", np.zeros((10, 20)))
    (parsed / "b/0003_c2.png").write_bytes(b"no image")
    Image.new("RGB", (WIDTH, HEIGHT)).save(crops / "crops/b/colour.jpg")
    Image.new("RGB", (WIDTH, HEIGHT), "red").save(parsed / "b/colour.png")
    (crops / "crops/b/damaged.jpg").write_bytes(b"no image")
    save_grey(parsed / "b", "damaged", np.zeros((HEIGHT, WIDTH)))
    assert run_import(crops, "lip") == 1
    printed = capsys.readouterr().err.splitlines()[-6:]
    assert printed.pop(0).endswith("images without labels: 5")
    for line, message in zip(
        printed,
        (
            f"{crops}/crops/a/0001_c1.jpg: there is no {parsed}/a/0001_c1.png, ",
            f"{parsed}/b/0002_c1.png: expected 64x128, the size of {crops}/crops/b/0002_c1.jpg, "
            "found 20x10",
            f"{parsed}/b/0003_c2.png: cannot be read as a label map (",
            f"{parsed}/b/colour.png: cannot be read as a label map (expected one channel or three "
            "equal ones, found mode 'RGB')",
            f"{crops}/crops/b/damaged.jpg: cannot be read as an image (",
        ),
        strict=True,
    ):
        assert line.startswith(f"  {message}")
    assert written(crops) == {}


@pytest.mark.parametrize("shape", [(36, 17), (19, 17, 9), (36, 0, 9)])
def test_fields_of_another_shape(shape, crops, capsys):
    np.save(crops / "parsed/a/0001_c1.npy", np.zeros(shape, np.float32))
    assert run_import(crops, "bpbreid") == 2
    assert error_of(capsys).endswith(
        "0001_c1.npy: expected 36 confidence fields (channels, height, width), found shape "
        f"{shape} of float32"
    )


def test_a_pickle_is_not_run(crops, capsys):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(crops / "ran"),)

    np.save(crops / "parsed/a/0001_c1.npy", np.array([Evil()], object), allow_pickle=True)
    assert run_import(crops, "densepose14") == 1
    assert run_import(crops, "bpbreid", "--overwrite") == 1
    assert capsys.readouterr().err.count("0001_c1.npy: cannot be read as a") == 2
    assert not (crops / "ran").exists()


def test_folders_that_do_not_fit(crops, capsys):
    assert run_import(crops, "lip") == 2
    assert error_of(capsys) == (
        f"no image has a label file of lip in {crops}/parsed: expected, of the first of 3 images,\n"
        f"  {crops}/parsed/a/0001_c1.png\n  {crops}/parsed/a/0001_c1.npy"
    )
    assert run_import(crops, "lip", "--labels", str(crops / "absent")) == 2
    assert error_of(capsys) == f"there is no folder {crops}/absent"
    fill(crops, "lip")
    target = crops / "crops_ps_label"
    (crops / "parsed").rename(target)
    before = written(crops)
    assert run_import(crops, "lip", "--labels", str(target), "--overwrite") == 2
    assert error_of(capsys) == (
        f"{target} is where the labels are written: move the files of lip elsewhere"
    )
    assert written(crops) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cmp"], "argument --format: invalid choice: 'cmp'"),
        (["bpbreid", "--keypoints", "k.json"], "the fields of bpbreid have nothing to split"),
        (["lip", "--min-score", "1"], "--absent-is-nobody and --min-score go with --keypoints"),
    ],
)
def test_options_that_do_not_fit(arguments, message, crops, capsys):
    with pytest.raises(SystemExit) as status:
        run_import(crops, *arguments)
    assert status.value.code == 2
    assert message in capsys.readouterr().err


def test_formats_prints_the_tables(capsys):
    assert main(["masks", "formats"]) == 0
    everything = capsys.readouterr().out
    for name in FORMATS:
        assert main(["masks", "formats", name]) == 0
        alone = capsys.readouterr().out
        assert alone in everything
        assert alone.startswith(f"{name}: ")
        assert len(alone.splitlines()) == 2 + len(FORMATS[name].classes)
    assert "\n  10  torso skin     2 torso\n" in everything
    assert "\n   4  upper-clothes  2 torso, 3 upper_arm, 4 lower_arm\n" in everything
    with pytest.raises(SystemExit) as status:
        main(["masks", "formats", "nil"])
    assert status.value.code == 2
    assert "unknown format 'nil': expected densepose14, " in capsys.readouterr().err
