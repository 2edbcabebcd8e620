"""A row of a paper's table of scores, and the network of ours that stands for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypedDict, Unpack

from segvoc.inference.label_options import LabelKeywords

Paper = Literal["PCA-Seg", "CAT-Seg", "ERR-Seg", "SynSeg"]
"""A paper, by the name of its network."""

LAST_VERSIONS: Mapping[Paper, str] = {
    "PCA-Seg": "CVPR 2026",
    "CAT-Seg": "CVPR 2024",
    "ERR-Seg": "journal",
    "SynSeg": "ICME 2026",
}
"""The last version of each paper, which our networks follow."""

PartProtocol = Literal["pred-all", "oracle-obj"]
"""How parts are predicted: among all classes, or with the object given (OV-PARTS, PartCLIPSeg)."""

PrintedScores = Mapping[str, float]
"""Scores on one benchmark, in percent: "miou"; "seen" and "unseen"; for parts also "harmonic", as printed. "found" is
the mean number of an image's classes that are found (ERR-Seg, Table 9)."""


class RowSettings(TypedDict, total=False):
    """The optional fields of a `PublishedRow`."""

    training: tuple[str, ...]
    options: tuple[str, ...]
    labels: LabelKeywords
    protocol: PartProtocol
    departs: str


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """A row of a paper's table of scores.

    `segvoc train RECIPE --set TRAINING` trains its network, `segvoc evaluate MODEL --set OPTIONS` scores it.
    """

    paper: Paper
    """The paper that prints the row."""
    version: str
    """The version of the paper."""
    table: str
    """The table: "Table 1"."""
    row: str
    """What tells the row from the others of its table."""
    preset: str
    """Our network; empty if there is none."""
    recipe: str
    """The recipe that trains it; empty if there is none."""
    training: tuple[str, ...] = ()
    """Settings of the recipe or its network, as NAME=VALUE."""
    options: tuple[str, ...] = ()
    """Settings of the trained network for the evaluation, as NAME=VALUE."""
    labels: LabelKeywords = field(default_factory=LabelKeywords)
    """Options of labels in the evaluation, in place of those of the published protocol."""
    protocol: PartProtocol | None = None
    """For parts: how they are predicted."""
    scores: Mapping[str, PrintedScores]
    """The printed scores, by benchmark."""
    main: bool = False
    """Whether these are the scores of the preset as it is, as the paper reports them first."""
    departs: str = ""
    """How our network differs from that of the row; empty: not in anything that the paper or its code states."""
    source: str = ""
    """Address of a page with the same scores, besides the paper."""

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


@dataclass(frozen=True, kw_only=True)
class Network:
    """The network of ours that stands for rows of a table; the fields are those of `PublishedRow`."""

    preset: str
    recipe: str
    training: tuple[str, ...] = ()
    departs: str = ""


SEMANTIC = ("a-847", "pc-459", "a-150", "pc-59", "pas-20", "pas-20b")
"""The benchmarks in the tables of PCA-Seg and CAT-Seg, in order; ERR-Seg's have the first five."""


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """A table of a paper; makes its rows. The fields are those of `PublishedRow`."""

    paper: Paper
    table: str
    columns: Sequence[str] = SEMANTIC
    """Names of the benchmarks, for tables of mIoU."""
    version: str = ""
    """Empty: the last version."""
    main: bool = False
    source: str = ""

    def row(self, row: str, network: Network, *values: float | None, **settings: Unpack[RowSettings]) -> PublishedRow:
        """A row of mIoU: a value for each column, None where the paper prints none."""
        columns = zip(self.columns, values, strict=True)
        return self.scored(row, network, {name: {"miou": x} for name, x in columns if x is not None}, **settings)

    def scored(
        self, row: str, network: Network, scores: Mapping[str, PrintedScores], **settings: Unpack[RowSettings]
    ) -> PublishedRow:
        """A row of any scores, by benchmark. Settings of training and departures add to those of the network."""
        training = network.training + settings.get("training", ())
        departs = "; ".join(filter(None, (network.departs, settings.get("departs", ""))))
        return PublishedRow(
            paper=self.paper,
            version=self.version or LAST_VERSIONS[self.paper],
            table=self.table,
            row=row,
            preset=network.preset,
            recipe=network.recipe,
            training=training,
            options=settings.get("options", ()),
            labels=settings.get("labels", {}),
            protocol=settings.get("protocol"),
            scores=scores,
            # a preset trained on the data of another benchmark is still itself
            main=self.main and all(setting.startswith("dataset=") for setting in training),
            departs=departs,
            source=self.source,
        )


def printed_parts(seen: float, unseen: float, harmonic: float) -> PrintedScores:
    """Scores of parts, as the papers print them."""
    return {"seen": seen, "unseen": unseen, "harmonic": harmonic}
