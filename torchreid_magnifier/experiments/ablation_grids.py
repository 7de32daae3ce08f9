"""The ablations of MagnifierNet's paper (section 4.4), two more, and those of SAN, as grids."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..models.magnifiernet import variants as magnifiernet
from ..models.san import model as san
from ..training.config import ConfigError, closest

COMPONENTS = ("G", "M", "SAB", "SFB", "SD")
SAN_COMPONENTS = ("encoder", "reconstruction", "constraints")
MARK = "✓"


class Cell(NamedTuple):
    """One variant.

    Attributes:
        name: on the command line and in messages.
        columns: what stands for it in the table, under the grid's ``heads``.
        suffix: of the model's name, after that of the whole network.
        sd: whether the semantic diversity loss joins in the stages that have it.
    """

    name: str
    columns: tuple[str, ...]
    suffix: str = ""
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
    return Cell(name, columns, suffix, "SD" in components)


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
            Cell("torso2", ("Random-torso", "2"), "_torso2"),
            Cell("torso4", ("Random-torso", "4")),
            Cell("torso6", ("Random-torso", "6"), "_torso6"),
            *(
                Cell(f"baseline{k}", ("Random-baseline", str(k)), f"_baseline{k}")
                for k in range(2, 7)
            ),
        ),
    ),
    "fusion": Grid(
        "What fuses the regions in SFB",
        ("fusion",),
        (
            Cell("concatenation", ("concatenation (ablation branch)",), "_ab"),
            Cell("mean", ("mean",), "_mean"),
            Cell("LSTM", ("LSTM",), "_lstm"),
            Cell("GRU", ("GRU (the paper's)",)),
        ),
        reference="concatenation",
    ),
    "official": Grid(
        "The paper's network and the released code's",
        ("network",),
        (
            Cell("all+SD", ("the paper's",), "", True),
            Cell("released-code", ("the released code's",), "_official", True),
        ),
        reference="all+SD",
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
    """The grids of these names, cut down to the cells of these names unless there are none.

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
    """A line for each grid with the names of its cells."""
    return "\n".join(
        f"  {name:<10}{', '.join(cell.name for cell in grid.cells)}" for name, grid in grids.items()
    )
