"""Scores as a Markdown table, ready for the draft of a paper."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

PLAIN_COLUMNS = (
    ("mIoU", "miou"),
    ("fwIoU", "fwiou"),
    ("pixel accuracy", "pixel_accuracy"),
    ("mean accuracy", "mean_accuracy"),
)

PART_COLUMNS = tuple(
    (f"{title} {head}", protocol, name)
    for title, protocol in (("Pred-All", "pred-all"), ("Oracle-Obj", "oracle-obj"))
    for head, name in (("seen", "seen"), ("unseen", "unseen"), ("h-IoU", "harmonic"))
)


def markdown_rows(reports: Sequence[Mapping[str, Any]]) -> str:
    """A table with a row per report, one for part benchmarks (by PartCATSeg's rule), and comparisons with papers."""
    kinds = [[report for report in reports if (report["parts"] is None) is plain] for plain in (True, False)]
    tables = [_table([_cells(report) for report in kind]) for kind in kinds if kind]
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
    return {head: percent(report[name]) for head, name in PLAIN_COLUMNS}


def kept_text(protocol: Mapping[str, Any]) -> str:
    """Number of classes kept per image, as text."""
    return "all" if protocol["kept_classes"] is None else f"{protocol['kept_classes']:g}"


def percent(value: float | None) -> str:
    """A score with two decimals; a dash if it is not defined."""
    return "—" if value is None else f"{value:.2f}"


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    heads = list(rows[0])
    body = [[_escaped(text) for text in row.values()] for row in rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in [heads, ["---"] * len(heads), *body])


def _escaped(text: str) -> str:
    """Escape Markdown and HTML in a name; line breaks become spaces."""
    printable = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", printable)


AGREEMENT = 0.1
"""Largest difference from a printed score that counts as reproduced [percentage points]."""


def without_scores(published: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of `comparison` before anything is evaluated: "here" is None."""
    parts = {entry["protocol"]: {"part-cat-seg": dict.fromkeys(entry["scores"])} for entry in published}
    return comparison({"published": published, "miou": None, "classes_per_image": None, "parts": parts})


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
    parts = [f"{_agreement(own)} {table}" for table, own in tables.items()]
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
    """How our scores agree with those of a paper's table."""
    if any(row["here"] is None for row in rows):
        return "nothing to compare with"
    return f"within {AGREEMENT} of" if all(row["within"] for row in rows) else f"not within {AGREEMENT} of"
