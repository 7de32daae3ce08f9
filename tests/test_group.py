"""Who is who: groups of pictures against plain loops, their files, and mistakes."""

import csv
import itertools
import shutil

import numpy as np
import pytest
from test_decide import CARD, rows_of, seen

from torchreid_magnifier.cli import main
from torchreid_magnifier.inference.decide import calibrate, score_pairs
from torchreid_magnifier.inference.embedding_files import write_embeddings
from torchreid_magnifier.inference.embeddings import Embeddings
from torchreid_magnifier.inference.errors import RetrievalError
from torchreid_magnifier.inference.explain.rankings import read_evaluation_set
from torchreid_magnifier.inference.group import (
    METHODS,
    agreement,
    group,
    groups_as_csv,
    read_names,
    write_folders,
)

pytest.importorskip("sklearn")


def joined_by_loops(unit, threshold, linkage):
    """Join the two most similar groups as long as they are similar enough."""
    groups = [[row] for row in range(len(unit))]
    similar = unit @ unit.T
    while True:
        best = max(
            (linkage(similar[np.ix_(a, b)]), i, j)
            for (i, a), (j, b) in itertools.combinations(enumerate(groups), 2)
        )
        if best[0] < threshold:
            return {frozenset(rows) for rows in groups}
        groups[best[1]] += groups.pop(best[2])


@pytest.mark.parametrize("method, linkage", [("average", np.mean), ("complete", np.min)])
def test_groups_are_those_of_plain_loops(method, linkage):
    embeddings, _, _ = seen(5, noise=1.0, seed=3)
    found = group(embeddings, 0.4, method)
    unit = embeddings.vectors / np.linalg.norm(embeddings.vectors, axis=1, keepdims=True)
    groups = {frozenset(np.flatnonzero(found == person)) for person in np.unique(found)}
    assert groups == joined_by_loops(unit, 0.4, linkage) and 1 < len(groups) < 30
    first = [int(np.flatnonzero(found == person)[0]) for person in range(found.max() + 1)]
    assert first == sorted(first)  # numbered as they appear


@pytest.mark.parametrize("method", METHODS)
def test_people_who_are_far_apart_are_found(method):
    embeddings, pids, _ = seen(8, noise=0.2)
    order = np.random.default_rng(0).permutation(len(pids))
    found = agreement(group(rows_of(embeddings, order), 0.6, method), pids[order])
    assert (found.f1, found.ari, found.groups) == (1, 1, 8)
    alone = group(rows_of(embeddings, [0, 6, 12]), 0.6, method)
    assert alone.tolist() == [0, 1, 2]


def test_agreement_is_counted_over_all_pairs():
    generator = np.random.default_rng(0)
    found, people = generator.integers(0, 4, 30), generator.integers(0, 5, 30)
    pairs = list(itertools.combinations(range(30), 2))
    ours = {(i, j) for i, j in pairs if found[i] == found[j]}
    true = {(i, j) for i, j in pairs if people[i] == people[j]}
    counted = agreement(found, people)
    assert counted.precision == len(ours & true) / len(ours)
    assert counted.recall == len(ours & true) / len(true)
    assert counted.f1 == pytest.approx(2 * len(ours & true) / (len(ours) + len(true)))
    assert agreement(np.arange(3), ["a", "b", "c"]).f1 == 1  # no pairs: none is wrong
    with pytest.raises(ValueError, match="for each of 30 pictures, got 2"):
        agreement(found, [1, 2])


def test_pictures_that_cannot_be_grouped(monkeypatch):
    embeddings, _, _ = seen(3)
    with pytest.raises(RetrievalError, match="no pictures"):
        group(rows_of(embeddings, []), 0.5)
    with pytest.raises(ValueError, match="a method of average, .* found 'kmeans'"):
        group(embeddings, 0.5, "kmeans")
    monkeypatch.setattr("torchreid_magnifier.inference.group._MOST", 10)
    with pytest.raises(RetrievalError, match="18 pictures have too many pairs .* take hdbscan"):
        group(embeddings, 0.5)
    embeddings.vectors[1] = np.nan
    with pytest.raises(RetrievalError, match="not finite"):
        group(embeddings, 0.5)


def test_the_command_writes_who_is_who(noise_root, tmp_path, capsys):
    sample = read_evaluation_set("market1501", str(noise_root))
    folder = tmp_path / "people"
    for number, one in enumerate((*sample.query, *sample.gallery)):
        target = folder / str(one.pid) / f"{number}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(one.path, target)
    paths = sorted(map(str, folder.rglob("*.jpg")))
    embeddings, _, _ = seen(2, per_camera=1, noise=0.1)
    pictures = Embeddings(
        np.array(paths), embeddings.frames, embeddings.vectors, None, embeddings.card
    )
    gallery, calibration = tmp_path / "all.npz", tmp_path / "c.json"
    write_embeddings(gallery, [pictures], len(pictures), CARD)
    calibrate(score_pairs(*seen(60)), CARD, "made people", replicates=2).write(calibration)
    table, sheet, out = tmp_path / "who.csv", tmp_path / "who.png", tmp_path / "found"
    asked = ["group", str(gallery), "--calibration", str(calibration)]
    written = ["--csv", str(table), "--folders", str(out), "--out", str(sheet)]
    assert main([*asked, *written, "--people", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "6 pictures of 2 people" in printed and "pairwise F1 100.0 %" in printed
    rows = list(csv.DictReader(table.open()))
    assert [row["person"] for row in rows] == ["0"] * 3 + ["1"] * 3
    assert read_names(table)(pictures) == [row["person"] for row in rows]
    assert sorted(path.parent.name for path in out.rglob("*.jpg")) == ["0001"] * 3 + ["0002"] * 3
    assert sheet.stat().st_size > 1000
    assert main([*asked, "--folders", str(out)]) == 2
    printed = capsys.readouterr()
    assert "found exists already" in printed.err and not printed.out  # before anything is compared
    table.write_text("path,who\n0.jpg,a\n")
    assert main([*asked, "--people", str(table)]) == 2
    printed = capsys.readouterr()
    assert "columns path and person" in printed.err and not printed.out


def test_files_of_names_that_cannot_be_used(tmp_path):
    embeddings, _, _ = seen(2)
    found = group(embeddings, 0.5)
    table = tmp_path / "names.csv"
    table.write_text("path,who\n0.jpg,a\n")
    with pytest.raises(RetrievalError, match="columns path and person, found path, who"):
        read_names(table)(embeddings)
    table.write_text(groups_as_csv(rows_of(embeddings, [0, 1]), found))
    with pytest.raises(RetrievalError, match="no row of 2.jpg"):
        read_names(table)(embeddings)
    with pytest.raises(RetrievalError, match="nobody for 12 of 12 pictures, such as 0.jpg"):
        read_names(tmp_path)(embeddings)
    with pytest.raises(RetrievalError, match="0.jpg is not there"):
        write_folders(embeddings, found, tmp_path / "found")
    assert not (tmp_path / "found").exists()
