"""The example of the Python API runs as it is written, but for its length."""

from functools import partial

import programs

from torchreid_magnifier import read_checkpoint
from torchreid_magnifier.synthetic import Settings, generate

# A batch of 32 images takes 8 people; torchreid ranks 50 images at least.
FEW = Settings(train_ids=8, test_ids=8, distractors=5)


def test_both_stages_of_the_example(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "torchreid_magnifier.synthetic.dataset.generate", partial(generate, settings=FEW)
    )
    example = programs.load("examples/train_magnifiernet.py")
    monkeypatch.chdir(tmp_path)
    weights = example.train(1, "triplet", epochs=1, lr=2e-3)
    weights = example.train(2, "triplet_sd", epochs=1, lr=2e-4, weights=weights)
    assert read_checkpoint(weights)["epoch"] == 1
    printed = capsys.readouterr().out
    assert "Loaded the weights of" in printed and "loss_sd" in printed
