"""Textures of the drawn people: whose they are, what is where, and how they get to disk."""

import dataclasses
import errno
import functools
import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as T

from torchreid_magnifier.data.datasets import with_textures
from torchreid_magnifier.data.textures import TextureError
from torchreid_magnifier.parts import PARTS
from torchreid_magnifier.synthetic import Settings, SyntheticPedestrians, dataset, generate
from torchreid_magnifier.synthetic.canvas import tint
from torchreid_magnifier.synthetic.identity import identity
from torchreid_magnifier.synthetic.plan import plan
from torchreid_magnifier.synthetic.texture import NOTHING, TEXTURE_SIZE, draw_texture

SMALL = Settings(train_ids=2, test_ids=1, distractors=1)
writing = sys.modules["torchreid_magnifier.synthetic.generate"]
drawing = sys.modules["torchreid_magnifier.synthetic.texture"]
scene = sys.modules["torchreid_magnifier.synthetic.scene"]

# Points in the texture (row, column): of the front; the back is half the width further right.
BAG, FACE, HAIR, EAR = (28, 20), (36, 64), (28, 64), (28, 108)
CHEST, BELLY = (80, 64), (130, 64)
SLEEVE, FOREARM = (75, 16), (115, 16)
THIGH, SHIN, SHOE = (170, 32), (205, 32), (246, 100)
BACK = (0, TEXTURE_SIZE // 2)

PLAIN = dataclasses.replace(
    identity(2020, 0, 0),
    skin=(200, 150, 120),
    hair=(30, 20, 10),
    hair_style="short",
    hat="none",
    glasses=False,
    upper=(10, 100, 200),
    pattern="plain",
    accent=(250, 250, 0),
    long_sleeves=False,
    coat=False,
    lower="trousers",
    lower_colour=(90, 0, 90),
    side_stripe=False,
    shoes=(240, 240, 240),
    bag="none",
    bag_colour=(0, 255, 0),
    bag_side=1,
)


def colour(texture, point, half=(0, 0)):
    return tuple(texture[point[0] + half[0], point[1] + half[1]].tolist())


def variant(**details):
    return draw_texture(dataclasses.replace(PLAIN, **details))


# -- what is where --------------------------------------------------------------------------------


def test_every_part_has_its_place():
    texture = draw_texture(PLAIN)
    assert texture.shape == (256, 256, 3)
    assert texture.dtype == np.uint8
    for half in ((0, 0), BACK):
        for points, expected in (
            ((BAG,), NOTHING),
            ((CHEST, BELLY), PLAIN.upper),
            ((SLEEVE,), tint(PLAIN.upper, 0.96)),
            ((FOREARM,), PLAIN.skin),
            ((THIGH, SHIN), PLAIN.lower_colour),
            ((SHOE,), PLAIN.shoes),
        ):
            for point in points:
                assert colour(texture, point, half) == expected, (point, half)
    assert colour(texture, FACE) == PLAIN.skin
    assert colour(texture, HAIR, BACK) == PLAIN.hair


@pytest.mark.parametrize(
    "details, point, half, expected",
    [
        ({"lower": "shorts"}, SHIN, BACK, "skin"),
        ({"lower": "long skirt"}, SHIN, (0, 0), "lower_colour"),
        ({"lower": "skirt"}, THIGH, BACK, "lower_colour"),
        ({"pattern": "logo"}, CHEST, (0, 0), "accent"),
        ({"pattern": "logo"}, CHEST, BACK, "upper"),
        ({"pattern": "open jacket"}, BELLY, (0, 0), "accent"),
        ({"pattern": "yoke"}, (60, 64), BACK, "accent"),
        ({"hair_style": "long"}, (65, 64), BACK, "hair"),
        ({"hair_style": "long"}, (65, 64), (0, 0), "upper"),
        ({"hair_style": "bald"}, HAIR, BACK, "skin"),
        ({"hat": "beanie", "hat_colour": (0, 0, 255)}, (3, 64), (0, 0), "hat_colour"),
        ({"bag": "backpack"}, BAG, (0, 0), "bag_colour"),
        ({"bag": "backpack"}, BAG, BACK, "bag_colour"),
        ({"bag": "backpack"}, CHEST, BACK, "bag_colour"),
        ({"bag": "backpack"}, CHEST, (0, 0), "upper"),
        ({"bag": "shoulder"}, BAG, (0, 0), "bag_colour"),
        ({"bag": "carrier", "bag_side": -1}, BAG, BACK, "bag_colour"),
    ],
)
def test_a_detail_shows_where_it_is_on_the_body(details, point, half, expected):
    person = dataclasses.replace(PLAIN, **details)
    assert colour(draw_texture(person), point, half) == getattr(person, expected)


def test_long_sleeves_reach_down_to_the_hand():
    texture = variant(long_sleeves=True)
    assert colour(texture, FOREARM) == colour(texture, SLEEVE)
    assert colour(texture, (143, 16)) == PLAIN.skin


def test_a_bag_hangs_on_one_side_only():
    assert colour(variant(bag="carrier", bag_side=-1), BAG) == NOTHING
    assert colour(variant(bag="shoulder"), BAG, BACK) == NOTHING


def test_the_build_does_not_move_anything():
    stout = variant(height=1.5, build=1.3, shoulders=0.85)
    np.testing.assert_array_equal(stout, draw_texture(PLAIN))


def test_every_texel_but_the_bag_is_on_the_body(monkeypatch):
    outside = (1, 2, 3)
    monkeypatch.setattr(drawing, "NOTHING", outside)
    for number in range(0, 48, 4):
        for yaw, patches in drawing._patches().items():
            painted = drawing._paint(identity(2020, 0, number), yaw)
            for patch in patches:
                missed = (painted[patch.rows, patch.columns] == outside).all(axis=2)
                assert not missed.any(), (number, yaw, patch.window)


def test_the_patches_cover_the_texture_without_overlapping():
    count = np.zeros((TEXTURE_SIZE * drawing._SAMPLES,) * 2, int)
    windows = [patch.window for patches in drawing._patches().values() for patch in patches]
    for window in [*windows, *(drawing._window(drawing._BAG, half) for half in (0, 128))]:
        count[window] += 1
    assert (count == 1).all()


# -- whose it is ----------------------------------------------------------------------------------


def test_people_are_distinct_also_those_who_look_alike():
    numbers = [number for number in range(40) if number % 4 < 2]  # pairs, see ``identity``
    textures = {draw_texture(identity(2020, 1, number)).tobytes() for number in numbers}
    assert len(textures) == len(numbers)


def test_colours_agree_with_those_of_the_clothes_in_the_pictures():
    """Through five cameras with their own light and colours, so not exactly."""
    torso, lower_leg = PARTS.index("torso"), PARTS.index("lower_leg")
    shots: dict[int, list] = {}
    for entry in plan():
        if entry.subset == "train" and entry.shot.index == 0:
            shot = dataclasses.replace(entry.shot, occlusion="none")
            shots.setdefault(entry.shot.person, []).append(shot)
    in_textures, in_pictures = [], []
    for person in range(0, 48, 4):
        texture = draw_texture(identity(2020, 0, person))
        rows = (slice(60, 140), slice(32, 96)), (slice(190, 230), slice(0, 128))
        in_textures.append([np.median(texture[row], axis=(0, 1)) for row in rows])
        pictures = [scene.render(shot) for shot in shots[person]]
        in_pictures.append(
            [
                np.median(np.concatenate([p.image[p.labels == part] for p in pictures]), axis=0)
                for part in (torso, lower_leg)
            ]
        )
    for part in (0, 1):
        for channel in range(3):
            pairs = np.array(in_textures)[:, part, channel], np.array(in_pictures)[:, part, channel]
            assert np.corrcoef(*pairs)[0, 1] > 0.9, (part, channel)


# -- datasets -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    generate(root / "synthetic_pedestrians", SMALL)
    return root


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(dataset, "generate", functools.partial(generate, settings=SMALL))


def make(root, **options):
    transform = T.Compose([T.Resize((128, 64)), T.ToTensor()])
    cls = with_textures(SyntheticPedestrians, "synthetic_pedestrians")
    return cls(root=str(root), transform=transform, verbose=False, **options)


def hashes(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(".lock")
    }


def test_textures_are_made_when_they_are_asked_for(tmp_path):
    SyntheticPedestrians(root=str(tmp_path), verbose=False)
    folder = tmp_path / "synthetic_pedestrians"
    pictures = hashes(folder)
    make(tmp_path, mode="query")
    assert hashes(folder) == pictures
    textured = make(tmp_path, combineall=True)
    textures = {path.name: path for path in folder.rglob("images_texture/*/*.png")}
    assert set(textures) == {Path(path).stem + ".png" for path, *_ in textured.train}
    assert hashes(folder).items() > pictures.items()

    of_person: dict[int, set] = {}
    for path, pid, *_ in textured.train:
        of_person.setdefault(pid, set()).add(textures[Path(path).stem + ".png"].read_bytes())
    assert [len(files) for files in of_person.values()] == [1, 1, 1]
    assert len(set().union(*of_person.values())) == 3

    image = textured[0]["img"]
    assert image.shape == (9, 128, 64)
    expected = draw_texture(identity(2020, 0, 0)).reshape(128, 2, 2, 64, 2, 3).mean(axis=(1, 4))
    halves = torch.from_numpy(expected / 127.5 - 1).float().permute(1, 3, 0, 2)
    torch.testing.assert_close(image[3:], halves.reshape(6, 128, 64))


def test_textures_are_made_once_and_the_same_each_time(root, tmp_path):
    make(root)
    before = hashes(root)
    times = {path: path.stat().st_mtime_ns for path in root.rglob("images_texture/*/*.png")}
    make(root)
    assert {path: path.stat().st_mtime_ns for path in times} == times
    drawing._patches.cache_clear()
    make(tmp_path)
    assert hashes(tmp_path) == before


@pytest.mark.parametrize("damage", ["version", "missing texture"])
def test_textures_that_are_old_or_damaged_are_made_anew(root, damage):
    make(root)
    before = hashes(root)
    folder = root / "synthetic_pedestrians/images_texture"
    if damage == "version":
        (folder / "drawn.json").write_text('{"version": 0}')
    else:
        next(folder.glob("train/*.png")).unlink()
    make(root)
    assert hashes(root) == before


def test_textures_that_were_made_otherwise_stay(tmp_path):
    folder = tmp_path / "synthetic_pedestrians/images_texture/train"
    SyntheticPedestrians(root=str(tmp_path), verbose=False)
    folder.mkdir(parents=True)
    Image.new("RGB", (128, 128)).save(folder / "0001_c1s1_000001_00.png")
    before = hashes(folder)
    with pytest.raises(TextureError, match="images without a texture: 19\n"):
        make(tmp_path)
    assert hashes(folder) == before


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")]
)
def test_an_interruption_leaves_no_textures(tmp_path, monkeypatch, error):
    SyntheticPedestrians(root=str(tmp_path), verbose=False)
    before = hashes(tmp_path)
    write, written = writing._write, []

    def failing(path, data):
        written.append(path)
        if len(written) > 5:
            raise error
        write(path, data)

    monkeypatch.setattr(writing, "_write", failing)
    with pytest.raises(type(error)) as caught:
        make(tmp_path)
    assert hashes(tmp_path) == before
    if isinstance(error, OSError):
        assert "the disk is full: their textures need about 1 MB in " in str(caught.value)


def test_stated_need_of_space_is_enough(root):
    make(root)
    files = list(root.rglob("images_texture/*/*.png"))
    blocks = sum(-(-path.stat().st_size // 4096) * 4096 for path in files)
    assert blocks <= writing._BYTES_PER_TEXTURE * len(files)
