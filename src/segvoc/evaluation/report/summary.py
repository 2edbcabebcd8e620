"""The scores of one or several evaluations side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segvoc.evaluation.report.comparison import comparison
from segvoc.evaluation.report.markdown import PLAIN_COLUMNS, markdown_rows, percent, score_cells
from segvoc.evaluation.report.report import encoded, write_report_json
from segvoc.progress import aligned, printable
from segvoc.storage.atomic_writes import write_atomically

_SCORES = tuple(name for _, name in PLAIN_COLUMNS)


def summary(reports: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The `report.json` of several benchmarks: the scores of each, and where its report is."""
    first = next(iter(reports.values()))
    return {
        "model": first["model"],
        "benchmarks": [
            {
                "name": name,
                "title": report["data"]["title"],
                "report": f"{name}/report.json",
                "images": report["data"]["images"],
                "failed": report["data"]["failed"],
                **{score: report[score] for score in _SCORES},
                "parts": report["parts"],
                "published": report["published"],
                "protocol": report["protocol"],
                "verdict": report["verdict"],
            }
            for name, report in reports.items()
        ],
        "versions": first["versions"],
    }


def write_summary(folder: Path, whole: Mapping[str, Any], reports: Sequence[Mapping[str, Any]]) -> None:
    """Write the `report.json` of several benchmarks, and `row.md` with a row for each.

    Raises:
        OutputError: a file can't be written.
    """
    write_atomically(folder / "row.md", lambda file: file.write(encoded(markdown_rows(reports))))
    write_report_json(folder / "report.json", whole)


def score_table(reports: Sequence[Mapping[str, Any]]) -> str:
    """The scores in percent as a table for a terminal, next to published ones."""
    kinds = [[report for report in reports if (report["parts"] is None) is plain] for plain in (True, False)]
    verdicts = [f"{report['data']['title']}: {printable(report['verdict'])}" for report in reports if report["verdict"]]
    return "\n".join([*(line for kind in kinds if kind for line in _table(kind)), *verdicts])


def _table(reports: Sequence[Mapping[str, Any]]) -> list[str]:
    scores = [score_cells(report) for report in reports]
    heads = max(scores, key=len)
    rows = [["data", "images", *heads, "published", "s/image"]]
    for report, cells in zip(reports, scores, strict=True):
        data, seconds = report["data"], report["latency_seconds"]["median"]
        published = ", ".join(percent(row["published"]) for row in comparison(report)) or "-"
        time = "-" if seconds is None else f"{seconds:.3g}"
        own = (cells.get(head, percent(None)) for head in heads)
        rows.append([printable(data["title"]), str(data["evaluated"]), *own, published, time])
    return aligned(rows)
