"""Write docs/papers/tables.md: every row of every table and every figure of the papers, with its commands.

Usage: python -m papers.tables. The rows are in `tables.toml`; `tests/papers` runs their commands on small networks and
data, in a folder with the files that they name.
"""

import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from segvoc.data.published_scores import PUBLISHED_ROWS, PublishedRow
from segvoc.errors import UsageError
from segvoc.models.presets import PRESETS
from segvoc.runtime.suggestions import did_you_mean

PAGE = Path(__file__).resolve().parents[1] / "docs" / "papers" / "tables.md"
TEXT: Mapping[str, Any] = tomllib.loads(Path(__file__).with_name("tables.toml").read_text(encoding="utf-8"))
Status = Literal["built", "to train", "option", "departs", "not ours", "missing"]
"""Status of a row, explained by `statuses` in `tables.toml`."""

ENCODERS: Mapping[str, str] = {
    "pca-seg-b": "DECLIP-B.pt",
    "pca-seg-l": "DECLIP-L.pt",
    "cat-seg-eva-b": "DECLIP-B.pt",
    "cat-seg-eva-l": "DECLIP-L.pt",
    "err-seg-b": "convnext_base_w_320.bin",
}
"""Encoder files that training starts from, by preset, if segvoc can't fetch them."""


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
    note: str = ""
    """Options, departures or the reason for its absence, for the page."""


@dataclass(frozen=True, kw_only=True)
class PaperRows:
    """All rows of a paper."""

    title: str
    """The paper's heading on the page."""
    text: str
    """A paragraph below the heading."""
    row_name: str
    """What the names of its rows start with in `papers.reproduce`."""
    departs: str
    """How rows depart that say no more than "departs"."""
    rows: tuple[Row, ...]


def _papers() -> Iterator[PaperRows]:
    for paper in TEXT["papers"]:
        rows = tuple(row for entry in paper["rows"] for row in _rows(paper["name"], entry))
        facts = {"text": "", "departs": "", "row_name": paper["name"], **paper, "rows": rows}
        yield PaperRows(**{field.name: facts[field.name] for field in fields(PaperRows)})


def _rows(paper: str, entry: dict[str, Any]) -> Iterator[Row]:
    """The rows of an entry: itself, or the rows of a score table that our networks cover."""
    if "scores" not in entry:
        yield _without_weights(Row(**{**entry, "commands": tuple(entry.get("commands", ()))}))
        return
    named: dict[str, list[PublishedRow]] = {}
    for published in PUBLISHED_ROWS:
        if (published.paper, published.table) == (paper, entry["scores"]):
            named.setdefault(published.row, []).append(published)
    for rows in named.values():
        # part tables have a row per protocol
        yield _without_weights(_score_row(rows[0], entry.get("where", entry["scores"])))


def _without_weights(row: Row) -> Row:
    """The row, marked as not built if it needs training."""
    needs = any(part in " ".join(row.commands) for part in ("segvoc train ", " --train ", ".safetensors"))
    return replace(row, status="to train") if needs and row.status in ("built", "option") else row


def _score_row(row: PublishedRow, where: str) -> Row:
    if not row.preset:
        return Row(where=where, what=row.row, status="missing", note=row.departs)
    settings = [f"`{setting}`" for setting in (*row.training, *row.options)]
    settings += [f"`--{name.replace('_', '-')} {value}`" for name, value in row.labels.items()]
    status: Status = "departs" if row.departs else "option" if settings else "built"
    note = "; ".join(filter(None, (", ".join(settings), row.departs)))
    return Row(where=where, what=row.row, status=status, commands=(reproduction(row),), note=note)


def reproduction(row: PublishedRow) -> str:
    """The command that compares our score with a row's."""
    published = PRESETS[row.preset].published is not None
    weights = "" if published else f"--weights {row.preset}.safetensors "
    training = f"--train {_start_of(row.preset)}"
    if row.main and not row.training:
        name = row.preset if published else row.recipe
        return f"python -m papers.reproduce {name} {'' if published else training}--data ROOT --out REPORT"
    as_it_is = any(one.main and (one.preset, one.recipe) == (row.preset, row.recipe) for one in PUBLISHED_ROWS)
    start = training if row.training or not as_it_is else weights
    return f'python -m papers.reproduce "{row.title}, {row.row}" {start}--data ROOT --out REPORT'


def _start_of(preset: str) -> str:
    """Training options for initial weights or data that can't be fetched."""
    if preset == "syn-seg-b":
        return "--captions captions.json --images images "
    return f"--encoder-weights {ENCODERS[preset]} " if preset in ENCODERS else ""


PAPERS = tuple(_papers())
"""All papers with their rows."""


def find_rows(name: str) -> tuple[PublishedRow, ...]:
    """The rows of a name, case-insensitive, for parts also without the protocol, or the main rows of a preset."""
    folded = name.casefold()
    rows = tuple(
        row
        for row in PUBLISHED_ROWS
        if folded in (row.name.casefold(), f"{row.title}, {row.row}".casefold()) or (row.main and row.preset == name)
    )
    if not rows:
        names = {row.preset: None for row in PUBLISHED_ROWS if row.main} | {row.name: None for row in PUBLISHED_ROWS}
        raise UsageError(
            f"no published row is called {name!r}{did_you_mean(name, names)}; docs/papers/tables.md has all"
        )
    return rows


def page() -> Iterator[str]:
    """The lines of the page."""
    yield TEXT["head"]
    counts = Counter(row.status for paper in PAPERS for row in paper.rows)
    yield "| status | rows | what it means |\n|---|---|---|"
    for status, text in TEXT["statuses"].items():
        yield f"| {status} | {counts[status]} | {text} |"
    for paper in PAPERS:
        yield f"\n## {paper.title}\n"
        if paper.text:
            yield f"{paper.text}\n"
        yield "| where | what | status | commands and notes |\n|---|---|---|---|"
        yield from _lines(paper)


def _lines(paper: PaperRows) -> Iterator[str]:
    """A line per row; one for the rows of a table that differ in their settings alone."""
    lines: dict[tuple[str, ...], list[str]] = {}
    for number, row in enumerate(paper.rows):
        start = f'python -m papers.reproduce "{paper.row_name}, {row.where}, {row.what}"'
        note = "; ".join(part for part in row.note.split("; ") if part != paper.departs)
        if row.commands and row.commands[0].startswith(start):
            # the head of the page says what stands around the options of a row
            options = row.commands[0].removeprefix(start).removesuffix("--data ROOT --out REPORT").strip()
            cell = f"`{options}`" if options else "no options"
            lines.setdefault((row.where, row.status, cell), []).append(f"{row.what} ({note})" if note else row.what)
        else:
            cell = "<br>".join(filter(None, (*(f"`{command}`" for command in row.commands), note)))
            lines[row.where, row.status, cell, str(number)] = [row.what]
    for (where, status, cell, *_), rows in lines.items():
        yield f"| {where} | {'<br>'.join(rows)} | {status} | {cell} |"


if __name__ == "__main__":
    PAGE.write_text("\n".join(page()) + "\n", encoding="utf-8")
    print(PAGE)
