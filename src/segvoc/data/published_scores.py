"""The scores in the papers' tables: `published_scores.json` has all rows, with notes on the tables."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

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


PUBLISHED_ROWS: tuple[PublishedRow, ...] = tuple(
    map(_row, read_json(Path(__file__).with_name("published_scores.json"))["rows"])
)
