"""Embeddings of people who are to be enrolled in a gallery, with what is known of them."""

from collections.abc import Callable, Sequence
from pathlib import Path

from .decide import read_labelled_folder
from .embedding_files import is_embedding_file, read_embeddings
from .embeddings import Embeddings
from .errors import RetrievalError
from .extract import embed
from .gallery import read_table, with_facts
from .open import Network
from .sources import find_sources


def enrolled(
    sources: Sequence[str],
    people: Path | None,
    table: Path | None,
    network: Callable[[], Network],
) -> tuple[Embeddings, list[str]]:
    """Return embeddings, and a line for each picture that cannot be used.

    Args:
        sources: pictures as ``extract`` takes them, or its file; none with ``people``.
        people: a folder for each person in it, see ``read_labelled_folder``.
        table: says of the sources who, which camera and when.
        network: opens the one that embeds pictures.

    Raises:
        RetrievalError: none of the pictures can be used, or the table does not fit.
    """
    if table and not table.is_file():
        raise RetrievalError(f"there is no table {table}")
    with_table = read_table(table) if table else None
    problems: list[str] = []
    if len(sources) == 1 and is_embedding_file(sources[0]):
        found = read_embeddings(sources[0])
    else:
        names: Sequence[str] = ()
        if people:
            paths, names, cameras = read_labelled_folder(people)
        else:
            paths = find_sources(sources)
        found, problems = embed(network(), paths, bar=True)
        if not len(found):
            raise RetrievalError.none_usable(problems)
        if names:
            facts = dict(zip(paths, zip(names, cameras)))
            found = with_facts(found, *zip(*(facts[path] for path in found.paths)))
    return (with_table(found) if with_table else found), problems
