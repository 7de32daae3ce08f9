"""Galleries in a file and in Milvus: enrolled, found by filters, removed for good."""

import dataclasses
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from networks import small
from PIL import Image

from torchreid_magnifier.cli import main
from torchreid_magnifier.hub import Card
from torchreid_magnifier.inference.embeddings import Embeddings
from torchreid_magnifier.inference.errors import RetrievalError
from torchreid_magnifier.inference.gallery import (
    MilvusGallery,
    Where,
    open_gallery,
    read_table,
    rows_of,
    seconds,
    with_facts,
)
from torchreid_magnifier.inference.search import search

SIZE = 16
CARD = Card("people", "magnifiernet_r18", 64, 32, embedding_size=SIZE, sha256="0" * 64)
STORES = ["gallery.npz", "gallery.parquet", "gallery.db", "server"]


def made(rows=60, seed=0, first=0):
    """Ten people by three cameras, a row each second; tracks of five rows."""
    chance = np.random.default_rng(seed)
    numbers = np.arange(first, first + rows)
    vectors = np.random.default_rng(9).normal(size=(10, SIZE))[numbers % 10]
    vectors = (vectors + 0.4 * chance.normal(size=(rows, SIZE))).astype(np.float32)
    paths = np.array([f"crops/Ünal {number}.jpg" for number in numbers])
    frames = np.full(rows, -1, np.int32)
    found = Embeddings(paths, frames, vectors, None, CARD, tracks=(numbers // 5).astype(np.int32))
    people = [f"person-{number % 10} \"'\\é" for number in numbers]
    return with_facts(found, people, [f"c{n % 3}" for n in numbers], numbers.astype(float))


@pytest.fixture(params=STORES)
def store(request, tmp_path):
    if request.param.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    if not request.param.startswith("gallery.") or request.param.endswith(".db"):
        pytest.importorskip("pymilvus")
        pytest.importorskip("milvus_lite")
    if request.param != "server":
        yield str(tmp_path / request.param)
        return
    from milvus_lite.adapter.grpc.server import start_server_in_thread

    server, database, port = start_server_in_thread(str(tmp_path / "server.db"))
    yield f"http://127.0.0.1:{port}"
    server.stop(grace=0)
    database.close()


def content(gallery):
    """What is in a gallery, by the path: vector and facts."""
    rows = gallery.some(1000)
    return {
        str(rows.paths[n]): (
            rows.vectors[n].tobytes(),
            rows.people[n],
            rows.cameras[n],
            rows.times[n],
        )
        for n in range(len(rows))
    }


def test_enrol_find_remove(store, tmp_path):
    everybody = made()
    with closing(open_gallery(store, CARD)) as gallery:
        assert gallery.add(rows_of(everybody, np.arange(40))) == 40
        assert gallery.add(everybody) == 20 and gallery.add(everybody) == 0  # the same again
        assert len(gallery) == 60
    with closing(open_gallery(store)) as gallery:  # opened anew
        queries = made(7, seed=1, first=100)
        for where in (
            Where(),
            Where(cameras=["c1"]),
            Where(people=[everybody.people[3], everybody.people[4]]),
            Where(tracks=[0, 7], cameras=["c0", "c2"]),
            Where(since=10, until=20),
            Where(until=4.5),
        ):
            near = gallery.nearest(queries, 3, where)
            found = search(queries, near, 3)
            meant = rows_of(everybody, where.rows(everybody))
            exact = search(queries, meant, 3)
            assert near.paths[found.rows].tolist() == meant.paths[exact.rows].tolist()
            np.testing.assert_array_equal(found.scores, exact.scores)
            assert near.people[found.rows].tolist() == meant.people[exact.rows].tolist()
        with pytest.raises(RetrievalError, match="nobody of whom this is true"):
            gallery.nearest(queries, 3, Where(people=["nobody"]))

        gone = everybody.people[4]
        before = content(gallery)
        assert gallery.remove(gone) == 6 and gallery.remove(gone) == 0
        after = content(gallery)
        assert after == {path: row for path, row in before.items() if row[1] != gone}
        assert gone not in gallery.nearest(queries, 54).people
    with closing(open_gallery(store)) as gallery:
        assert content(gallery) == after
    if "://" in store:
        return  # a server compacts when it pleases
    for path in Path(tmp_path).rglob("*"):  # neither is in a file, packed or not
        if path.is_file():
            texts, vectors = stored(path)
            assert not any("person-4" in text for text in texts), path
            assert not any(row.tobytes() in vectors for row in everybody.vectors[4::10]), path
            if path.suffix == ".parquet":  # the check sees those that stay
                assert any("person-5" in text for text in texts)


def stored(path):
    """The texts and the bytes that a file of a gallery has."""
    raw = path.read_bytes()
    texts = [
        raw.decode("latin1"),
        raw.decode("utf-16-le", "ignore"),
        raw.decode("utf-32-le", "ignore"),
    ]
    if path.suffix == ".parquet":
        from pyarrow import parquet

        table = parquet.read_table(path)
        texts.append(str(table.to_pylist()))
        for name in {"vector", "embeddings"}.intersection(table.column_names):
            raw += np.array(table[name].to_pylist(), np.float32).tobytes()
    return texts, raw


def test_a_new_picture_of_the_same_place_replaces_the_old_one(store):
    with closing(open_gallery(store, CARD)) as gallery:
        gallery.add(made(10))
        gallery.add(made(10, seed=5))
        assert len(gallery) == 10
        new = made(10, seed=5)
        assert {row[0] for row in content(gallery).values()} == {v.tobytes() for v in new.vectors}
        twice = rows_of(new, np.array([0, 0, 1]))
        assert gallery.add(twice) == 0
        wrong = dataclasses.replace(new, vectors=np.full_like(new.vectors, np.nan))
        with pytest.raises(RetrievalError, match="embeddings to enrol have values"):
            gallery.add(wrong)


@pytest.mark.parametrize("change", [{"sha256": "1" * 64}, {"height": 128}, {"mean": (0.0,) * 3}])
def test_another_network_is_refused(store, change):
    other = dataclasses.replace(CARD, **change)
    with closing(open_gallery(store, CARD)) as gallery:
        gallery.add(made(5))
        strangers = dataclasses.replace(made(5), card=other)
        for call in (lambda: gallery.add(strangers), lambda: gallery.nearest(strangers, 1)):
            with pytest.raises(RetrievalError, match="embeddings of two networks"):
                call()
    with pytest.raises(RetrievalError, match="embeddings of two networks"):
        open_gallery(store, other)


def test_embeddings_that_lack_facts_join_those_that_have_them(store):
    plain = made(4)
    plain = dataclasses.replace(plain, people=None, cameras=None, times=None, tracks=None)
    with closing(open_gallery(store, CARD)) as gallery:
        gallery.add(plain)
        gallery.add(made(4, first=50))
        rows = gallery.some(100)
        assert sorted(rows.people) == ["", "", "", "", *sorted(made(4, first=50).people)]
        assert np.isnan(rows.times).sum() == 4
        assert len(gallery.nearest(plain, 9, Where(since=0))) == 4


@pytest.mark.parametrize(
    "moment", ["create_collection", "insert", "alter_alias", "drop_collection"]
)
def test_a_killed_removal_is_none_or_whole(tmp_path, monkeypatch, moment):
    pytest.importorskip("milvus_lite")
    store = str(tmp_path / "gallery.db")
    with closing(open_gallery(store, CARD)) as gallery:
        gallery.add(made())
        gone = made().people[4]

        def killed(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr(gallery._client, moment, killed)
        with pytest.raises(KeyboardInterrupt):
            gallery.remove(gone)
    with closing(open_gallery(store)) as gallery:
        assert len(gallery) == (54 if moment == "drop_collection" else 60)
        assert gallery.remove(gone) == (0 if moment == "drop_collection" else 6)
        assert len(gallery) == 54
        assert len(gallery._client.list_collections()) == 1
    assert len(list((tmp_path / "gallery.db" / "collections").iterdir())) == 1


def test_a_gallery_whose_beginning_was_killed_begins_anew(tmp_path, monkeypatch):
    pytest.importorskip("milvus_lite")
    from pymilvus import MilvusClient

    def killed(*_, **__):
        raise KeyboardInterrupt

    store = str(tmp_path / "gallery.db")
    with monkeypatch.context() as patch:
        patch.setattr(MilvusClient, "create_alias", killed)
        with pytest.raises(KeyboardInterrupt):
            open_gallery(store, CARD)
    with pytest.raises(RetrievalError, match="gallery.db has no gallery of this package"):
        open_gallery(store)
    with closing(open_gallery(store, CARD)) as gallery:
        assert gallery.add(made(5)) == 5


def test_an_approximate_index_of_milvus(tmp_path):
    pytest.importorskip("milvus_lite")
    with closing(MilvusGallery(str(tmp_path / "g.db"), CARD, "HNSW")) as gallery:
        gallery.add(made())
        queries = made(7, seed=1)
        near = gallery.nearest(queries, 3)
        found, exact = search(queries, near, 3), search(queries, made(), 3)
        assert near.paths[found.rows].tolist() == made().paths[exact.rows].tolist()
    with closing(MilvusGallery(str(tmp_path / "g.db"))) as gallery:  # it stays what it was
        assert gallery.remove(made().people[0])
        assert gallery._client.describe_index(gallery._current, "vector")["index_type"] == "HNSW"


def test_tables_say_who_where_and_when(tmp_path):
    rows = dataclasses.replace(made(3), people=None, cameras=None, times=None)
    (table := tmp_path / "t.csv").write_text(
        "path,person,time\nÜnal 0.jpg,anna,2026-05-01T12:30+00:00\ncrops/Ünal 1.jpg,ben,\n"
        "Ünal 2.jpg,anna,5.5\n",
        "utf-8",
    )
    found = read_table(table)(rows)
    assert found.people.tolist() == ["anna", "ben", "anna"] and found.cameras is None
    assert found.times[0] == seconds("2026-05-01T12:30+00:00") == 1777638600
    assert np.isnan(found.times[1]) and found.times[2] == 5.5
    for text, message in (
        ("path,who\n", "expected a CSV table with the columns path and person"),
        ("path,person\nÜnal 0.jpg,anna\n", "no row of crops/Ünal 1.jpg"),
        ("path,person,time\nx,anna,noon\n", "line 2: expected seconds .* found 'noon'"),
        ("path,person\nx,anna,ben\n", "line 2: expected 2 values, found more"),
        ("path,person\nx,anna\nx,anna\nx,ben\n", "line 4: x has another row already"),
    ):
        table.write_text(text, "utf-8")
        with pytest.raises(RetrievalError, match=message):
            read_table(table)(rows)


def test_galleries_that_are_none(tmp_path, monkeypatch):
    for name, message in (
        ("gone.npz", "gone.npz: No such file"),
        ("gallery.txt", "expected a file of embeddings .* of a server"),
    ):
        with pytest.raises(RetrievalError, match=message):
            open_gallery(str(tmp_path / name))
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(RetrievalError, match=r"torchreid-magnifier\[milvus\]"):
        open_gallery("http://localhost:1")


def test_there_is_no_milvus(tmp_path):
    pytest.importorskip("milvus_lite")
    with pytest.raises(RetrievalError, match="there is no gallery gone.db"):
        open_gallery("gone.db")
    (tmp_path / "file.db").write_text("no folder")
    with pytest.raises(RetrievalError, match="file.db"):
        open_gallery(str(tmp_path / "file.db"))


def test_the_commands(tmp_path, monkeypatch, capsys):
    pytest.importorskip("pyarrow")
    monkeypatch.chdir(tmp_path)
    chance = np.random.default_rng(0)
    for person in ("anna", "ben"):
        for camera in ("c1", "c2"):
            (path := Path("people", person, camera, "a.png")).parent.mkdir(parents=True)
            Image.fromarray(chance.integers(0, 256, (64, 32, 3)).astype(np.uint8)).save(path)
    from torchreid_magnifier.cli import gallery as command
    from torchreid_magnifier.inference.open import Network

    model = small("magnifiernet_r18_g").eval()
    card = dataclasses.replace(CARD, embedding_size=model.embedding_size)
    network = Network(model, card)
    monkeypatch.setattr(command, "chosen_network", lambda _: network)
    monkeypatch.setattr("torchreid_magnifier.inference.search.open_network", lambda *_: network)
    for _ in range(2):
        assert main(["gallery", "add", "g.npz", "--people", "people"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "g.npz: 4 new of 4, 4 in all",
        "g.npz: 0 new of 4, 4 in all",
    ]
    asked = ["search", "--gallery", "g.npz", "people/anna/c1/a.png"]
    assert main([*asked, "--camera", "c2"]) == 0
    printed = capsys.readouterr().out
    assert "people/anna/c2/a.png  anna" in printed and "c1/a.png  " not in printed
    assert main(["gallery", "remove", "g.npz", "anna"]) == 0
    assert "2 embeddings of anna removed" in capsys.readouterr().out
    assert main(asked) == 0
    assert "  anna" not in capsys.readouterr().out
    for words, message in (
        (["gallery", "remove", "g.npz", "anna"], "g.npz has nobody called anna"),
        (["gallery", "add", "g.npz"], "give SOURCE"),
        ([*asked, "--camera", "c2", "--index", "flat"], "--index is for whole files"),
        ([*asked, "--since", "5"], "the gallery has no times"),
        ([*asked, "--since", "noon"], "a time as 2026-05-01T12:30, found 'noon'"),
        (["gallery", "add", "g.npz", "x", "--table", "gone.csv"], "there is no table gone.csv"),
    ):
        assert main(words) == 2
        assert message in capsys.readouterr().err
