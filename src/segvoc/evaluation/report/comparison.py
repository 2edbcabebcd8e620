"""Our scores next to those that papers report for the same network."""

from collections.abc import Iterable, Mapping
from typing import Any

from segvoc.data.published_scores import PublishedScore
from segvoc.evaluation.report.markdown import PART_COLUMNS


def published_entries(scores: Iterable[PublishedScore]) -> list[dict[str, Any]]:
    """Published scores as plain values, for the entry "published" of a report."""
    return [
        {"table": score.table, "source": score.source, "protocol": score.protocol, "scores": dict(score.scores)}
        for score in scores
    ]


def without_scores(scores: Iterable[PublishedScore]) -> list[dict[str, Any]]:
    """The rows of `comparison` before anything is evaluated: "here" is None."""
    entries = published_entries(scores)
    parts = {entry["protocol"]: {"part-cat-seg": dict.fromkeys(entry["scores"])} for entry in entries}
    return comparison({"published": entries, "miou": None, "parts": parts})


def comparison(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each published score: "table", "source", "score", and its values "published" and "here" in percent."""
    rows = []
    for entry in report["published"]:
        for name, published in entry["scores"].items():
            if entry["protocol"] is None:
                here, title = report[name], "mIoU"
            else:
                # PCA-Seg follows PartCATSeg
                here = report["parts"][entry["protocol"]]["part-cat-seg"][name]
                title = next(head for head, protocol, of in PART_COLUMNS if (protocol, of) == (entry["protocol"], name))
            row = {"table": entry["table"], "source": entry["source"], "score": title}
            rows.append(row | {"published": published, "here": here})
    return rows
