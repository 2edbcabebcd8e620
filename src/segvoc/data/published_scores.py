"""The scores that papers report for the networks of our presets, with the tables that they are from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

PartProtocol = Literal["pred-all", "oracle-obj"]
"""How parts are predicted: among all classes, or with the object given (OV-PARTS, PartCLIPSeg)."""


@dataclass(frozen=True, kw_only=True)
class PublishedScore:
    """What a paper reports for a network on a benchmark."""

    preset: str
    """Our name of the network."""
    table: str
    """The paper and its table."""
    scores: Mapping[str, float]
    """In percent: "miou", or for parts "seen", "unseen" and "harmonic" (their harmonic mean, as printed)."""
    protocol: PartProtocol | None = None
    """For parts: how they were predicted."""
    source: str = ""
    """Address of the page with the scores, where there is one besides the paper."""


@dataclass(frozen=True, kw_only=True)
class _Table:
    """A table of mIoU."""

    table: str
    """The paper and its table."""
    columns: tuple[str, ...]
    """Names of the benchmarks."""
    rows: Mapping[str, tuple[float, ...]]
    """For each preset, its mIoU on each benchmark in percent."""
    source: str = ""
    """Address of a page with the same scores."""


_PCA_COLUMNS = ("a-847", "pc-459", "a-150", "pc-59", "pas-20", "pas-20b")

_TABLES = (
    _Table(
        table="PCA-Seg, Table 1",
        columns=_PCA_COLUMNS,
        rows={
            "pca-seg-b": (16.1, 22.3, 38.1, 62.2, 97.3, 82.7),
            "pca-seg-l": (18.3, 26.7, 41.5, 64.7, 98.4, 84.4),
            # the row "DeCLIP", which Table 3 calls serial aggregation
            "cat-seg-eva-b": (15.3, 21.4, 36.3, 60.6, 96.6, 81.3),
            "cat-seg-eva-l": (17.6, 25.9, 40.7, 63.9, 97.7, 83.9),
        },
    ),
    # Both tables have the same scores. They are those of the CVPR version, as released: the README's table links the
    # files that segvoc fetches. The first version on arXiv (2303.11797v1) has another backbone and other scores.
    _Table(
        table="CAT-Seg, README of the released weights; PCA-Seg, Table 1",
        columns=_PCA_COLUMNS,
        rows={
            "cat-seg-b": (12.0, 19.0, 31.8, 57.5, 94.6, 77.3),
            "cat-seg-l": (16.0, 23.8, 37.9, 63.3, 97.0, 82.5),
        },
        source="https://github.com/cvlab-kaist/CAT-Seg/blob/6d3a188af95165147fe2f34a8237fa7d2633e784/README.md",
    ),
    _Table(
        table="ERR-Seg, Table 3",
        columns=("a-847", "pc-459", "a-150", "pc-59", "pas-20"),
        rows={
            # image and text towers fine-tuned
            "err-seg-b": (13.9, 20.5, 35.8, 56.9, 95.4),
            "err-seg-l": (16.9, 23.9, 38.3, 60.7, 96.6),
        },
    ),
    _Table(
        table="SynSeg (v3), comparison with other methods",
        columns=("voc-21", "pc-59", "coco-object", "coco-stuff", "cityscapes", "a-150"),
        rows={"syn-seg-b": (60.5, 43.8, 36.0, 24.5, 35.8, 18.4)},
    ),
)

_PART_TABLE = "PCA-Seg, Table 2"
_PART_SCORES: Mapping[str, Mapping[tuple[str, PartProtocol], tuple[float, float, float]]] = {
    "pca-part-b": {
        ("pascal-part-116", "pred-all"): (57.2, 43.5, 49.3),
        ("pascal-part-116", "oracle-obj"): (60.5, 47.1, 52.9),
        ("ade20k-part-234", "pred-all"): (40.8, 19.2, 26.1),
        ("ade20k-part-234", "oracle-obj"): (56.3, 48.2, 51.8),
    },
    "part-cat-seg-b": {
        ("pascal-part-116", "pred-all"): (52.6, 40.5, 45.8),
        ("pascal-part-116", "oracle-obj"): (57.5, 44.9, 50.4),
        ("ade20k-part-234", "pred-all"): (38.9, 17.6, 24.2),
        ("ade20k-part-234", "oracle-obj"): (53.1, 47.2, 50.0),
    },
}


def scored_benchmarks(preset: str) -> tuple[str, ...]:
    """The benchmarks on which papers report scores of a network, in the order of the tables."""
    names = [name for table in _TABLES if preset in table.rows for name in table.columns] + [
        name for name, _ in _PART_SCORES.get(preset, {})
    ]
    return tuple(dict.fromkeys(names))


def published_scores(benchmark: str) -> tuple[PublishedScore, ...]:
    """The scores that papers report on a benchmark, in the order of the tables; empty if there are none."""
    whole = [
        PublishedScore(
            preset=preset,
            table=table.table,
            scores={"miou": row[table.columns.index(benchmark)]},
            source=table.source,
        )
        for table in _TABLES
        if benchmark in table.columns
        for preset, row in table.rows.items()
    ]
    parts = [
        PublishedScore(
            preset=preset,
            table=_PART_TABLE,
            scores=dict(zip(("seen", "unseen", "harmonic"), scores, strict=True)),
            protocol=protocol,
        )
        for preset, rows in _PART_SCORES.items()
        for (name, protocol), scores in rows.items()
        if name == benchmark
    ]
    return (*whole, *parts)
