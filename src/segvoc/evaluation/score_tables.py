"""The scores of reports as tables: for a terminal, Markdown and CSV; and beside published scores."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segvoc.runtime.progress import aligned, printable
from segvoc.storage.atomic_writes import write_bytes
from segvoc.storage.files import write_json

PLAIN_COLUMNS = (
    ("mIoU", "miou"),
    ("fwIoU", "fwiou"),
    ("pixel accuracy", "pixel_accuracy"),
    ("mean accuracy", "mean_accuracy"),
)

OBJECTS = (("AP50", "ap50"), ("AP", "ap"), ("PQ", "pq"))
"""The scores of objects, where they are scored."""

PART_COLUMNS = tuple(
    (f"{title} {head}", protocol, name)
    for title, protocol in (("Pred-All", "pred-all"), ("Oracle-Obj", "oracle-obj"))
    for head, name in (("seen", "seen"), ("unseen", "unseen"), ("h-IoU", "harmonic"))
)


def write_summary(folder: Path, reports: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Write `row.md`, and `report.json` (its content is returned) with the scores and report path of each benchmark."""
    first = next(iter(reports.values()))
    whole = {
        "model": first["model"],
        "benchmarks": [
            {
                "name": name,
                "title": report["data"]["title"],
                "report": f"{name}/report.json",
                **{fact: report["data"][fact] for fact in ("images", "failed")},
                **{score: report[score] for _, score in PLAIN_COLUMNS},
                **{fact: report[fact] for fact in ("parts", "published", "protocol", "verdict")},
            }
            for name, report in reports.items()
        ],
        "versions": first["versions"],
    }
    write_bytes(folder / "row.md", encoded(markdown_rows(list(reports.values()))))
    write_json(folder / "report.json", whole)
    return whole


def score_table(reports: Sequence[Mapping[str, Any]]) -> str:
    """The scores in percent as a table for a terminal, next to published ones; and what isn't scored, if it is much."""
    outside = [printable(row) for report in reports if (row := report["data"]["outside_row"]) is not None]
    verdicts = [f"{report['data']['title']}: {printable(report['verdict'])}" for report in reports if report["verdict"]]
    return "\n".join([*(line for kind in _by_kind(reports) for line in _table(kind)), *outside, *verdicts])


def _by_kind(reports: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """The reports without parts, and those of part benchmarks, which have other scores."""
    kinds = [[report for report in reports if (report["parts"] is None) is plain] for plain in (True, False)]
    return [kind for kind in kinds if kind]


def _table(reports: Sequence[Mapping[str, Any]]) -> list[str]:
    scores = [score_cells(report) for report in reports]
    rows = [["data", "images", *scores[0], "published", "s/image"]]
    for report, cells in zip(reports, scores, strict=True):
        data, seconds = report["data"], report["latency_seconds"]["median"]
        published = ", ".join(percent(row["published"]) for row in comparison(report)) or "-"
        time = "-" if seconds is None else f"{seconds:.3g}"
        rows.append([printable(data["title"]), str(data["evaluated"]), *cells.values(), published, time])
    return aligned(rows)


def markdown_rows(reports: Sequence[Mapping[str, Any]]) -> str:
    """A table with a row per report, one for part benchmarks (by PartCATSeg's rule), and comparisons with papers."""
    tables = [_markdown_table([_cells(report) for report in kind]) for kind in _by_kind(reports)]
    judged = [(report["data"]["title"], report["verdict"]) for report in reports if report["verdict"]]
    verdicts = "".join(f"- {_escaped(title)}: {_escaped(verdict)}\n" for title, verdict in judged)
    return "\n".join([*tables, *([verdicts] if verdicts else [])])


def _cells(report: Mapping[str, Any]) -> dict[str, str]:
    model, data = report["model"], report["data"]
    return {
        "model": str(model["name"]),
        "weights": model["weights"] or "—",
        "data": data["title"],
        "images": str(data["evaluated"]),
        "window": report["protocol"]["window"],
        "classes kept": kept_text(report["protocol"]),
        **score_cells(report),
    }


def score_cells(report: Mapping[str, Any]) -> dict[str, str]:
    """The scores of a report by heading; for parts by PartCATSeg's rule."""
    if (parts := report["parts"]) is not None:
        return {head: percent(parts[protocol]["part-cat-seg"][name]) for head, protocol, name in PART_COLUMNS}
    objects = {} if report["objects"] is None else {head: percent(report["objects"][name]) for head, name in OBJECTS}
    return {head: percent(report[name]) for head, name in PLAIN_COLUMNS} | objects


def kept_text(protocol: Mapping[str, Any]) -> str:
    """Number of classes kept per image, as text."""
    return "all" if protocol["kept_classes"] is None else f"{protocol['kept_classes']:g}"


def percent(value: float | None) -> str:
    """A score with two decimals; a dash if it is not defined."""
    return "—" if value is None else f"{value:.2f}"


def _markdown_table(rows: Sequence[Mapping[str, str]]) -> str:
    heads = list(rows[0])
    body = [[_escaped(text) for text in row.values()] for row in rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in [heads, ["---"] * len(heads), *body])


def _escaped(text: str) -> str:
    """Escape Markdown and HTML in a name; line breaks become spaces."""
    printable = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", printable)


AGREEMENT = 0.1
"""Largest difference from a printed score that counts as reproduced [percentage points]."""


def comparison(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Compare a report with the published scores, a row per score.

    A row has "table", "source", "score" (its name), the values "published" and "here" in percent, their "difference"
    (None if nothing was scored), and whether it is "within" `AGREEMENT`.
    """
    rows = []
    for entry in report["published"]:
        for name, published in entry["scores"].items():
            if name == "found":
                here, title = (report["classes_per_image"] or {"found": None})["found"], "classes found"
            elif entry["protocol"] is None:
                here, title = report[name], "mIoU"
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


def verdict(report: Mapping[str, Any], *, published_weights: bool) -> str:
    """Say whether the scores agree with the published ones, and what deviates."""
    model, data, rows = report["model"], report["data"], comparison(report)
    tables: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        tables.setdefault(row["table"], []).append(row)
    parts = [f"{_agreement(of_table)} {table}" for table, of_table in tables.items()]
    if not rows:
        parts.append(f"no paper that segvoc knows reports a score of {model['preset']} on {data['title']}")
    elif not published_weights:
        parts.append(f"the weights are not the published ones ({model['weights'] or 'unknown'})")
    if deviations := report["protocol"]["deviations"]:
        parts.append(f"the protocol deviates: {', '.join(deviations)}")
    if lacking := data["failed"] + data["source"].get("missing", 0):
        parts.append(f"{lacking:,} {'image is' if lacking == 1 else 'images are'} missing or could not be read")
    return "; ".join(parts)


def _agreement(rows: Sequence[Mapping[str, Any]]) -> str:
    if any(row["here"] is None for row in rows):
        return "nothing to compare with"
    return f"within {AGREEMENT} of" if all(row["within"] for row in rows) else f"not within {AGREEMENT} of"


def csv_table(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows as comma-separated values with a header; None is empty."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return encoded(text.getvalue())


def encoded(text: str) -> bytes:
    """Text as UTF-8; bytes of a file name that are not Unicode become escapes."""
    return text.encode("utf-8", "backslashreplace")
