"""Scores reported in papers: all rows of their tables, and the scores to compare a preset with.

`published_scores.json` has the rows, with notes on the tables.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from segvoc.errors import UsageError
from segvoc.inference.label_options import LabelKeywords
from segvoc.storage.files import read_json
from segvoc.storage.records import from_json

Paper = Literal["PCA-Seg", "CAT-Seg", "ERR-Seg", "SynSeg"]

LAST_VERSIONS: Mapping[Paper, str] = {
    "PCA-Seg": "CVPR 2026",
    "CAT-Seg": "CVPR 2024",
    "ERR-Seg": "journal",
    "SynSeg": "ICME 2026",
}
"""The last version of each paper, which our networks follow."""

PartProtocol = Literal["pred-all", "oracle-obj"]
"""Part protocols: prediction among all classes, or with the object given (OV-PARTS, PartCLIPSeg)."""

PrintedScores = Mapping[str, float]
"""Scores on one benchmark, in percent: "miou"; "seen" and "unseen"; for parts also "harmonic", as printed. "found" is
the mean number of an image's classes that are found (ERR-Seg, Table 9)."""


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """A row of a paper's table of scores.

    `segvoc train RECIPE --set TRAINING` trains its network, `segvoc evaluate MODEL --set OPTIONS` scores it.
    """

    paper: Paper
    version: str
    table: str
    """The table: "Table 1"."""
    row: str
    preset: str
    """Our network; empty if there is none."""
    recipe: str
    """The recipe that trains it; empty if there is none."""
    training: tuple[str, ...] = ()
    """Settings of the recipe or its network, as NAME=VALUE."""
    options: tuple[str, ...] = ()
    """Settings of the trained network for the evaluation, as NAME=VALUE."""
    labels: LabelKeywords = field(default_factory=LabelKeywords)
    """Label options that override the published protocol in the evaluation."""
    protocol: PartProtocol | None = None
    """For parts: how they are predicted."""
    scores: Mapping[str, PrintedScores]
    main: bool = False
    """Whether these are the main scores of the unchanged preset."""
    departs: str = ""
    """Known differences of our network from the row's; empty: none from the paper or its code."""
    source: str = ""
    """URL of a page with the same scores, besides the paper."""

    @property
    def title(self) -> str:
        """Paper and table: "PCA-Seg, Table 1"."""
        version = "" if self.version == LAST_VERSIONS[self.paper] else f" ({self.version})"
        return f"{self.paper}{version}, {self.table}"

    @property
    def name(self) -> str:
        """Identifies the row: "PCA-Seg, Table 3, serial"."""
        protocol = "" if self.protocol is None else f", {self.protocol}"
        return f"{self.title}, {self.row}{protocol}"

    def score_on(self, benchmark: str) -> dict[str, Any]:
        """The published score on a benchmark, as plain values: an entry of "published" in a report."""
        table = self.title if self.main else self.name
        return {
            "table": table,
            "source": self.source,
            "protocol": self.protocol,
            "scores": dict(self.scores[benchmark]),
        }


def _row(entry: dict[str, Any]) -> PublishedRow:
    labels: LabelKeywords = entry.pop("labels", {})
    return replace(from_json(PublishedRow, entry), labels=labels)


PUBLISHED_ROWS: tuple[PublishedRow, ...] = tuple(map(_row, read_json(Path(__file__).with_suffix(".json"))["rows"]))


def published_rows(preset: str) -> tuple[PublishedRow, ...]:
    """All rows of a preset, unchanged or with settings, in table order."""
    return tuple(row for row in PUBLISHED_ROWS if row.preset == preset)


def recipe_rows(recipe: str) -> tuple[PublishedRow, ...]:
    """All rows of a recipe, unchanged or with settings, in table order."""
    return tuple(row for row in PUBLISHED_ROWS if row.recipe == recipe)


def find_rows(name: str) -> tuple[PublishedRow, ...]:
    """The rows of a name, case-insensitive, for parts also without the protocol, or the main rows of a preset.

    `UsageError` suggests similar names.
    """
    folded = name.casefold()
    rows = tuple(
        row
        for row in PUBLISHED_ROWS
        if folded in (row.name.casefold(), f"{row.title}, {row.row}".casefold()) or (row.main and row.preset == name)
    )
    if rows:
        return rows
    names = dict.fromkeys(row.preset for row in PUBLISHED_ROWS if row.main) | {row.name: None for row in PUBLISHED_ROWS}
    known = {one.casefold(): one for one in names}
    similar = [known[found] for found in get_close_matches(folded, known, n=3, cutoff=0.4)]
    suggestion = " or ".join(map(repr, similar)) or "'pca-seg-b' or 'PCA-Seg, Table 3, serial'"
    raise UsageError(f"no published row is called {name!r}; did you mean {suggestion}?")


def scored_benchmarks(preset: str) -> tuple[str, ...]:
    """The benchmarks with published scores of the unchanged preset, in table order."""
    return tuple(
        dict.fromkeys(name for row in PUBLISHED_ROWS if row.main and row.preset == preset for name in row.scores)
    )


def published_scores(benchmark: str) -> tuple[PublishedRow, ...]:
    """The rows with scores of unchanged presets on a benchmark, in table order; may be empty."""
    return tuple(row for row in PUBLISHED_ROWS if row.main and benchmark in row.scores)
