"""A model, a backbone and a loss of one's own go wherever this package's own go.

Each is a file outside the package (``stripes.py``, ``slim.py``, ``orthogonality.py``); nothing in
the package knows of them.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import torchreid
from noise_data import write_config
from own import FOLDER, registered
from PIL import Image

from torchreid_magnifier.cli import main
from torchreid_magnifier.inference.open import open_network

MAIN_PY = Path(torchreid.__file__).parents[1] / "scripts" / "main.py"


def config_in(folder: Path, root: Path) -> Path:
    data = {"sources": ["market1501"], "targets": ["market1501"], "height": 96}
    data |= {"root": str(root), "save_dir": str(folder / "log")}
    return write_config(folder / "stripes.yaml", model={"name": "stripes"}, data=data)


def in_processes(*arguments: object) -> str:
    """Run Python as a user does whose file lies in a folder of ``PYTHONPATH``."""
    paths = [str(FOLDER), os.environ.get("PYTHONPATH", "")]
    environment = {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "TORCHREID_MAGNIFIER_IMPORT": "stripes",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *map(str, arguments)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def own_models():
    with registered():
        yield


@pytest.fixture(scope="module")
def trained(own_models, noise_root, tmp_path_factory):
    """Configuration and checkpoint of a run by ``train``."""
    folder = tmp_path_factory.mktemp("stripes")
    config = config_in(folder, noise_root)
    assert main(["train", "--config-file", str(config)]) == 0
    return config, folder / "log" / "model" / "model.pth.tar-1"


@pytest.mark.skipif(not MAIN_PY.is_file(), reason="this torchreid comes without its scripts")
def test_torchreids_own_script_trains_and_tests_it(noise_root, tmp_path):
    printed = in_processes(MAIN_PY, "--config-file", config_in(tmp_path, noise_root))
    assert "* Stripes epoch means: loss_orthogonality" in printed
    assert "Checkpoint saved" in printed and "Rank-1" in printed


def test_a_run_goes_on_alone_and_with_two_processes(trained, capfd):
    config, checkpoint = trained
    train = ["train", "--config-file", str(config), "train.max_epoch"]
    assert main([*train, "2"]) == 0
    assert "goes on after epoch 1" in capfd.readouterr().out
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    printed = in_processes(*launch, "-m", "torchreid_magnifier", *train, "3")
    assert printed.count("goes on after epoch 2") == 1
    assert "loss_orthogonality" in printed
    folder = checkpoint.parents[1]
    (result,) = json.loads((folder / "results.json").read_text()).values()
    assert result["epoch"] == 3 and 0 <= result["mAP"] <= 1


def test_images_are_searched_with_it(trained, noise_root, tmp_path, capsys):
    _, checkpoint = trained
    images = noise_root / "market1501" / "Market-1501-v15.09.15" / "query"
    out = tmp_path / "gallery.npz"
    given = ["--weights", str(checkpoint)]
    assert main(["extract", str(images), *given, "--out", str(out)]) == 0
    network = open_network(str(checkpoint))
    with np.load(out) as archive:
        found = archive["embeddings"]
    assert found.shape == (len(list(images.iterdir())), network.model.embedding_size)
    query = str(sorted(images.iterdir())[0])
    assert main(["search", query, "--gallery", str(out), *given]) == 0
    assert query in capsys.readouterr().out


def test_what_it_sees_is_shown(trained, noise_root, tmp_path):
    _, checkpoint = trained
    images = noise_root / "market1501" / "Market-1501-v15.09.15" / "query"
    given = ["--weights", str(checkpoint), "--out", str(tmp_path / "maps.png")]
    assert main(["show", "activations", str(images), *given]) == 0
    with Image.open(tmp_path / "maps.png") as picture:
        assert min(picture.size) > 100


def test_a_picture_that_it_cannot_give_is_refused(trained, noise_root, tmp_path, capsys):
    _, checkpoint = trained
    images = noise_root / "market1501" / "Market-1501-v15.09.15" / "query"
    given = ["--weights", str(checkpoint), "--out", str(tmp_path / "masks.png")]
    assert main(["show", "masks", str(images), *given]) == 2
    assert "stripes" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_it_is_exported_with_the_same_answers(trained, tmp_path):
    _, checkpoint = trained
    out = tmp_path / "stripes.onnx"
    assert main(["export", "--weights", str(checkpoint), "--out", str(out)]) == 0
    images = torch.randn(3, 3, 96, 32, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(str(out))
    (found, *_) = session.run(["embedding"], {session.get_inputs()[0].name: images.numpy()})
    with torch.no_grad():
        expected = open_network(str(checkpoint)).model(images).numpy()
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
