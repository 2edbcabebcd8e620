"""The papers' ablation tables as grids: the settings by which each cell changes a recipe.

A cell sets all that it depends on, whatever the recipe has. So a cell that is in several tables is trained once, and
every recipe for a network with cost aggregation can be used.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from segvoc.errors import UsageError
from segvoc.networks.cost_aggregation_config import Fusion, Order
from segvoc.training.recipes.pca_seg import PAPER_FOD


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One row of a table."""

    name: str
    settings: tuple[str, ...]
    """Settings as `Recipe.with_settings` reads them."""
    published: str = ""
    """Score that the paper reports for its own networks, with the benchmark's name."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table."""

    title: str
    cells: tuple[Cell, ...]
    """Its rows; the others are compared with the first."""


def _cell(
    name: str,
    published: str = "",
    *,
    order: Order = "parallel",
    fusion: Fusion = "experts",
    experts: int = 4,
    fod: float = 0.0,
) -> Cell:
    # four experts are the default: a cell that names them is the same run as one that doesn't
    number = "none" if experts == 4 else experts
    settings = ("aggregation=cost", f"order={order}", f"fusion={fusion}", f"experts={number}", f"fod={fod}")
    return Cell(name=name, published=published, settings=settings)


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
        title="PCA-Seg, Table 5a: components of the parallel block",
        cells=(
            _cell("concatenation and convolution", "A-150 36.4", fusion="concatenation"),
            _cell("+ EPL", "A-150 37.2"),
            _cell("+ FOD", "A-150 36.9", fusion="concatenation", fod=PAPER_FOD),
            _cell("+ EPL + FOD", "A-150 38.1", fod=PAPER_FOD),
        ),
    ),
    "5b": Grid(
        title="PCA-Seg, Table 5b: the same components in a serial block",
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
"""All grids by name. Tables 5c and 5e are without FOD: their best scores equal the row + EPL of Table 5a."""


def find_grid(name: str) -> Grid:
    """Look up a grid by its name.

    Raises:
        UsageError: the name is unknown; the message lists all names.
    """
    if name not in GRIDS:
        raise UsageError(f"grid {name!r} is unknown; it is one of {', '.join(GRIDS)}")
    return GRIDS[name]
