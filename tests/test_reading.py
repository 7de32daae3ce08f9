"""Dataset classes that cannot read their files: what was looked for, what is there, what is meant.

With torchreid's own classes, whose errors are those of Python where the files are not as expected.
"""

from pathlib import Path

import pytest
from PIL import Image
from torchreid import data as torchreid_data

from torchreid_magnifier.data.datasets import DatasetError, check_identities
from torchreid_magnifier.data.reading import explained, read_dataset

TOP = "market1501/Market-1501-v15.09.15"
FOLDERS = ("bounding_box_train", "query", "bounding_box_test")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def retrieve(*args, **kwargs):
        raise OSError("network is down")

    monkeypatch.setattr("urllib.request.urlretrieve", retrieve)


@pytest.fixture
def market(tmp_path) -> Path:
    """A data root with a little of Market-1501."""
    for folder, pid in zip(FOLDERS, (2, 3, 3)):
        for camera in (1, 2):
            path = tmp_path / "data" / TOP / folder / f"{pid:04}_c{camera}s1_000451_03.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 8)).save(path)
    return tmp_path / "data"


def error_of(root, name="market1501", **kwargs) -> str:
    with pytest.raises(DatasetError) as error:
        read_dataset(name, root, **kwargs)
    return str(error.value)


def test_a_dataset_that_is_as_it_should_be_is_read(market):
    assert len(read_dataset("market1501", market).train) == 2


def test_a_root_that_is_not_there(tmp_path):
    root = tmp_path / "absent"
    assert error_of(root) == (
        f"dataset Market1501: {root}/market1501 is not there and could not be downloaded "
        f"(network is down)\nin {root} there is: nothing"
    )
    assert not (root / "market1501").exists()


@pytest.mark.parametrize("deeper", ["market1501", TOP, "../"])
def test_a_root_some_levels_down_or_up(market, deeper):
    message = error_of(market / deeper)
    assert message.endswith(f"\n{market}/market1501 is there: is the data root {market}?")


def test_a_folder_too_few(market):
    for folder in FOLDERS:
        (market / TOP / folder).rename(market / "market1501" / folder)
    (market / TOP).rmdir()
    # Torchreid's class also takes this layout, with a warning; but not a level more.
    (market / "market1501" / "Market").mkdir()
    for folder in FOLDERS:
        (market / "market1501" / folder).rename(market / "market1501" / "Market" / folder)
    with pytest.warns(UserWarning):
        message = error_of(market)
    train = market / "market1501" / "bounding_box_train"
    assert message == (
        f"dataset Market1501: looked for {train}, which is not there\n"
        f"in {market}/market1501 there is: Market\n"
        f"{market}/market1501/Market/bounding_box_train is there: is that it? Then it must be "
        f"moved to {train}"
    )


def test_images_of_another_ending(market):
    for path in (market / TOP / "query").iterdir():
        path.rename(path.with_suffix(".png"))
    assert error_of(market) == (
        f"dataset Market1501: no query images in {market / TOP}/query, which holds 2 files with "
        ".png; torchreid's classes look for one ending, mostly .jpg: rename or convert them"
    )


def test_an_empty_split(market):
    for path in (market / TOP / "bounding_box_test").iterdir():
        path.unlink()
    message = error_of(market)
    assert f"no gallery images in {market / TOP}/bounding_box_test, which holds no files" in message


@pytest.mark.parametrize("name", ["person.jpg", "0003_c9s1_000451_03.jpg"])
def test_names_that_do_not_match(market, name):
    path = market / TOP / "query" / name
    Image.new("RGB", (4, 8)).save(path)
    message = error_of(market)
    assert message.startswith(f"dataset Market1501: cannot read {market}/market1501 (")
    assert f"\n  img_path: {path}\n" in message
    assert r"pattern: ([-\d]+)_c(\d)" in message


def test_a_list_of_images_with_a_line_that_is_none(tmp_path):
    home = tmp_path / "msmt17" / "MSMT17_V1"
    for folder in ("train", "test"):
        (home / folder).mkdir(parents=True)
    for name in ("train", "val", "query", "gallery"):
        (home / f"list_{name}.txt").write_text("0000/0000_000_01_0303morning_0015_0.jpg 0\nx\n")
    message = error_of(tmp_path, "msmt17")
    assert message.startswith(f"dataset MSMT17: cannot read {tmp_path}/msmt17 (ValueError: ")
    assert f"list_path: {home}/list_train.txt" in message and "img_info: x" in message


def test_a_name_that_is_not_registered(tmp_path):
    assert "Invalid dataset name" in error_of(tmp_path, "market1502")


def test_other_errors_stay_as_they_are(market):
    with pytest.raises(ZeroDivisionError), explained(market):
        raise ZeroDivisionError
    with pytest.raises(TypeError, match="expected a subclass|unknown transform"):
        read_dataset("market1501_masks", market, transform=lambda image: image)


def test_identities_that_are_not_numbered_from_0_are_refused_by_name(tmp_path):
    class People(torchreid_data.ImageDataset):
        def __init__(self, root="", **kwargs):
            samples = [(f"{root}/{pid}.jpg", pid, 0) for pid in (3, 4, 9)]
            super().__init__(samples, samples, samples, **kwargs)

    people = People(str(tmp_path), verbose=False)
    with pytest.raises(DatasetError, match="People: .* from 0 to 2, found 3 from 3 to 9: .*pid2l"):
        check_identities(people.train, "People")
    from torchreid_magnifier import with_masks

    with pytest.raises(DatasetError, match="People: expected identities"):
        with_masks(People)(str(tmp_path), verbose=False)
