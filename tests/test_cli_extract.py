"""``torchreid-magnifier extract`` and ``search``, from the command line's words to the files."""

import csv
import json
import os
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from filelock import FileLock
from PIL import Image
from processes import killed_at, on_a_code_page
from torchreid import utils as torchreid_utils

from torchreid_magnifier.cli import main, network_options
from torchreid_magnifier.inference import extract as extraction
from torchreid_magnifier.inference import search as searching
from torchreid_magnifier.inference.embedding_files import read_embeddings
from torchreid_magnifier.inference.open import Preprocessing, open_network
from torchreid_magnifier.inference.sources import Place, find_sources, read_places
from torchreid_magnifier.models import MagnifierNet
from torchreid_magnifier.models import build as build_model
from torchreid_magnifier.parts import NUM_PARTS

FRAMES = 12


def save_run(folder, name="magnifiernet_r18", seed=0):
    """A network with random weights, as ``train`` leaves it: the checkpoint's path."""
    torch.manual_seed(seed)
    network = build_model(name, num_classes=3, loss="triplet", pretrained=False)
    (folder / "model").mkdir(parents=True)
    checkpoint = folder / "model" / "model.pth.tar-1"
    torch.save({"state_dict": network.state_dict()}, checkpoint)
    data = {"height": 64, "width": 32, "norm_mean": [0.4, 0.5, 0.6], "norm_std": [0.2, 0.3, 0.25]}
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": {"name": name}, "data": data}))
    return str(checkpoint)


@cache
def _open(weights, *others):
    return open_network(weights, *others)


@pytest.fixture(autouse=True)
def opened_once(monkeypatch):
    """The commands open a network once for all tests."""

    def opened(weights, *others):
        return (_open if Path(weights).is_file() else open_network)(weights, *others)

    for module in (network_options, searching):
        monkeypatch.setattr(module, "open_network", opened)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_run(tmp_path_factory.mktemp("run"))


def save_image(path, seed):
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 80, (70, 35, 3)) + generator.integers(0, 175, 3)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def save_video(path, frames=FRAMES):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (48, 96))
    for number in range(frames):
        writer.write(np.full((96, 48, 3), 20 * number % 256, np.uint8))
    writer.release()


@pytest.fixture
def crops(tmp_path, monkeypatch):
    """Nine images in two folders, with some files that are none; the working folder is above."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "crops" / "more").mkdir(parents=True)
    for seed in range(9):
        save_image(tmp_path / "crops" / ("more" if seed % 3 == 1 else ".") / f"{seed}.PNG", seed)
    (tmp_path / "crops" / "readme.txt").write_text("no image")
    (tmp_path / "crops" / "._0.PNG").write_bytes(b"of another system")
    (tmp_path / "crops_ps_label").mkdir()
    return tmp_path


@pytest.fixture
def run(weights, capsys):
    """Runs ``extract`` and gives the exit status, and what is printed to stdout and stderr."""

    def extracted(*arguments, out="gallery.npz", chosen=weights):
        status = main(["extract", *map(str, arguments), "--weights", chosen, "--out", str(out)])
        return status, *capsys.readouterr()

    return extracted


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(extraction, "CHUNK", 4)


PATHS = [f"crops/{name}" for name in ("0", "2", "3", "5", "6", "8", "more/1", "more/4", "more/7")]
PATHS = [f"{path}.PNG" for path in PATHS]


# ------------------------------------------------------------------ extract: what it gives


def test_rows_are_what_the_network_says_of_each_picture(crops, run, weights):
    status, out, _ = run("crops")
    assert status == 0
    assert out == "gallery.npz: 9 embeddings of 1024 values, not L2-normalised\n"
    gallery = read_embeddings("gallery.npz")
    assert gallery.paths.tolist() == PATHS and (gallery.frames == -1).all()
    network = open_network(weights)
    card = gallery.card
    assert card.name == weights and card.sha256 == network.card.sha256
    assert Preprocessing(card.height, card.width, card.mean, card.std) == network.preprocessing
    assert card.mean == (0.4, 0.5, 0.6)
    with torch.no_grad():
        for row, path in enumerate(PATHS):
            seen = network.model.inspect(network.preprocessing(Image.open(path))[None])
            np.testing.assert_allclose(gallery.vectors[row], seen.vector[0], rtol=1e-3, atol=1e-4)
            shares = (
                np.bincount(seen.part_labels.flatten(), minlength=NUM_PARTS)
                / seen.part_labels.numel()
            )
            np.testing.assert_allclose(gallery.visibility[row], shares, atol=0.02)
    np.testing.assert_allclose(gallery.visibility.sum(1), 1, rtol=1e-5)
    assert np.abs(np.linalg.norm(gallery.vectors, axis=1) - 1).min() > 0.1  # not normalised
    assert not os.path.exists("gallery.npz.partial")


def test_torchreids_feature_extractor_gives_the_same(crops, run, weights):
    run("crops")
    extractor = torchreid_utils.FeatureExtractor(
        model_name="magnifiernet_r18",
        model_path=weights,
        image_size=(64, 32),
        pixel_mean=[0.4, 0.5, 0.6],
        pixel_std=[0.2, 0.3, 0.25],
        device="cpu",
        verbose=False,
    )
    np.testing.assert_allclose(
        extractor(PATHS), read_embeddings("gallery.npz").vectors, rtol=1e-4, atol=1e-5
    )


def test_a_network_without_mask_module_has_no_visibility(crops, run, tmp_path):
    status, *_ = run("crops", out="g.npz", chosen=save_run(tmp_path / "g", "magnifiernet_r18_g"))
    assert status == 0
    gallery = read_embeddings("g.npz")
    assert gallery.visibility is None and gallery.vectors.shape == (9, 512)


def test_both_kinds_of_files_and_half_precision(crops, run):
    assert run("crops")[0] == run("crops", "--fp16", out="half.parquet")[0] == 0
    whole, half = read_embeddings("gallery.npz"), read_embeddings("half.parquet")
    assert half.vectors.dtype == np.float16
    np.testing.assert_array_equal(half.vectors, whole.vectors.astype(np.float16))
    np.testing.assert_array_equal(half.visibility, whole.visibility)
    assert half.card == whole.card and half.paths.tolist() == PATHS


def test_the_number_of_workers_changes_nothing(crops, run):
    assert run("crops", "--workers", 1)[0] == run("crops", "--workers", 5, out="b.npz")[0] == 0
    assert Path("gallery.npz").read_bytes() == Path("b.npz").read_bytes()


def test_frames_of_videos_between_images(crops, run):
    save_video("walk.avi")
    status, out, _ = run("crops/3.PNG", "walk.avi", "crops/0.PNG", "--every", 5, "--batch-size", 2)
    assert status == 0
    gallery = read_embeddings("gallery.npz")
    assert gallery.paths.tolist() == ["crops/3.PNG", *["walk.avi"] * 3, "crops/0.PNG"]
    assert gallery.frames.tolist() == [-1, 0, 5, 10, -1]
    images = read_places([Place("walk.avi", number) for number in (0, 5, 10, 77)])
    middles = [image and image.getpixel((20, 40)) for image in images.values()]
    assert middles[3] is None  # there is no such frame
    for number, colour in zip((0, 5, 10), middles):
        assert max(abs(value - 20 * number) for value in colour) <= 3


def test_files_that_are_meant_twice_are_taken_once(crops):
    whole = find_sources(["crops"])
    assert whole == PATHS
    assert find_sources(["crops/**/*", "crops", f"{os.getcwd()}/crops/0.PNG"]) == [
        *[path for path in PATHS if "more" not in path],
        *[path for path in PATHS if "more" in path],
    ]
    assert find_sources(["crops/more/[14].PNG"]) == ["crops/more/1.PNG", "crops/more/4.PNG"]
    os.rename("crops/0.PNG", "crops/[0].PNG")
    assert find_sources(["crops/[0].PNG"]) == ["crops/[0].PNG"]  # a file comes before a pattern


# ------------------------------------------------------------------ extract: interruption


@pytest.mark.parametrize(
    "out, interruptions", [("gallery.npz", (1, 2, 3, 4)), ("gallery.parquet", (3,))]
)
def test_an_interrupted_run_goes_on_and_gives_the_same_file(
    crops, run, small_chunks, interrupted_after, out, interruptions
):
    """Three chunks of images, then frames too; a faulty one takes its place in both runs."""
    save_video("walk.avi")
    Path("crops/4.png").write_bytes(b"no image")
    words = ("crops", "walk.avi", "--every", 3, "--batch-size", 2)
    assert run(*words, out=f"whole-{out}")[0] == 1
    for files in interruptions:  # the settings, then so many chunks less one
        with interrupted_after(files):
            assert run(*words, out=out)[0] == 130
        assert not os.path.exists(out) and os.path.isdir(f"{out}.partial")
        status, printed, err = run(*words, out=out)
        assert status == 1 and "crops/4.png: cannot be read" in err
        done = 4 * (files - 1)
        assert (f"({done} pictures by an interrupted run)" in printed) == (done > 0)
        assert ("going on after an interruption" in err) == (done > 0)
        assert Path(out).read_bytes() == Path(f"whole-{out}").read_bytes()
        assert not os.path.exists(f"{out}.partial")
        os.unlink(out)


def test_a_killed_run_goes_on(crops, run, weights, monkeypatch):
    monkeypatch.setattr(extraction, "CHUNK", 1)
    words = ["crops", "--batch-size", "1"]
    command = ["extract", *words, "--weights", weights, "--out", "gallery.npz"]
    killed_at(Path("gallery.npz.partial/000001.npz"), main, command)
    assert not os.path.exists("gallery.npz")
    assert "pictures by an interrupted run" in run(*words)[1]
    assert run(*words, out="whole.npz")[0] == 0
    assert Path("gallery.npz").read_bytes() == Path("whole.npz").read_bytes()


def test_an_unfinished_run_goes_on_only_with_the_same(
    crops, run, small_chunks, interrupted_after, tmp_path
):
    with interrupted_after(2):
        assert run("crops", "--batch-size", 2)[0] == 130
    other = save_run(tmp_path / "other", seed=1)
    for words, chosen, message in (
        (["--batch-size", 3], None, "batch size 2, now 3"),
        (["--batch-size", 2, "--fp16"], None, "dtype float32, now float16"),
        (["--batch-size", 2], other, "sha256 of the weights"),
        (["--batch-size", 2], None, "number of files 9, now 10"),
    ):
        if "files" in message:
            save_image("crops/9.png", 9)
        status, _, err = run("crops", *words, **({"chosen": chosen} if chosen else {}))
        assert status == 2 and message in err and "--overwrite to start anew" in err
    os.unlink("crops/9.png")
    os.utime("crops/0.PNG", (1, 1))
    status, _, err = run("crops", "--batch-size", 2)
    assert status == 2 and "names, sizes and times" in err
    assert run("crops", "--batch-size", 2, "--overwrite")[0] == 0
    assert len(read_embeddings("gallery.npz")) == 9


def test_of_two_runs_at_once_the_second_stops(crops, run):
    Path("gallery.npz.partial").mkdir()
    with FileLock("gallery.npz.partial/.lock"):
        status, _, err = run("crops")
    assert status == 2 and "another run is writing" in err


def test_a_full_disk_keeps_what_is_finished(crops, run, small_chunks, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(extraction, "write_embeddings", full)
        status, _, err = run("crops")
    assert status == 1 and "No space left on device" in err and "Traceback" not in err
    assert not os.path.exists("gallery.npz")
    status, out, _ = run("crops")
    assert status == 0 and "9 pictures by an interrupted run" in out


# ------------------------------------------------------------------ extract: problems


def test_broken_pictures_are_named_and_the_others_written(crops, run):
    whole = Path("crops/0.PNG").read_bytes()
    Path("crops/a.jpg").write_bytes(b"no image")
    Path("crops/b.png").write_bytes(whole[: len(whole) // 2])
    Path("crops/c.mp4").write_bytes(b"no video" * 99)
    status, out, err = run("crops")
    assert status == 1 and "gallery.npz: 9 embeddings" in out
    assert "could not be used: 3" in err
    assert "crops/a.jpg: cannot be read" in err and "crops/b.png: cannot be read" in err
    assert "crops/c.mp4: cannot be opened as a video" in err
    assert read_embeddings("gallery.npz").paths.tolist() == PATHS


def test_a_video_that_stops_early_gives_its_frames(crops, run):
    save_video("walk.avi", 40)
    data = Path("walk.avi").read_bytes()
    Path("cut.avi").write_bytes(data[: int(0.6 * len(data))])
    status, out, err = run("cut.avi")
    rows = len(read_embeddings("gallery.npz"))
    assert status == 1 and 5 < rows < 40
    message = f"cut.avi: the video announces 40 frames, only {rows} could be decoded, which were"
    assert message in err


def test_nothing_usable_writes_nothing(crops, run):
    Path("bad.jpg").write_bytes(b"no image")
    status, _, err = run("bad.jpg")
    assert status == 2 and "bad.jpg: cannot be read" in err
    assert not list(Path().glob("gallery*"))


def test_mistakes_are_errors_before_any_work(crops, run, monkeypatch):
    monkeypatch.setattr(extraction, "count_pictures", None)  # the work's beginning
    Path("empty").mkdir()
    Path("full.npz").write_bytes(b"")
    for words, out, message in (
        (["empty"], "a.npz", "empty: expected images or videos in it or below, found none"),
        (["nothing/*.jpg"], "a.npz", "where this pattern leads, found none"),
        (["nothing.jpg"], "a.npz", "there is no file or folder nothing.jpg"),
        (["crops/readme.txt"], "a.npz", "crops/readme.txt: expected an image (.jpg,"),
        (["crops"], "full.npz", "full.npz exists already"),
        (["crops"], "a.csv", "ends in .npz or .parquet"),
        (["crops"], "no/a.npz", "there is no folder no"),
        (["crops", "--device", "mars"], "a.npz", "--device mars"),
    ):
        status, _, err = run(*words, out=out)
        assert status == 2 and err.startswith("torchreid-magnifier extract: error: ")
        assert message in err
    status, _, err = run("crops", chosen="nowhere")
    assert status == 2 and "no weights 'nowhere'" in err
    assert sorted(os.listdir()) == ["crops", "crops_ps_label", "empty", "full.npz"]


def test_a_network_that_gives_no_numbers_is_reported(crops, run, tmp_path):
    checkpoint = save_run(tmp_path / "broken")
    state = torch.load(checkpoint)["state_dict"]
    next(iter(state.values())).fill_(float("nan"))
    torch.save(state, checkpoint)
    status, _, err = run("crops", chosen=checkpoint)
    assert status == 2 and "not finite" in err and not os.path.exists("gallery.npz")


def test_a_gpu_with_too_little_memory_is_reported(crops, run, monkeypatch):
    def too_much(self, images):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(MagnifierNet, "inspect", too_much)
    status, _, err = run("crops")
    assert status == 2 and "9 pictures at once: give a smaller --batch-size" in err


# ------------------------------------------------------------------ search


@pytest.fixture
def gallery(crops, run):
    save_video("walk.avi")
    assert run("crops", "walk.avi", "--every", 4)[0] == 0
    return crops


def test_search_tells_draws_and_lists_the_nearest(gallery, capsys):
    words = ["crops/3.PNG", "crops/more/1.PNG", "--top", "4", "--out", "r.png", "--csv", "h.csv"]
    assert main(["search", "--gallery", "gallery.npz", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "crops/3.PNG" and lines[1].startswith("  parts: head ")
    assert lines[2].split() == ["rank", "similarity", "picture"]
    assert lines[3].split() == ["1", "1.0000", "crops/3.PNG"]
    assert "h.csv: 8 hits" in lines and "r.png: 2 of 2 queries" in lines
    with open("h.csv", encoding="utf-8", newline="") as file:
        hits = list(csv.DictReader(file))
    assert [hit["rank"] for hit in hits] == ["1", "2", "3", "4"] * 2
    assert hits[4]["query"] == hits[4]["path"] == "crops/more/1.PNG"
    found = read_embeddings("gallery.npz")
    unit = found.vectors / np.linalg.norm(found.vectors, axis=1, keepdims=True)
    similarities = unit @ unit[PATHS.index("crops/3.PNG")]
    order = np.argsort(-similarities)[:4]
    assert [hit["path"] for hit in hits[:4]] == found.paths[order].tolist()
    assert [int(hit["frame"]) for hit in hits[:4]] == found.frames[order].tolist()
    np.testing.assert_allclose(
        [float(hit["similarity"]) for hit in hits[:4]], similarities[order], atol=1e-5
    )
    with Image.open("r.png") as picture:
        assert min(picture.size) > 200


def test_a_file_of_embeddings_as_queries_and_an_index_that_is_kept(gallery, capsys):
    command = ["search", "--gallery", "gallery.npz", "gallery.npz", "--top", "2"]
    outputs = {}
    for index in ("exact", "flat", "ivf", "hnsw"):
        assert main([*command, "--index", index, "--metric", "euclidean"]) == 0
        outputs[index] = capsys.readouterr().out
    assert outputs["flat"] == outputs["exact"]
    assert outputs["exact"].count("0.0000") == 12 and "walk.avi, frame 8" in outputs["exact"]
    for index in ("ivf", "hnsw"):
        assert f"recall@2 of {index} against exact search: 1.000" in outputs[index]
    for built in (True, False):
        assert main([*command, "--index", "hnsw", "--index-file", "kept"]) == 0
        assert ("kept: index hnsw of 12 embeddings" in capsys.readouterr().out) == built
    os.utime("kept", (1, 1))
    assert main([*command, "--index", "hnsw", "--index-file", "kept"]) == 2
    assert "kept is older than gallery.npz" in capsys.readouterr().err


def test_only_the_gallerys_own_network_embeds_queries(gallery, capsys, run, weights, tmp_path):
    other = save_run(tmp_path / "other", seed=1)
    command = ["search", "--gallery", "gallery.npz", "crops/3.PNG"]
    assert main([*command, "--weights", other]) == 2
    err = capsys.readouterr().err
    assert "two networks cannot be compared" in err and other in err and weights in err
    assert run("crops", out="other.npz", chosen=other)[0] == 0
    assert main(["search", "--gallery", "gallery.npz", "other.npz"]) == 2
    assert "two networks cannot be compared" in capsys.readouterr().err
    # A copy without its config.yaml: the gallery tells what it was trained with.
    (tmp_path / "copy.pth").write_bytes(Path(weights).read_bytes())
    assert main([*command, "--weights", "copy.pth", "--top", "1"]) == 0
    assert "1.0000  crops/3.PNG" in capsys.readouterr().out


def test_pictures_that_are_gone_are_drawn_grey(gallery, capsys):
    os.rename("crops/more/1.PNG", "moved.png")
    words = ["moved.png", "--top", "1", "--out", "r.png"]
    assert main(["search", "--gallery", "gallery.npz", *words]) == 1
    captured = capsys.readouterr()
    assert "1.0000  crops/more/1.PNG" in captured.out and os.path.exists("r.png")
    assert captured.err.endswith("cannot be read here: 1\n  crops/more/1.PNG\n")


@pytest.mark.parametrize(
    "words, message",
    [
        (["bad.jpg"], "queries that cannot be read:\n  bad.jpg"),
        (["walk.avi"], "walk.avi: a video cannot be a query"),
        (["crops/9.PNG"], "there is no file or folder crops/9.PNG"),
        (["crops/0.PNG", "--index-file", "kept"], "--index-file goes with an index of FAISS"),
        (["crops/0.PNG", "--out", "r.gif"], "--out: expected .png"),
        (["crops/0.PNG", "--csv", "no/h.csv"], "--csv: expected a file in a folder that is there"),
        (["crops/0.PNG", "--gallery", "no.npz"], "no.npz: No such file"),
        (["crops/0.PNG", "--gallery", "bad.jpg"], "expected a file of embeddings"),
        (["crops/0.PNG", "--weights", "nowhere"], "no weights 'nowhere'"),
    ],
)
def test_mistakes_in_a_search(gallery, capsys, words, message):
    Path("bad.jpg").write_bytes(b"no image")
    given = [] if "--gallery" in words else ["--gallery", "gallery.npz"]
    assert main(["search", *given, *words]) == 2
    err = capsys.readouterr().err
    assert err.startswith("torchreid-magnifier search: error: ") and message in err


def test_weights_that_moved_away_are_asked_for(crops, capsys, tmp_path):
    checkpoint = save_run(tmp_path / "run")
    assert main(["extract", "crops", "--weights", checkpoint, "--out", "g.npz"]) == 0
    os.rename(tmp_path / "run", tmp_path / "moved")
    assert main(["search", "--gallery", "g.npz", "crops/0.PNG"]) == 2
    err = capsys.readouterr().err
    assert checkpoint in err and "--weights" in err
    moved = str(tmp_path / "moved" / "model" / "model.pth.tar-1")
    assert main(["search", "--gallery", "g.npz", "crops/0.PNG", "--weights", moved]) == 0


def test_settings_of_an_unfinished_run_are_readable(crops, run, small_chunks, interrupted_after):
    with interrupted_after(2):
        run("crops", "--batch-size", 2)
    settings = json.loads(Path("gallery.npz.partial/settings.json").read_text())
    assert settings["batch size"] == 2 and settings["number of files"] == 9


# ------------------------------------------------------------------ where the output goes


def test_names_that_a_code_page_lacks_are_printed_and_written(crops, weights):
    name = "crops/小 ż.png"
    os.rename("crops/0.PNG", name)
    Path("crops/坏.jpg").write_bytes(b"no image")
    words = ["--weights", weights]
    commands = [
        ["extract", "crops", *words, "--out", "g.npz"],
        ["search", "--gallery", "g.npz", name, "--top", "1", "--csv", "h.csv", "--out", "r.png"],
        ["show", "masks", name, *words, "--out", "小.png"],
        ["search", "--gallery", "g.npz", "crops/無.png"],
    ]
    with on_a_code_page("cp1252") as (out, err):
        assert [main(words) for words in commands] == [1, 0, 0, 2]
    assert b"1.0000  crops/\\u5c0f \\u017c.png" in out.getvalue()
    assert b"crops/\\u574f.jpg: cannot be read" in err.getvalue()
    assert b"there is no file or folder crops/\\u7121.png" in err.getvalue()
    with open("h.csv", encoding="utf-8", newline="") as file:
        (hit,) = csv.DictReader(file)
    assert hit["path"] == name
