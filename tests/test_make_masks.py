"""``masks make`` when things go wrong: killed, twice at once, nowhere to write."""

import json
import os
import signal
import time

import numpy as np
import pytest
from PIL import Image
from processes import started

from torchreid_magnifier.annotate.images import folder_images
from torchreid_magnifier.annotate.masks import make_masks
from torchreid_magnifier.annotate.poses import pose_from_keypoints
from torchreid_magnifier.cli import main

COUNT = 500
STANDING = np.array(
    [(32, 15), (34, 13), (30, 13), (36, 14), (28, 14), (42, 29), (22, 29), (46, 46), (18, 46)]
    + [(48, 60), (16, 60), (38, 62), (26, 62), (39, 86), (25, 86), (39, 110), (25, 110)]
)


def keypoints(shift):
    return np.column_stack([STANDING + shift, np.ones(17)])


def people(folder, count):
    """A folder of images with somebody in another place in each, and their keypoints' file."""
    images = folder / "images"
    images.mkdir(parents=True)
    Image.new("RGB", (64, 128)).save(folder / "image.png")
    shifts = np.random.default_rng(0).integers(-8, 8, (count, 2))
    content = {}
    for number, shift in enumerate(shifts):
        name = f"{number:04d}.png"
        os.link(folder / "image.png", images / name)
        content[name] = keypoints(shift).tolist()
    (folder / "keypoints.json").write_text(json.dumps(content))
    words = ["--parser", "keypoints", "--keypoints", str(folder / "keypoints.json")]
    return images, ["masks", "make", "--images", str(images), *words]


def files_in(images):
    labels = images.with_name("images_ps_label")
    return {path.name: path.read_bytes() for path in labels.iterdir() if path.is_file()}


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_killed_in_the_middle_and_run_again_is_as_without(tmp_path, capsys):
    whole, words = people(tmp_path / "whole", COUNT)
    assert main(words) == 0
    killed, words = people(tmp_path / "killed", COUNT)
    labels = killed.with_name("images_ps_label")
    process = started(main, words)
    try:
        while not any(labels.glob("*.png")):
            assert process.is_alive()
            time.sleep(0.001)
        os.kill(process.pid, signal.SIGSTOP)

        capsys.readouterr()
        assert main(words) == 2  # a second run at the same time
        assert capsys.readouterr().err == (
            f"torchreid-magnifier masks make: error: another run is writing into {labels}: wait "
            "until it has ended\n"
        )
    finally:
        process.kill()
        process.join()
    partial = files_in(killed)
    assert 0 < sum(name.endswith(".png") for name in partial) < COUNT
    complete = files_in(whole)
    finished = {name: data for name, data in partial.items() if not name.startswith(".")}
    assert finished.items() <= complete.items()

    assert main(words) == 0
    assert files_in(killed) == complete


def test_the_rest_is_parsed_in_the_same_batches(tmp_path):
    """Networks answer a little differently in another batch; this one does so grossly."""

    def parse(paths, images):
        first = int(os.path.basename(paths[0])[:4])
        return [[pose_from_keypoints(keypoints(first - len(paths)), 0.3)] for _ in paths]

    images, _ = people(tmp_path, 11)
    found = folder_images(str(images))
    assert make_masks(found, lambda: parse, {}, batch_size=4) == []
    complete = files_in(images)
    assert len({data for name, data in complete.items() if name.endswith(".png")}) == 3
    for number in (2, 3, 4, 10):
        (images.with_name("images_ps_label") / f"{number:04d}.png").unlink()
    assert make_masks(found, lambda: parse, {}, batch_size=4) == []
    assert files_in(images) == complete


def test_a_place_that_cannot_be_written(tmp_path, capsys):
    images, words = people(tmp_path, 1)
    images.with_name("images_ps_label").write_text("in the way")
    assert main(words) == 2
    message = capsys.readouterr().err
    assert message.startswith(
        f"torchreid-magnifier masks make: error: part masks are written into {images}_ps_label, "
        "beside the images, but that is not possible ("
    )
    assert message.endswith("): make it writable, or copy the images to where you may write\n")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_a_folder_without_the_right_to_write(tmp_path, capsys):
    images, words = people(tmp_path, 1)
    tmp_path.chmod(0o555)
    try:
        assert main(words) == 2
    finally:
        tmp_path.chmod(0o755)
    assert "Permission denied" in capsys.readouterr().err
