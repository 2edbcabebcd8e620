"""The papers' ablation tables as grids: the settings by which each cell changes a recipe.

A cell sets all that it depends on, whatever the recipe has. So a cell that is in several tables is trained once, and
every recipe for a network with cost aggregation can be used.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from segvoc.data.benchmarks import find_benchmark
from segvoc.data.published_scores import find_rows
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


def _published(row: str, benchmark: str = "a-150") -> str:
    """The score that the paper prints in a row: "A-150 36.3"."""
    (found,) = find_rows(f"PCA-Seg, {row}")
    return f"{find_benchmark(benchmark).title} {found.scores[benchmark]['miou']}"


def _cell(
    name: str,
    published: str,
    *,
    order: Order = "parallel",
    fusion: Fusion = "experts",
    experts: int = 4,
    fod: float = 0.0,
) -> Cell:
    # four experts are the default: a cell that names them is the same run as one that doesn't
    number = "none" if experts == 4 else experts
    settings = ("aggregation=cost", f"order={order}", f"fusion={fusion}", f"experts={number}", f"fod_weight={fod}")
    return Cell(name=name, published=published, settings=settings)


GRIDS: Mapping[str, Grid] = {
    "aggregation": Grid(
        title="PCA-Seg, Table 3: without, with serial and with parallel aggregation",
        cells=(
            Cell(
                name="none",
                settings=("aggregation=none", "fod_weight=0"),
                published=_published("Table 3, without aggregation"),
            ),
            _cell("serial", _published("Table 3, serial"), order="serial", fusion="last"),
            _cell("parallel", _published("Table 3, parallel"), fod=PAPER_FOD),
        ),
    ),
    "5a": Grid(
        title="PCA-Seg, Table 5a: components of the parallel block",
        cells=(
            _cell("concatenation and convolution", _published("Table 5a, baseline"), fusion="concatenation"),
            _cell("+ EPL", _published("Table 5a, EPL")),
            _cell("+ FOD", _published("Table 5a, FOD"), fusion="concatenation", fod=PAPER_FOD),
            _cell("+ EPL + FOD", _published("Table 5a, EPL and FOD"), fod=PAPER_FOD),
        ),
    ),
    "5b": Grid(
        title="PCA-Seg, Table 5b: the same components in a serial block",
        cells=(
            _cell("serial", _published("Table 5b, serial"), order="serial", fusion="last"),
            _cell("+ EPL", _published("Table 5b, serial with EPL"), order="serial"),
            _cell("+ FOD", _published("Table 5b, serial with FOD"), order="serial", fusion="last", fod=PAPER_FOD),
            _cell("+ EPL + FOD", _published("Table 5b, serial with both"), order="serial", fod=PAPER_FOD),
        ),
    ),
    "5c": Grid(
        title="PCA-Seg, Table 5c: experts",
        cells=tuple(
            _cell(str(experts), _published(f"Table 5c, n = {experts}"), experts=experts) for experts in range(1, 6)
        ),
    ),
    "5d": Grid(
        title="PCA-Seg, Table 5d: weight of the orthogonality loss",
        cells=tuple(
            _cell(str(weight), _published(f"Table 5d, lambda {weight}"), fod=weight)
            for weight in (0.001, 0.005, 0.01, 0.015, 0.02)
        ),
    ),
    "5e": Grid(
        title="PCA-Seg, Table 5e: integration of the experts",
        cells=(
            _cell("none: a single expert", _published("Table 5e, none", "pc-59"), fusion="single"),
            _cell("convolution", _published("Table 5e, convolution", "pc-59"), fusion="convolution"),
            _cell("average", _published("Table 5e, average", "pc-59"), fusion="average"),
            _cell("addition", _published("Table 5e, addition", "pc-59"), fusion="addition"),
            _cell("coefficient mapper", _published("Table 5e, coefficient mapper", "pc-59")),
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
