"""The papers' ablation tables as grids of settings: what a recipe is changed by, cell for cell.

A cell is absolute: it says what it is made of, whatever the recipe has. So cells that stand in several tables are one
run, and any recipe of a network with cost aggregation serves.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from segvoc.errors import UsageError
from segvoc.networks.options import Fusion, Order


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One row of a table. settings: for `Recipe.with_settings`. published: the paper's score, of its networks."""

    name: str
    settings: tuple[str, ...]
    published: str = ""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table; its first cell is the one that the others are compared with."""

    title: str
    cells: tuple[Cell, ...]


def _cell(
    name: str,
    published: str = "",
    *,
    order: Order = "parallel",
    fusion: Fusion = "experts",
    experts: int = 4,
    fod: float = 0.0,
) -> Cell:
    settings = ["aggregation=cost", f"order={order}", f"fusion={fusion}", f"fod={fod}"]
    # four is what every fusion by experts has by itself; said or not, it is one run
    return Cell(name=name, published=published, settings=(*settings, *([f"experts={experts}"] if experts != 4 else [])))


PAPER_FOD = 0.01
"""Lambda of PCA-Seg's Eq. 10."""

GRIDS: Mapping[str, Grid] = {
    "aggregation": Grid(
        title="PCA-Seg, Table 3: without, with serial and with parallel aggregation",
        cells=(
            Cell(name="none", settings=("aggregation=none", "fod=0"), published="A-150 34.4"),
            _cell("serial", "A-150 36.3", order="serial", fusion="last"),
            _cell("parallel", "A-150 38.1", fod=PAPER_FOD),
        ),
    ),
    "5a": Grid(
        title="PCA-Seg, Table 5a: parts of the parallel block",
        cells=(
            _cell("concatenation and convolution", "A-150 36.4", fusion="concatenation"),
            _cell("+ EPL", "A-150 37.2"),
            _cell("+ FOD", "A-150 36.9", fusion="concatenation", fod=PAPER_FOD),
            _cell("+ EPL + FOD", "A-150 38.1", fod=PAPER_FOD),
        ),
    ),
    "5b": Grid(
        title="PCA-Seg, Table 5b: the same parts in a serial block",
        cells=(
            _cell("serial", "A-150 36.3", order="serial", fusion="last"),
            _cell("+ EPL", "A-150 36.6", order="serial"),
            _cell("+ FOD", "A-150 36.6", order="serial", fusion="last", fod=PAPER_FOD),
            _cell("+ EPL + FOD", "A-150 36.7", order="serial", fod=PAPER_FOD),
        ),
    ),
    "5c": Grid(
        title="PCA-Seg, Table 5c: experts",
        cells=tuple(
            _cell(str(experts), f"A-150 {score}", experts=experts)
            for experts, score in ((1, "36.8"), (2, "36.9"), (3, "37.0"), (4, "37.2"), (5, "36.9"))
        ),
    ),
    "5d": Grid(
        title="PCA-Seg, Table 5d: weight of the orthogonality loss",
        cells=tuple(
            _cell(str(weight), f"A-150 {score}", fod=weight)
            for weight, score in ((0.001, "37.4"), (0.005, "37.9"), (0.01, "38.1"), (0.015, "38.0"), (0.02, "37.8"))
        ),
    ),
    "5e": Grid(
        title="PCA-Seg, Table 5e: integration of the experts",
        cells=(
            _cell("none: a single expert", "PC-59 60.5", fusion="single"),
            _cell("convolution", "PC-59 60.7", fusion="convolution"),
            _cell("average", "PC-59 60.8", fusion="average"),
            _cell("addition", "PC-59 60.9", fusion="addition"),
            _cell("coefficient mapper", "PC-59 61.2"),
        ),
    ),
}
"""Every grid, by name. Tables 5c and 5e are without FOD, as their best rows' scores say (5a, + EPL)."""


def find_grid(name: str) -> Grid:
    """The grid of a name.

    Raises: UsageError: there is none of that name; the names are listed.
    """
    if name not in GRIDS:
        raise UsageError(f"grid {name!r} is unknown; it is one of {', '.join(GRIDS)}")
    return GRIDS[name]
