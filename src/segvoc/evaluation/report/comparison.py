"""Our scores next to those that papers report for the same network, and whether they agree."""

from collections.abc import Iterable, Mapping
from typing import Any

from segvoc.data.published_scores import PublishedScore
from segvoc.evaluation.report.markdown import PART_COLUMNS

AGREEMENT = 0.1
"""Largest difference from a printed score that counts as reproduced [percentage points]."""


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
    return comparison({"published": entries, "miou": None, "classes_per_image": None, "parts": parts})


def comparison(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each published score.

    A row has "table", "source", "score" (its name), its values "published" and "here" in percent, their "difference"
    (None if nothing was scored), and whether they are "within" `AGREEMENT` of each other.
    """
    rows = []
    for entry in report["published"]:
        for name, published in entry["scores"].items():
            if entry["protocol"] is None:
                here, title = _score(report, name)
            else:
                # PCA-Seg follows PartCATSeg
                here = report["parts"][entry["protocol"]]["part-cat-seg"][name]
                title = next(head for head, protocol, of in PART_COLUMNS if (protocol, of) == (entry["protocol"], name))
            # nine digits, since 31.9 - 31.8 isn't exactly 0.1
            difference = None if here is None else round(here - published, 9)
            row = {"table": entry["table"], "source": entry["source"], "score": title}
            row |= {"published": published, "here": here, "difference": difference}
            rows.append(row | {"within": difference is not None and abs(difference) <= AGREEMENT})
    return rows


def _score(report: Mapping[str, Any], name: str) -> tuple[float | None, str]:
    """Our score of a name, other than of parts, and how tables call it."""
    if name == "found":
        return (report["classes_per_image"] or {"found": None})["found"], "classes found"
    return report[name], "mIoU"


def verdict(report: Mapping[str, Any], *, published_weights: bool) -> str:
    """Whether the scores on a benchmark agree with the published ones, and what was done in another way."""
    model, data, rows = report["model"], report["data"], comparison(report)
    parts = [f"{_agreement(report, table)} {table}" for table in dict.fromkeys(row["table"] for row in rows)]
    if not rows:
        parts.append(f"no paper that segvoc knows reports a score of {model['preset']} on {data['title']}")
    elif not published_weights:
        parts.append(f"the weights are not the published ones ({model['weights'] or 'unknown'})")
    if deviations := report["protocol"]["deviations"]:
        parts.append(f"the protocol deviates: {', '.join(deviations)}")
    if lacking := data["failed"] + data["source"].get("missing", 0):
        parts.append(f"{lacking:,} {'image is' if lacking == 1 else 'images are'} missing or could not be read")
    return "; ".join(parts)


def _agreement(report: Mapping[str, Any], table: str) -> str:
    """How the scores agree with those of a table."""
    rows = [row for row in comparison(report) if row["table"] == table]
    if any(row["here"] is None for row in rows):
        return "nothing to compare with"
    return f"within {AGREEMENT} of" if all(row["within"] for row in rows) else f"not within {AGREEMENT} of"
