"""The ablations of MagnifierNet's paper (section 4.4), two more, and those of SAN, as grids."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import closest
from ..models.magnifiernet import variants as magnifiernet
from ..models.san import model as san
from ..training.config import ConfigError

COMPONENTS = ("G", "M", "SAB", "SFB", "SD")
SAN_COMPONENTS = ("encoder", "reconstruction", "constraints")
MARK = "✓"


class Cell(NamedTuple):
    """One variant.

    Attributes:
        name: on the command line and in messages.
        columns: what stands for it in the table, under the grid's ``heads``.
        suffix: of the model's name, after that of the whole network.
        options: of the model, beside those of the stages' files.
        sd: whether the semantic diversity loss joins in the stages that have it.
    """

    name: str
    columns: tuple[str, ...]
    suffix: str = ""
    options: tuple[tuple[str, Any], ...] = ()
    sd: bool = False


class Grid(NamedTuple):
    """Variants that are compared with each other.

    Attributes:
        title: of table and plot.
        heads: of the table's first columns.
        cells: its rows.
        reference: name of the cell that gains are over; none without.
        networks: names of the whole networks that have these variants.
    """

    title: str
    heads: tuple[str, ...]
    cells: tuple[Cell, ...]
    reference: str = ""
    networks: tuple[str, ...] = magnifiernet.NETWORKS


def _components(name: str, suffix: str, *components: str, of: tuple[str, ...] = COMPONENTS) -> Cell:
    columns = tuple(MARK if c in components else "" for c in of)
    return Cell(name, columns, suffix, sd="SD" in components)


def _sampling(name: str, sampling: str, kept: int) -> Cell:
    options = (("sampling", sampling), ("num_kept_regions", kept))
    return Cell(name, (f"Random-{sampling}", str(kept)), options=options)


def _fusion(name: str, fusion: str, shown: str) -> Cell:
    return Cell(name, (shown,), options=(("fusion", fusion),))


GRIDS = {
    "table2": Grid(
        "Table 2: the components",
        COMPONENTS,
        (
            _components("G", "_g", "G"),
            _components("G+M", "_g_m", "G", "M"),
            _components("G+M+SAB", "_g_m_sab", "G", "M", "SAB"),
            _components("G+M+SFB", "_g_m_sfb", "G", "M", "SFB"),
            _components("all", "", "G", "M", "SAB", "SFB"),
            _components("all+SD", "", *COMPONENTS),
        ),
        reference="G",
    ),
    "fig4": Grid(
        "Figure 4: SFB against the ablation branch",
        ("branch",),
        (Cell("AB", ("ablation branch",), "_ab"), Cell("SFB", ("SFB",))),
        reference="AB",
    ),
    "fig5": Grid(
        "Figure 5: the regions that SAB keeps",
        ("sampling", "K̂"),
        (
            _sampling("torso2", "torso", 2),
            Cell("torso4", ("Random-torso", "4")),  # the default
            _sampling("torso6", "torso", 6),
            *(_sampling(f"baseline{kept}", "baseline", kept) for kept in range(2, 7)),
        ),
    ),
    "fusion": Grid(
        "What fuses the regions in SFB",
        ("fusion",),
        (
            Cell("concatenation", ("concatenation (ablation branch)",), "_ab"),
            _fusion("mean", "mean", "mean"),
            _fusion("GRU", "gru", "GRU (the paper's)"),
            Cell("LSTM", ("LSTM",)),
        ),
        reference="concatenation",
    ),
    "official": Grid(
        "The network and the reference implementation's",
        ("network",),
        (
            Cell("all+SD", ("this package's",), sd=True),
            Cell("reference", ("the reference implementation's",), "_official", sd=True),
        ),
        reference="all+SD",
        networks=("magnifiernet", "magnifiernet_r18"),
    ),
    "san": Grid(
        "SAN: the decoder and its losses",
        SAN_COMPONENTS,
        (
            _components("encoder", "_encoder", *SAN_COMPONENTS[:1], of=SAN_COMPONENTS),
            _components(
                "reconstruction", "_reconstruction", *SAN_COMPONENTS[:2], of=SAN_COMPONENTS
            ),
            _components("SAN", "", *SAN_COMPONENTS, of=SAN_COMPONENTS),
        ),
        reference="encoder",
        networks=san.NETWORKS,
    ),
}


def choose(grids: Sequence[str], cells: Sequence[str]) -> dict[str, Grid]:
    """Return the grids of these names, with the cells of these names, or all if there are none.

    Raises:
        ConfigError: for names that are not known.
    """
    for name in grids:
        if name not in GRIDS:
            raise ConfigError(
                f"there is no grid {name!r}{closest(name, list(GRIDS))} (all: {', '.join(GRIDS)})"
            )
    chosen = {name: GRIDS[name] for name in grids}
    known = list(dict.fromkeys(cell.name for grid in chosen.values() for cell in grid.cells))
    for name in cells:
        if name not in known:
            raise ConfigError(
                f"--cells: {' and '.join(chosen)} have no cell {name!r}{closest(name, known)} "
                f"(all: {', '.join(known)})"
            )
    if not cells:
        return chosen
    cut = {
        name: grid._replace(cells=tuple(cell for cell in grid.cells if cell.name in cells))
        for name, grid in chosen.items()
    }
    return {name: grid for name, grid in cut.items() if grid.cells}


def describe(grids: Mapping[str, Grid] = GRIDS) -> str:
    """Return a line for each grid with the names of its cells."""
    return "\n".join(
        f"  {name:<10}{', '.join(cell.name for cell in grid.cells)}" for name, grid in grids.items()
    )
