"""Scores as a Markdown table, ready for the draft of a paper."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

PLAIN_COLUMNS = (
    ("mIoU", "miou"),
    ("fwIoU", "fwiou"),
    ("pixel accuracy", "pixel_accuracy"),
    ("mean accuracy", "mean_accuracy"),
    ("boundary F", "boundary_f"),
)
"""Headings and names of the scores; the last one is optional."""

PART_COLUMNS = tuple(
    (f"{title} {head}", protocol, name)
    for title, protocol in (("Pred-All", "pred-all"), ("Oracle-Obj", "oracle-obj"))
    for head, name in (("seen", "seen"), ("unseen", "unseen"), ("h-IoU", "harmonic"))
)
"""Headings, protocols and names of the part scores."""


def markdown_rows(reports: Sequence[Mapping[str, Any]]) -> str:
    """A table with a row for each report; part benchmarks (by PartCATSeg's rule) get a table of their own.

    Below the tables, a line for each benchmark compares it with the papers.
    """
    kinds = [[report for report in reports if (report["parts"] is None) is plain] for plain in (True, False)]
    tables = [_table([_cells(report) for report in kind]) for kind in kinds if kind]
    verdicts = [
        f"- {_escaped(report['data']['title'])}: {_escaped(report['verdict'])}\n"
        for report in reports
        if report["verdict"]
    ]
    return "\n".join([*tables, *(["".join(verdicts)] if verdicts else [])])


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
    """The scores of a report by their headings; for parts by PartCATSeg's rule."""
    if (parts := report["parts"]) is not None:
        return {head: percent(parts[protocol]["part-cat-seg"][name]) for head, protocol, name in PART_COLUMNS}
    columns = PLAIN_COLUMNS if report["boundary_f"] is not None else PLAIN_COLUMNS[:-1]
    return {head: percent(report[name]) for head, name in columns}


def kept_text(protocol: Mapping[str, Any]) -> str:
    """How many classes are kept of each image."""
    return "all" if protocol["kept_classes"] is None else f"{protocol['kept_classes']:g}"


def percent(value: float | None) -> str:
    """A score with two decimals; a dash if it is not defined."""
    return "—" if value is None else f"{value:.2f}"


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    # a report without any boundary score (nothing was labeled) has fewer columns
    heads = max((list(row) for row in rows), key=len)
    body = [[_escaped(row.get(head, "—")) for head in heads] for row in rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in [heads, ["---"] * len(heads), *body])


def _escaped(text: str) -> str:
    """A name as literal text: markup of Markdown and HTML is escaped, line breaks become spaces."""
    printable = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", printable)
