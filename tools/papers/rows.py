"""A row of a paper's table or a figure, and the commands that make it.

Commands are written as a user types them, with these names for what is theirs: ROOT is the data folder, REPORT, RUN
and FOLDER are new folders, `images`, `labels` and `classes.json` are labeled images, `captions.json` has captions, and
files of weights are called after their presets. `tests/papers` runs every command on networks and data in small, in a
folder where files of these names lie.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from segvoc.data.published_scores import PUBLISHED_ROWS, Paper, PublishedRow
from segvoc.models.presets import PRESETS

Status = Literal["built", "option", "departs", "not ours", "missing"]
"""Of a row: a preset or recipe as it is; one with options; a network or number that differs from the paper's, as the
note says; nothing to build, such as a drawing or the network of others; the paper's, and not built."""

STATUS_TEXTS: Mapping[Status, str] = {
    "built": "the network or figure of the paper, by a command",
    "option": "the same, by an option of a network or recipe",
    "departs": "built, but differs from the paper in what the row says",
    "not ours": "nothing that segvoc could build: drawings, and networks of other papers",
    "missing": "of the paper, and not built",
}
"""What the page says of each status."""

ENCODERS: Mapping[str, str] = {
    "pca-seg-b": "DECLIP-B.pt",
    "pca-seg-l": "DECLIP-L.pt",
    "cat-seg-eva-b": "DECLIP-B.pt",
    "cat-seg-eva-l": "DECLIP-L.pt",
    "cat-seg-v1-b": "ViT-B-16.pt,resnet101.pth",
    "cat-seg-v1-l": "ViT-L-14-336px.pt,swin_b.pth",
    "cat-seg-v1-h": "ViT-H-14.safetensors,swin_b.pth",
    "cat-seg-v1-g": "ViT-bigG-14.safetensors,swin_b.pth",
    "err-seg-b": "convnext_base_w_320.bin",
}
"""The files of encoders that training starts from, by preset, where segvoc can't fetch them."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a table, or a figure."""

    where: str
    """The table or figure: "Table 5a"."""
    what: str
    """What the row or figure shows."""
    status: Status
    """Whether it is built."""
    commands: tuple[str, ...] = ()
    """The commands that make it, one after the other in the same folder."""
    leaves: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The files that they write, with the keys that those in JSON must have."""
    note: str = ""
    """Options, departures or the reason why it isn't here, for the page."""


@dataclass(frozen=True, kw_only=True)
class PaperRows:
    """All rows of a paper."""

    title: str
    """The paper's heading on the page."""
    text: str = ""
    """A paragraph below the heading."""
    tables: int
    """The number of its tables."""
    figures: int
    """The number of its figures."""
    roman: bool = False
    """Whether tables have Roman numbers."""
    rows: tuple[Row, ...]
    """The rows, in the order of the page."""


REPORT = {"REPORT/report.json": ("models", "means", "command"), "REPORT/index.html": (), "REPORT/scores.csv": ()}
"""What `segvoc reproduce` writes."""


def score_rows(paper: Paper, table: str, version: str = "") -> tuple[Row, ...]:
    """The rows of a table of scores that networks of ours stand for, with `segvoc reproduce`.

    Args:
        paper: the paper.
        table: the table as `segvoc.data.published_scores` has it.
        version: the version of the paper; empty: any.
    """
    found = [row for row in PUBLISHED_ROWS if (row.paper, row.table) == (paper, table)]
    named: dict[str, list[PublishedRow]] = {}
    for row in found:
        if not version or row.version == version:
            named.setdefault(row.row, []).append(row)
    return tuple(_score_row(rows) for rows in named.values())


def _score_row(rows: list[PublishedRow]) -> Row:
    """A row of the page from the published rows with one name, of which parts have one for each protocol."""
    row = rows[0]
    where = row.table.removeprefix("README of the released weights; PCA-Seg, ")
    if not row.preset:
        return Row(where=where, what=row.row, status="missing", note=row.departs)
    settings = [f"`{setting}`" for setting in (*row.training, *row.options)]
    settings += [f"`--{name.replace('_', '-')} {value}`" for name, value in row.labels.items()]
    status: Status = "departs" if row.departs else "option" if settings else "built"
    note = "; ".join(filter(None, (", ".join(settings), row.departs)))
    return Row(where=where, what=row.row, status=status, commands=(reproduction(row),), leaves=REPORT, note=note)


def reproduction(row: PublishedRow) -> str:
    """The command that sets our score beside that of a row."""
    published = PRESETS[row.preset].published is not None
    weights = "" if published else f"--weights {row.preset}.safetensors "
    training = f"--train {start_of(row.preset)}"
    if "guidance_backbone=none" in row.training:
        training = training.replace(ENCODERS[row.preset], ENCODERS[row.preset].split(",")[0])
    if row.main and not row.training:
        name = row.preset if published else row.recipe
        return f"segvoc reproduce {name} {'' if published else training}--data ROOT --out REPORT"
    as_it_is = any(one.main and (one.preset, one.recipe) == (row.preset, row.recipe) for one in PUBLISHED_ROWS)
    start = training if row.training or not as_it_is else weights
    return f'segvoc reproduce "{row.name}" {start}--data ROOT --out REPORT'


def start_of(preset: str) -> str:
    """The options of a training that say what a preset starts from or learns from, where nothing can be fetched."""
    if preset == "syn-seg-b":
        return "--captions captions.json --images images "
    return f"--encoder-weights {ENCODERS[preset]} " if preset in ENCODERS else ""


def commands(papers: tuple[PaperRows, ...]) -> Iterator[str]:
    """All commands of some papers, each once."""
    yield from dict.fromkeys(command for paper in papers for row in paper.rows for command in row.commands)


def others(where: str, names: str) -> Row:
    """The row for the networks of other papers in a table or figure."""
    return Row(where=where, what=names, status="not ours", note="networks of other papers")


def drawing(where: str, what: str, note: str = "a drawing") -> Row:
    """The row of a drawing."""
    return Row(where=where, what=what, status="not ours", note=note)
