"""Files of embeddings, and the search for the nearest: exact, and by FAISS."""

import dataclasses
import os
import sys
import zipfile

import numpy as np
import pytest

from torchreid_magnifier.hub import Card
from torchreid_magnifier.inference import embeddings
from torchreid_magnifier.inference import index as indexes
from torchreid_magnifier.inference.embedding_files import read_embeddings, write_embeddings
from torchreid_magnifier.inference.embeddings import Embeddings, card_to_json
from torchreid_magnifier.inference.errors import RetrievalError
from torchreid_magnifier.inference.index import ExactIndex, FaissIndex
from torchreid_magnifier.inference.search import recall, search
from torchreid_magnifier.parts import NUM_PARTS, PARTS

CARD = Card(
    *("people", "magnifiernet_r18", 64, 32, (0.5, 0.25, 0.1), (0.5, 0.25, 0.125)),
    parts=PARTS,
    sha256="0" * 64,
)


def made(rows, size=24, dtype="float32", seed=0, visibility=True):
    """Embeddings around a few centres, so that some are much nearer than others."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(7).normal(size=(7, size))
    vectors = centres[generator.integers(0, 7, rows)] + 0.5 * generator.normal(size=(rows, size))
    shares = generator.dirichlet(np.ones(NUM_PARTS), rows).astype(np.float32)
    return Embeddings(
        np.array([f"crops/Ünal {row}.jpg" for row in range(rows)], dtype=np.str_),
        np.arange(rows, dtype=np.int32) % 3 - 1,
        vectors.astype(dtype),
        shares if visibility else None,
        CARD,
    )


def parts_of(embeddings, sizes):
    """The same in several blocks."""
    starts = np.cumsum([0, *sizes])
    for start, end in zip(starts, starts[1:]):
        cut = {name: column[start:end] for name, column in embeddings.columns()}
        yield Embeddings.from_columns(cut, embeddings.card)


def plainly(queries, gallery, top, metric):
    """Row by row in float64."""
    rows, scores = [], []
    for query in queries.vectors.astype(np.float64):
        found = []
        for vector in gallery.vectors.astype(np.float64):
            if metric == "cosine":
                lengths = np.linalg.norm(query) * np.linalg.norm(vector)
                found.append(query @ vector / lengths if lengths else 0.0)
            else:
                found.append(np.linalg.norm(query - vector))
        order = np.argsort(-np.array(found) if metric == "cosine" else found, kind="stable")[:top]
        rows.append(order)
        scores.append(np.array(found)[order])
    return np.array(rows), np.array(scores)


# ------------------------------------------------------------------ files


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("visibility", [True, False])
def test_a_file_gives_back_what_was_written(tmp_path, ending, dtype, visibility):
    written = made(11, dtype=dtype, visibility=visibility)
    path = tmp_path / f"gallery{ending}"
    write_embeddings(path, parts_of(written, [4, 0, 7]), 11, CARD)
    read = read_embeddings(path)
    assert read.card == CARD and read.card.parts == PARTS
    assert dict(read.columns()).keys() == dict(written.columns()).keys()
    for (name, one), (_, other) in zip(read.columns(), written.columns()):
        np.testing.assert_array_equal(one, other, err_msg=name)
        assert one.dtype.kind == other.dtype.kind and one.dtype.itemsize == other.dtype.itemsize
    assert str(read.place(0)) == "crops/Ünal 0.jpg"
    assert str(read.place(2)) == "crops/Ünal 2.jpg, frame 1"
    assert os.listdir(tmp_path) == [path.name]


def test_the_embeddings_of_npz_are_mapped_in_line_with_their_numbers(tmp_path):
    path = tmp_path / "gallery.npz"
    written = made(11)
    write_embeddings(path, [written], 11, CARD)
    vectors = read_embeddings(path).vectors
    assert isinstance(vectors, np.memmap) and vectors.offset % 64 == 0
    with np.load(path, allow_pickle=False) as file:  # numpy alone reads it too
        np.testing.assert_array_equal(file["embeddings"], written.vectors)
        assert '"sha256": "000' in str(file["metadata"])


def test_numpys_own_files_are_read_in_any_order_and_compressed(tmp_path):
    written = made(5)
    others = dict(list(written.columns())[::-1])
    for number, save in enumerate((np.savez, np.savez_compressed)):
        path = tmp_path / f"{number}.npz"
        save(path, metadata=np.array(card_to_json(CARD)), **others)
        read = read_embeddings(path)
        np.testing.assert_array_equal(read.vectors, written.vectors)
        np.testing.assert_array_equal(search(read, read, 1).rows[:, 0], np.arange(5))


def test_a_plain_parquet_reader_finds_lists_of_fixed_length(tmp_path):
    import pyarrow.parquet

    path = tmp_path / "gallery.parquet"
    written = made(6, dtype="float16")
    write_embeddings(path, [written], 6, CARD)
    table = pyarrow.parquet.read_table(path)
    assert str(table.schema.field("embeddings").type).endswith("[24]")
    assert str(table.schema.field("visibility").type).endswith(f"[{NUM_PARTS}]")
    np.testing.assert_array_equal(np.stack(table["embeddings"].to_pylist()), written.vectors)


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
def test_broken_files_are_errors(tmp_path, ending, monkeypatch):
    path = tmp_path / f"gallery{ending}"
    with pytest.raises(RetrievalError, match="No such file"):
        read_embeddings(path)
    path.write_bytes(b"hello")
    with pytest.raises(RetrievalError, match="gallery.*(no .npz file|not a Parquet file)"):
        read_embeddings(path)
    write_embeddings(path, [made(50)], 50, CARD)
    data = path.read_bytes()
    path.write_bytes(data[:-2000])
    with pytest.raises(RetrievalError, match="cut short|damaged"):
        read_embeddings(path)
    with monkeypatch.context() as patch:
        patch.setattr(embeddings, "FORMAT", 9)
        write_embeddings(path, [made(5)], 5, dataclasses.replace(CARD, version="9.0"))
    with pytest.raises(RetrievalError, match="format 9 of torchreid-magnifier 9.0"):
        read_embeddings(path)
    write_embeddings(path, [made(0)], 0, CARD)
    with pytest.raises(RetrievalError, match="no embeddings"):
        read_embeddings(path)
    with pytest.raises(RetrievalError, match=r"\.npz or \.parquet"):
        read_embeddings(tmp_path / "gallery.csv")


def test_columns_that_do_not_belong_together_are_errors(tmp_path):
    good = dict(made(5).columns())
    text = np.array(card_to_json(CARD))
    for columns, message in (
        ({**good, "frames": good["frames"][:4]}, "5 embeddings, but 4 frames"),
        ({**good, "embeddings": good["embeddings"][0]}, r"embeddings are float32 of shape \(24,\)"),
        ({k: v for k, v in good.items() if k != "paths"}, "has no paths"),
    ):
        np.savez(tmp_path / "a.npz", metadata=text, **columns)
        with pytest.raises(RetrievalError, match=message):
            read_embeddings(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", **good)
    with pytest.raises(RetrievalError, match="no metadata"):
        read_embeddings(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", metadata=np.array("{}"), **good)
    with pytest.raises(RetrievalError, match="not that of embeddings"):
        read_embeddings(tmp_path / "a.npz")


def test_a_pickle_in_a_file_is_not_loaded(tmp_path):
    np.savez(tmp_path / "a.npz", metadata=np.array([print], dtype=object))
    with pytest.raises(RetrievalError, match="a.npz: it is damaged"):
        read_embeddings(tmp_path / "a.npz")


def test_a_failure_leaves_the_file_that_was_there(tmp_path):
    path = tmp_path / "gallery.npz"
    write_embeddings(path, [made(5)], 5, CARD)
    before = path.read_bytes()

    def breaks_off():
        yield made(3)
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_embeddings(path, breaks_off(), 6, CARD)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["gallery.npz"]


def test_equal_embeddings_give_equal_files(tmp_path):
    for name in ("a.npz", "b.npz"):
        write_embeddings(tmp_path / name, [made(5)], 5, CARD)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert archive.testzip() is None


def test_the_extra_is_named_if_it_is_not_installed(tmp_path, monkeypatch):
    for module in ("pyarrow", "faiss"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(RetrievalError, match=r"torchreid-magnifier\[search\]"):
        write_embeddings(tmp_path / "a.parquet", [made(5)], 5, CARD)
    with pytest.raises(RetrievalError, match=r"torchreid-magnifier\[search\]"):
        FaissIndex.build("flat", made(5).vectors, "cosine")


# ------------------------------------------------------------------ search


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("block", [1, 24 * 50, 1 << 21])
def test_exact_search_is_a_sort_of_all_distances(monkeypatch, metric, dtype, block):
    monkeypatch.setattr(indexes, "_BLOCK", block)
    monkeypatch.setattr(indexes, "_QUERIES", 4)
    gallery, queries = made(333, dtype=dtype), made(9, dtype=dtype, seed=1)
    found = search(queries, gallery, 15, metric)
    rows, scores = plainly(queries, gallery, 15, metric)
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-12)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("block", [24 * 10, 24 * 37, 1 << 21])
def test_of_equally_near_ones_the_lower_row_comes_first(monkeypatch, metric, block):
    monkeypatch.setattr(indexes, "_BLOCK", block)
    one = made(1).vectors
    vectors = np.concatenate([np.repeat(one, 100, 0), -one, np.zeros_like(one)])
    gallery = dataclasses.replace(made(102), vectors=vectors)
    found = search(made(3, seed=5), gallery, 90, metric)
    expected = plainly(made(3, seed=5), gallery, 90, metric)[0]
    np.testing.assert_array_equal(found.rows, expected)


def test_a_gallery_smaller_than_what_is_asked_for_is_returned_whole():
    found = search(made(2, seed=1), made(3), 10)
    assert found.rows.shape == found.scores.shape == (2, 3)
    assert all(sorted(rows) == [0, 1, 2] for rows in found.rows)


def test_rows_without_numbers_are_last_and_queries_without_are_errors():
    gallery, queries = made(60), made(3, seed=1)
    gallery.vectors[:40] = np.nan
    found = search(queries, gallery, 20)
    assert (found.rows >= 40).all() and np.isfinite(found.scores).all()
    queries.vectors[1, 2] = np.inf
    with pytest.raises(RetrievalError, match="1 of 3 queries have values .* not finite.* 1.jpg"):
        search(queries, gallery)


def test_an_empty_gallery_has_nobody_to_find():
    with pytest.raises(RetrievalError, match="the gallery is empty"):
        search(made(2), made(0))


def test_a_mapped_gallery_is_searched_as_one_in_memory(tmp_path):
    gallery, queries = made(200, dtype="float16"), made(4, seed=1)
    write_embeddings(tmp_path / "g.npz", [gallery], 200, CARD)
    for one, other in zip(
        search(queries, read_embeddings(tmp_path / "g.npz")), search(queries, gallery)
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_faiss_flat_finds_what_exact_search_does(metric, dtype):
    gallery, queries = made(500, dtype=dtype), made(20, seed=1)
    index = FaissIndex.build("flat", gallery.vectors, metric)
    for one, other in zip(
        search(queries, gallery, 10, metric, index), search(queries, gallery, 10, metric)
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_approximate_indexes_find_most(kind, metric):
    gallery, queries = made(2000), made(50, seed=1)
    index = FaissIndex.build(kind, gallery.vectors, metric)
    found = search(queries, gallery, 10, metric, index)
    nearest = search(queries, gallery, 10, metric)
    assert 0.7 < recall(found, nearest) <= 1
    for query in range(50):  # what is found has its true score
        both = np.isin(found.rows[query], nearest.rows[query])
        scores = dict(zip(nearest.rows[query], nearest.scores[query]))
        for row, score in zip(found.rows[query][both], found.scores[query][both]):
            assert score == scores[row]


def test_fewer_hits_than_asked_for_are_marked():
    class Few:
        def nearest(self, queries, count):
            return np.array([[3, -1, 1] + [-1] * (count - 3)])

    gallery = made(50)
    found = search(made(1, seed=1), gallery, 5, index=Few())
    assert set(found.rows[0, :2]) == {1, 3} and (found.rows[0, 2:] == -1).all()
    assert np.isfinite(found.scores[0, :2]).all() and np.isnan(found.scores[0, 2:]).all()
    whole = search(made(1, seed=1), gallery, 5)
    assert recall(found, whole) == np.isin(whole.rows, [1, 3]).mean()


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_a_kept_index_is_used_only_for_its_gallery(tmp_path, kind):
    gallery, queries = made(400), made(5, seed=1)
    path = tmp_path / "index"
    built = FaissIndex.build(kind, gallery.vectors, "cosine")
    built.save(path)
    kept = FaissIndex.load(path, kind, gallery.vectors, "cosine")
    np.testing.assert_array_equal(
        search(queries, gallery, index=kept).rows, search(queries, gallery, index=built).rows
    )
    for other in (made(399).vectors, made(400, seed=3).vectors, made(400, size=20).vectors):
        with pytest.raises(RetrievalError, match="another gallery"):
            FaissIndex.load(path, kind, other, "cosine")
    with pytest.raises(RetrievalError, match="metric euclidean"):
        FaissIndex.load(path, kind, gallery.vectors, "euclidean")
    with pytest.raises(RetrievalError, match="not an index"):
        FaissIndex.load(path, "ivf" if kind == "flat" else "flat", gallery.vectors, "cosine")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RetrievalError, match="not an index of FAISS"):
        FaissIndex.load(path, kind, gallery.vectors, "cosine")
    assert os.listdir(tmp_path) == ["index"]


def test_embeddings_of_two_networks_are_not_compared():
    gallery, queries = made(5), made(2)
    for change in ({"sha256": "1" * 64}, {"height": 128}):
        other = dataclasses.replace(queries, card=dataclasses.replace(CARD, **change))
        with pytest.raises(RetrievalError, match="two networks cannot be compared"):
            search(other, gallery)
    # The file may lie elsewhere, and another version of this package may have written it.
    moved = dataclasses.replace(CARD, name="/elsewhere.pth", version="0.0.1")
    search(dataclasses.replace(queries, card=moved), gallery)
    with pytest.raises(ValueError, match="metric"):
        search(queries, gallery, metric="manhattan")
    with pytest.raises(ValueError, match="at least 1"):
        search(queries, gallery, top=0)


def test_exact_search_holds_bounded_memory(monkeypatch):
    """However large the gallery, a block of it is converted at a time."""
    monkeypatch.setattr(indexes, "_BLOCK", 24 * 50)
    sizes = []
    convert = indexes.as_float

    def counted(vectors, normalise=False):
        sizes.append(len(vectors))
        return convert(vectors, normalise)

    monkeypatch.setattr(indexes, "as_float", counted)
    gallery = made(333, dtype="float16").vectors
    ExactIndex(gallery, "cosine").nearest(made(4).vectors, 10)
    assert max(sizes) == 50 and sum(sizes) == 333
