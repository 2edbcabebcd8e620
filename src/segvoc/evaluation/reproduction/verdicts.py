"""Our scores beside published ones, and whether they agree."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from segvoc.evaluation.report.comparison import comparison, without_scores
from segvoc.evaluation.reproduction.availability import Availability

AGREEMENT = 0.1
"""Largest difference from a printed score that counts as reproduced [percentage points]."""

Verdict = Literal["within", "outside", "incomplete", "no published score", "not run", "waiting"]
"""Of a benchmark: all its scores are within `AGREEMENT`, or one isn't; images were missing or failed; there is nothing
to compare with; its data isn't there; its turn hasn't come yet."""

VERDICT_TEXTS: Mapping[str, str] = {
    "within": f"within {AGREEMENT}",
    "outside": f"not within {AGREEMENT}",
    "incomplete": "not comparable",
    "no published score": "no published score",
    "not run": "not run",
    "waiting": "not run yet",
}
"""How tables show a verdict."""

Row = dict[str, Any]
"""A benchmark in the report, as plain values."""


def empty_row(found: Availability, preset: str) -> Row:
    """The row of a benchmark that isn't evaluated, or not yet.

    Args:
        found: the benchmark in the data folder.
        preset: the network whose published scores are told.
    """
    return {
        "name": found.name,
        "title": found.benchmark.title,
        "status": found.status,
        "verdict": "waiting" if found.usable else "not run",
        "why": found.obstacle,
        "expected_images": found.benchmark.image_count,
        "downloads": list(found.benchmark.pages),
        "scores": [_compared(row) for row in without_scores(found.benchmark.published_for(preset))],
    }


def evaluated_row(found: Availability, report: Mapping[str, Any], folder: str) -> Row:
    """The row of a benchmark that is evaluated.

    Args:
        found: the benchmark in the data folder.
        report: the content of its `report.json`.
        folder: folder of that report, relative to that of the whole.
    """
    data, protocol = report["data"], report["protocol"]
    scores = [_compared(row) for row in comparison(report)]
    why = _incomplete(found, report)
    verdict: Verdict = "no published score"
    if scores:
        verdict = "incomplete" if why else "within" if all(score["within"] for score in scores) else "outside"
    kept = ("window", "protocol", "templates", "background", "keep_classes", "device", "dtype", "weights_digest")
    return {
        **empty_row(found, report["model"]["preset"]),
        "verdict": verdict,
        "why": why,
        "scores": scores,
        **{name: report[name] for name in ("miou", "fwiou", "pixel_accuracy", "mean_accuracy", "parts")},
        "images": data["pictures"],
        "failed": data["failed"],
        "left_out": data["source"].get("left_out", 0),
        "labels_sha256": data["source"].get("sha256", ""),
        **{name: protocol[name] for name in kept},
        "rule": protocol["rule"],
        "versions": report["versions"],
        "processes": report["run"]["processes"],
        "date": report["run"]["date"],
        "report": f"{folder}/report.json",
        "page": f"{folder}/index.html",
    }


def _compared(row: Mapping[str, Any]) -> Row:
    here, published = row["here"], row["published"]
    # nine digits, since 31.9 - 31.8 isn't exactly 0.1
    difference = None if here is None else round(here - published, 9)
    return {**row, "difference": difference, "within": difference is not None and abs(difference) <= AGREEMENT}


def _incomplete(found: Availability, report: Mapping[str, Any]) -> str:
    """Why a score is of other images than the published one; empty if it isn't."""
    reasons = []
    if found.partial:
        of = found.benchmark.image_count
        missing = "images are missing" if of is None else f"there should be {of:,} images"
        reasons.append(f"the benchmark was prepared with --partial, from {found.images:,} images; {missing}")
    if failed := report["data"]["failed"]:
        reasons.append(f"{failed:,} {'image' if failed == 1 else 'images'} could not be read")
    return "; ".join(reasons)


def failures(rows: Iterable[Row], *, named: bool) -> list[str]:
    """What keeps the exit code from being 0, one line for each benchmark.

    Args:
        rows: the benchmarks of a model.
        named: whether the user named them, so that a missing one is a failure too.
    """
    lines = []
    for row in rows:
        if row["verdict"] == "outside":
            lines.append(f"{row['title']}: not within {AGREEMENT} of the published score")
        elif row["verdict"] == "incomplete" or row.get("failed"):
            lines.append(f"{row['title']}: not comparable, since {row['why']}")
        elif row["status"] == "failed" or (named and row["verdict"] == "not run"):
            lines.append(f"{row['title']}: not run: {row['why']}")
    return lines


def headline(rows: Iterable[Row]) -> str:
    """The result of a model in one sentence."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["verdict"]] = counts.get(row["verdict"], 0) + 1
    within, compared = counts.get("within", 0), counts.get("within", 0) + counts.get("outside", 0)
    sentences = [
        f"{within} of {_benchmarks(compared)} within {AGREEMENT} mIoU of the published score"
        if compared
        else "no score could be compared with a published one"
    ]
    others = {
        "incomplete": "on incomplete data",
        "no published score": "without a published score",
        "not run": "not run",
        "waiting": "still to be run",
    }
    sentences += [f"{counts[verdict]} {text}" for verdict, text in others.items() if verdict in counts]
    return "; ".join(sentences)


def _benchmarks(count: int) -> str:
    return "1 benchmark" if count == 1 else f"{count} benchmarks"
