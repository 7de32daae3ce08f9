"""Boxes in frames: from the files of detectors and trackers to embeddings, tracklets and hits."""

import csv
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from networks import small
from PIL import Image

from torchreid_magnifier.cli import main, network_options
from torchreid_magnifier.errors import MagnifierError
from torchreid_magnifier.hub import Card
from torchreid_magnifier.inference import extract as extraction
from torchreid_magnifier.inference import search as searching
from torchreid_magnifier.inference.boxes import BoxError
from torchreid_magnifier.inference.detections import read_detections
from torchreid_magnifier.inference.embedding_files import read_embeddings, write_embeddings
from torchreid_magnifier.inference.embeddings import Embeddings, concatenated
from torchreid_magnifier.inference.errors import RetrievalError
from torchreid_magnifier.inference.extract import extract
from torchreid_magnifier.inference.open import Network
from torchreid_magnifier.inference.search import hits_as_csv, search
from torchreid_magnifier.inference.sources import Place, read_places
from torchreid_magnifier.inference.tracklets import tracklets, visible_weights
from torchreid_magnifier.parts import NUM_PARTS

WIDTH, HEIGHT, FRAMES = 160, 120, 6
# Frame from 0, track, left, top, width, height, score.
BOXES = [
    (0, 1, 10, 5, 40, 100, 0.9),
    (0, 2, 90, 20, 30, 80, 0.5),
    (1, 1, 14, 6, 40, 100, 0.8),
    (3, 2, 84, 20, 30, 80, 0.7),
    (3, 1, 22, 6.5, 40.25, 130, 0.6),  # beyond the lower edge
    (5, 1, 30, 5, 40, 100, 0.95),
]


@pytest.fixture(scope="module")
def network():
    card = Card("made", "magnifiernet_r18", 64, 32, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25))
    return Network(small("magnifiernet_r18").eval(), card)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A folder of frames, the same as a video, and the boxes in every format."""
    root = tmp_path_factory.mktemp("scene")
    (root / "img1").mkdir()
    generator = np.random.default_rng(0)
    video = cv2.VideoWriter(
        str(root / "walk.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 25, (WIDTH, HEIGHT)
    )
    for number in range(FRAMES):
        noise = Image.fromarray(generator.integers(0, 256, (12, 16, 3)).astype(np.uint8))
        frame = np.asarray(noise.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
        Image.fromarray(frame).save(root / "img1" / f"{number + 1:06d}.png")
        video.write(frame[..., ::-1])
    video.release()
    write_all(root)
    return root


def write_all(root):
    mot, results, annotations, corners, sizes = [], [], [], [], []
    for folder in ("yolo", "yolo_video"):
        (root / folder).mkdir()
    for frame, track, left, top, width, height, score in BOXES:
        box = [left, top, width, height]
        x1, y1, x2, y2 = left, top, left + width, top + height
        mot.append(f"{frame + 1},{track},{left},{top},{width},{height},{score},-1,-1,-1")
        one = {"image_id": frame + 1, "category_id": 1, "bbox": box, "score": score}
        results.append({**one, "track_id": track})
        annotations.append({**results[-1], "image_id": 70 + frame})
        corners.append(f"{frame},{track},{x1},{y1},{x2},{y2},{score}")
        sizes.append(f"{frame + 1:06d}.png,{left},{top},{width},{height},{score},{track}")
        shares = [(x1 + x2) / 2 / WIDTH, (y1 + y2) / 2 / HEIGHT, width / WIDTH, height / HEIGHT]
        line = " ".join(map(repr, [0, *shares, score, track]))
        for name in (f"yolo/{frame + 1:06d}.txt", f"yolo_video/walk_{frame + 1}.txt"):
            with open(root / name, "a") as file:
                file.write(line + "\n")
    results.append({"image_id": 1, "category_id": 3, "bbox": [1, 1, 5, 5], "score": 1})  # a car
    size = {"width": WIDTH, "height": HEIGHT}
    images = [{"id": 70 + n, "file_name": f"{n + 1:06d}.png", **size} for n in range(FRAMES)]
    (root / "det.txt").write_text("\n".join(mot) + "\n")
    (root / "results.json").write_text(json.dumps(results))
    dataset = {"images": images, "annotations": annotations}
    (root / "dataset.json").write_text(json.dumps(dataset))
    (root / "corners.csv").write_text("\n".join(["frame,track,x1,y1,x2,y2,score", *corners]))
    header = "file,left,top,width,height,confidence,tracker_id"
    (root / "sizes.csv").write_text("\r\n".join([header, *sizes]))


FILES = ["det.txt", "results.json", "dataset.json", "corners.csv", "sizes.csv", "yolo"]
CASES = [("img1", file) for file in FILES] + [
    ("walk.avi", file) for file in ("det.txt", "corners.csv", "yolo_video")
]


@pytest.mark.parametrize("source, file", CASES)
def test_every_format_gives_the_same_boxes(scene, source, file):
    found = read_detections([(scene / source, scene / file)])
    rows = [
        (frame.number, int(track), *(float(c) for c in box), round(float(score), 4))
        for frame in found.frames
        for box, track, score in zip(frame.boxes, frame.tracks, frame.scores)
    ]
    expected = [(f, t, x, y, x + w, y + h, s) for f, t, x, y, w, h, s in BOXES]
    np.testing.assert_allclose(rows, expected, atol=1e-4)
    assert len(found) == len(BOXES) and found.has_tracks
    assert found.left_out == ({"of other classes": 1} if file == "results.json" else {})


def test_what_is_left_out_is_counted(scene, tmp_path):
    pairs = [(scene / "img1", scene / "det.txt")]
    found = read_detections(pairs, min_score=0.65, every=3)
    assert [frame.number for frame in found.frames] == [0, 3]
    assert found.left_out == {"with a score below 0.65": 2, "in frames between": 2}
    truth = tmp_path / "gt.txt"
    truth.write_text("1,1,10,5,40,100,1,1,0.5\n1,2,90,20,30,80,0,8,1\n2 7 90 20 30 80 1 3 1\n")
    found = read_detections([(scene / "img1", truth)])
    assert found.left_out == {"with the flag 0 of a gt.txt": 1} and len(found) == 2
    assert found.frames[0].scores.tolist() == [1.0]
    with pytest.raises(RetrievalError, match=r"no box remains \(boxes left out: 3 of other cl"):
        read_detections([(scene / "img1", truth)], classes=["99"])


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("a.txt", "1,1,10,5,40,100,nan", "line 1: expected a finite number as the score, found"),
        ("a.txt", "1,1,10,5,40,100,0.5\n\n0,1,10,5,40,100,1", "line 3: .*the frame .* from 1 on"),
        ("a.txt", "1,1,10,5,0,100", "line 1: expected a width and a height above 0, found 0"),
        ("a.txt", "1,1,10,5", "6 to 10 numbers, found 4"),
        ("a.txt", "1,1.5,10,5,40,100", "expected the track as a whole number from 0 on, found 1.5"),
        ("a.txt", "9,1,10,5,40,100", "box in frame 8 .* has 6 frames: are frames missing"),
        ("a.txt", "2,3,10,5,9,9\n2,3,50,5,9,9", "found track 3 2 times in frame 1"),
        ("a.txt", "1,1,300,5,40,100", "a.txt, line 1 on, .*no pixel in the frame of 160x120.*size"),
        ("a.txt", "", "no box remains .there is none in it"),
        ("a.csv", "frame,x1,y1,x2,y2,colour\n", "unknown columns colour: expected a header"),
        ("a.csv", "frame,x1,y1,x2\n0,1,2,3", "it has no column y2"),
        ("a.csv", "x1,y1,x2,y2\n1,2,3,4", "it has no column frame"),
        ("a.csv", "frame,x1,y1,x2,y2\n0,40,5,30,9", "line 2: expected x1 < x2 .*left, top, width"),
        ("a.csv", "frame,x1,y1,x2,y2\n0,1,2,3", "line 2: expected 5 cells"),
        ("a.csv", "file,x1,y1,x2,y2\nb.png,1,2,3,4", "there are 0 images called b.png"),
        ("a.csv", "frame,x1,y1,x2,y2,score\n0,1,2,3,4,", "expected a finite number as score"),
        ("a.json", "[{]", "a.json is no JSON"),
        ("a.json", '{"boxes": []}', "'images' is missing"),
        ("a.json", '[{"image_id": 1, "bbox": [1, 2, 3]}]', "entry 0: expected image_id and bbox"),
        ("a.json", '[{"image_id": 9, "bbox": [1, 2, 3, 4]}]', "one image with the number 9"),
        ("a.json", '[{"image_id": 1, "bbox": [1, 2, 3, NaN]}]', "finite number as the bbox"),
        (
            "a.json",
            '{"images": [{"id": 1, "file_name": "000001.png", "width": 80, "height": 60}], '
            '"annotations": [{"image_id": 1, "bbox": [1, 2, 3, 4]}]}',
            "entry 0: the box is of an image of 80x60, but .* has 160x120",
        ),
        ("yolo/000001.txt", "0 0.5 0.5 0.2 0.2 7", "score of 0..1 in column 6, found 7: a track"),
        ("yolo/000001.txt", "0 80 60 20 20", "expected shares of the image"),
        ("yolo/000009.txt", "0 0.5 0.5 0.2 0.2", "there are 0 images called 000009"),
        ("a.xml", "<a/>", "expected boxes as .txt"),
    ],
)
def test_bad_boxes_are_errors_that_say_where(scene, tmp_path, name, text, message):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    given = path.parent if "/" in name else path
    with pytest.raises(MagnifierError) as caught:
        read_detections([(scene / "img1", given)])
    assert isinstance(caught.value, RetrievalError | BoxError)
    assert re.search(message, str(caught.value), re.S) and str(tmp_path) in str(caught.value)


def test_frames_that_are_missing_are_errors(scene, tmp_path, network):
    (tmp_path / "img1").mkdir()
    for number in (1, 2, 4):
        (tmp_path / "img1" / f"{number:06d}.png").symlink_to(scene / "img1" / "000001.png")
    with pytest.raises(RetrievalError, match="after the file number 2 comes 4"):
        read_detections([(tmp_path / "img1", scene / "det.txt")])
    for source, message in (("nowhere", "found nothing"), ("det.txt", "found another file")):
        with pytest.raises(RetrievalError, match=f"expected a video or a folder .*{message}"):
            read_detections([(scene / source, scene / "det.txt")])


def test_a_video_that_ends_early_writes_nothing(scene, tmp_path, network):
    data = (scene / "walk.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: int(0.7 * len(data))])
    found = read_detections([(tmp_path / "cut.avi", scene / "det.txt")])
    with pytest.raises(RetrievalError, match=r"the video ends after \d frames, .* to frame 5"):
        extract(network, found, tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()


# ------------------------------------------------------------------ extract


@pytest.fixture(scope="module")
def gallery(scene, network):
    found = read_detections([(scene / "img1", scene / "det.txt")])
    extract(network, found, scene / "whole.npz", batch_size=2)
    return read_embeddings(scene / "whole.npz")


def test_rows_are_what_embed_says_of_each_box(scene, network, gallery):
    assert gallery.frames.tolist() == [row[0] for row in BOXES]
    assert gallery.tracks.tolist() == [row[1] for row in BOXES]
    np.testing.assert_allclose(gallery.scores, [row[-1] for row in BOXES], rtol=1e-6)
    unit = gallery.vectors / np.linalg.norm(gallery.vectors, axis=1, keepdims=True)
    for number in (0, 3):
        rows = np.flatnonzero(gallery.frames == number)
        path = scene / "img1" / f"{number + 1:06d}.png"
        assert set(gallery.paths[rows]) == {str(path)}
        seen = network.embed(np.asarray(Image.open(path)), gallery.boxes[rows], order="rgb")
        np.testing.assert_allclose(unit[rows], seen.vectors, atol=1e-5)
        np.testing.assert_allclose(gallery.visibility[rows], seen.visibility, atol=0.01)


@pytest.mark.parametrize("ending", ["npz", "parquet"])
def test_a_video_with_boxes_goes_on_after_an_interruption(
    scene, network, tmp_path, monkeypatch, interrupted_after, ending
):
    monkeypatch.setattr(extraction, "CHUNK", 2)
    found = read_detections([(scene / "walk.avi", scene / "det.txt")])
    options = dict(batch_size=2, workers=2)
    assert extract(network, found, tmp_path / f"whole.{ending}", **options).rows == 6
    with interrupted_after(2), pytest.raises(KeyboardInterrupt):
        extract(network, found, tmp_path / f"out.{ending}", **options)
    assert extract(network, found, tmp_path / f"out.{ending}", **options).continued == 2
    whole, again = (tmp_path / f"{name}.{ending}" for name in ("whole", "out"))
    assert whole.read_bytes() == again.read_bytes()
    read = read_embeddings(again)
    assert read.boxes.shape == (6, 4) and read.tracks.dtype == np.int32
    again.unlink()
    with interrupted_after(2), pytest.raises(KeyboardInterrupt):
        extract(network, found, again, **options)
    other = read_detections([(scene / "walk.avi", scene / "corners.csv")], min_score=0.55)
    with pytest.raises(RetrievalError, match="digest of the boxes"):
        extract(network, other, again, **options)


# ------------------------------------------------------------------ tracklets


def made(rows, size=12, seed=0):
    generator = np.random.default_rng(seed)
    return Embeddings(
        np.array(["a.mp4" if row % 4 < 3 else "b.mp4" for row in range(rows)]),
        np.arange(rows, dtype=np.int32),
        generator.normal(size=(rows, size)).astype(np.float32),
        generator.dirichlet(np.ones(NUM_PARTS), rows).astype(np.float32),
        Card("made", "magnifiernet_r18", 64, 32),
        generator.uniform(0, 50, (rows, 4)).astype(np.float32),
        (np.arange(rows) % 3 - 1).astype(np.int32),
        generator.random(rows).astype(np.float32),
    )


@pytest.mark.parametrize("weights", ["visible", "equal"])
def test_a_tracklet_is_the_weighted_mean_of_its_crops(weights):
    crops = made(40)
    found = tracklets(crops, weights=weights)
    keys = [(p, t) for p, t in zip(crops.paths, crops.tracks)]
    wanted = [key for key in dict.fromkeys(keys) if key[1] >= 0]
    assert list(zip(found.paths, found.tracks)) == wanted
    for row, key in enumerate(wanted):
        own = [i for i, other in enumerate(keys) if other == key]
        vectors = crops.vectors[own].astype(float)
        lengths = np.linalg.norm(vectors, axis=1)
        share = crops.visibility[own, 1:] / np.median(crops.visibility[own, 1:], axis=0)
        weight = np.minimum(share, 1).mean(1) if weights == "visible" else np.ones(len(own))
        mean = (vectors / lengths[:, None] * weight[:, None]).sum(0)
        cosine = found.vectors[row] @ mean / np.linalg.norm(mean)
        assert cosine == pytest.approx(np.linalg.norm(found.vectors[row]))  # one direction
        assert cosine == pytest.approx((weight * lengths).sum() / weight.sum(), rel=1e-5)
        best = own[int(np.argmax(vectors / lengths[:, None] @ mean))]
        assert found.frames[row] == best and (found.boxes[row] == crops.boxes[best]).all()
        assert found.crops[row] == len(own) and found.visibility[row].sum() == pytest.approx(1)
    grouped = tracklets(crops, np.arange(40) // 10)
    assert grouped.crops.tolist() == [10] * 4 and grouped.tracks.tolist() == [0, 1, 2, 3]
    with pytest.raises(RetrievalError, match="no crop belongs to a track"):
        tracklets(crops, np.full(40, -1))


def test_a_crop_that_hides_the_legs_weighs_less():
    whole = [0.2, 0.1, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1]
    hidden = [0.5, 0.1, 0.2, 0.1, 0.1, 0, 0, 0]
    nobody = [1.0, *[0.0] * 7]
    found = visible_weights(np.array([whole, hidden, whole, nobody]), np.array([0, 0, 0, 1]))
    np.testing.assert_allclose(found, [1, 4 / 7, 1, 1])


# ------------------------------------------------------------------ search


def test_search_finds_boxes_and_draws_their_crops(scene, gallery, tmp_path):
    place = gallery.place(1)
    assert str(place) == f"{scene}/img1/000001.png, frame 0, track 2"
    crop = np.asarray(Image.open(place.path))[20:100, 90:120]
    whole = Place(place.path, -1)
    read = read_places([place, whole, place._replace(path="gone.png")])
    np.testing.assert_array_equal(np.asarray(read[place]), crop)
    assert read[whole].size == (WIDTH, HEIGHT) and list(read.values())[2] is None
    plain = Embeddings(np.array(["q.png"]), np.array([-1], np.int32), gallery.vectors[1:2], None,
                       gallery.card)  # fmt: skip
    found = search(plain, gallery, 2)
    assert found.rows[0, 0] == 1
    first = next(csv.DictReader(hits_as_csv(plain, gallery, found, "cosine").splitlines()))
    assert (first["track"], first["x1"], first["y2"]) == ("2", "90.0", "100.0")
    both = concatenated([plain_with_parts(plain), gallery])
    assert both.place(0) == Place("q.png", -1) and both.place(2) == place
    path = tmp_path / "both.npz"
    write_embeddings(path, [both], len(both), both.card)
    assert read_embeddings(path).place(2) == place


def plain_with_parts(plain):
    columns = dict(plain.columns()) | {"visibility": np.full((1, NUM_PARTS), 0.125, np.float32)}
    return Embeddings.from_columns(columns, plain.card)


def test_the_command_makes_tracklets_that_search_finds(
    scene, tmp_path, capsys, monkeypatch, network
):

    for module in (network_options, searching):
        monkeypatch.setattr(module, "open_network", lambda *_: network)
    monkeypatch.chdir(scene)
    out, sheet, table = (str(tmp_path / name) for name in ("t.npz", "found.png", "found.csv"))
    words = ["extract", "walk.avi", "--out", out]
    assert main([*words, "--tracklets"]) == 2
    assert "go with --detections" in capsys.readouterr().err
    assert main([*words, "--detections", "det.txt", "yolo"]) == 2
    assert "1, found 2" in capsys.readouterr().err
    assert main([*words, "--detections", "det.txt", "--tracklets", "--min-score", "0.55"]) == 0
    printed = capsys.readouterr().out
    assert "t.npz: 2 embeddings" in printed and "1 with a score below 0.55" in printed
    found = read_embeddings(out)
    assert found.tracks.tolist() == [1, 2] and found.crops.tolist() == [4, 1]
    crop = Image.open("img1/000004.png").crop((84, 20, 114, 100))
    crop.save(tmp_path / "query.png")
    query = str(tmp_path / "query.png")
    assert main(["search", "--gallery", out, query, "--out", sheet, "--csv", table]) == 0
    assert re.search(r"1 +0\.9\d+  walk.avi, frame 3, track 2", capsys.readouterr().out)
    assert Path(sheet).stat().st_size and "query,query_frame,rank" in Path(table).read_text()
