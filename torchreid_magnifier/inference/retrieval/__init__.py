"""Embeddings of pictures, kept in files, and the search for the nearest of them.

    from torchreid_magnifier.inference.network import open_network
    from torchreid_magnifier.inference.retrieval import extract, read_embeddings, search

    network = open_network("log/stage2/model/model.pth.tar-40")
    extract(network, ["crops", "video.mp4"], "gallery.npz")
    extract(network, ["somebody.jpg"], "query.npz")
    gallery, query = read_embeddings("gallery.npz"), read_embeddings("query.npz")
    ranking = search(query, gallery, top=5)
    print([gallery.place(row) for row in ranking.rows[0]], ranking.scores[0])

The way of the data: :mod:`.sources` finds files, :mod:`.pictures` reads images and frames,
:mod:`.extraction` has the network embed them and :mod:`.unfinished` keeps what is done;
:mod:`.embeddings` is what there is then, in :mod:`.files` (:mod:`.npz_file`,
:mod:`.parquet_file`). :mod:`.search` asks :mod:`.exact` or :mod:`.faiss_index` for the nearest.
"""

from .embeddings import Embeddings, Metadata
from .errors import RetrievalError
from .exact import ExactIndex
from .extraction import Extraction, embed, extract
from .faiss_index import FaissIndex
from .files import read_embeddings, write_embeddings
from .pictures import Place
from .search import Ranking, recall, search
from .sources import find_sources

__all__ = [
    "Embeddings",
    "ExactIndex",
    "Extraction",
    "FaissIndex",
    "Metadata",
    "Place",
    "Ranking",
    "RetrievalError",
    "embed",
    "extract",
    "find_sources",
    "read_embeddings",
    "recall",
    "search",
    "write_embeddings",
]
