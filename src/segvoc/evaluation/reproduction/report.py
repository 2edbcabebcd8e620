"""The report of a reproduction: JSON, a table and a page that a sceptic can read."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from segvoc.evaluation.report.markdown import percent
from segvoc.evaluation.report.page import write_html
from segvoc.evaluation.report.report import encoded, write_report_json
from segvoc.evaluation.report.summary import aligned
from segvoc.evaluation.reproduction.verdicts import VERDICT_TEXTS, Row
from segvoc.storage.atomic_writes import write_atomically

CSV_COLUMNS: tuple[str, ...] = (
    "model",
    "benchmark",
    "images",
    "score",
    "published",
    "here",
    "difference",
    "verdict",
    "table",
    "source",
)
"""Columns of `scores.csv`."""


def write_reproduction(folder: Path, content: Mapping[str, Any]) -> None:
    """Write `scores.csv`, `index.html` and `report.json`, each atomically; those of an earlier call are replaced.

    Args:
        folder: folder of the report.
        content: what `segvoc.evaluation.reproduction.reproduce.reproduce` returns.

    Raises:
        OutputError: a file can't be written.
    """
    write_atomically(folder / "scores.csv", lambda file: file.write(_table(content)))
    values = {
        **content,
        "verdict_texts": VERDICT_TEXTS,
        "facts": [_facts(content, model) for model in content["models"]],
    }
    write_html(folder / "index.html", "reproduction.html", values)
    # last: where this file exists, the others exist too
    write_report_json(folder / "report.json", content)


def verdict_table(content: Mapping[str, Any]) -> str:
    """The scores as a table for a terminal, followed by the sources of the published ones."""
    rows = [["model", "benchmark", "images", "score", "published", "here", "difference", "verdict"]]
    rows += [[line[name] for name in rows[0]] for line in _lines(content)]
    sources = dict.fromkeys(
        f"published scores of {line['model']}: {line['table']}" + (f" ({line['source']})" if line["source"] else "")
        for line in _lines(content)
        if line["table"]
    )
    results = [f"{model['name']}: {model['result']}" for model in content["models"]]
    return "\n".join([*aligned(rows), *sources, *results])


def _table(content: Mapping[str, Any]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, CSV_COLUMNS)
    writer.writeheader()
    writer.writerows({name: "" if value == "—" else value for name, value in line.items()} for line in _lines(content))
    return encoded(text.getvalue())


def _lines(content: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """A line for each score, or for a benchmark without one; the values of `CSV_COLUMNS`."""
    for model in content["models"]:
        for row in model["benchmarks"]:
            for score in row["scores"] or [_unpublished(row)]:
                difference = score["difference"]
                yield {
                    "model": model["name"],
                    "benchmark": row["title"],
                    "images": str(row.get("images", "—")),
                    "score": score["score"],
                    "published": percent(score["published"]),
                    "here": percent(score["here"]),
                    "difference": "—" if difference is None else f"{difference:+.2f}",
                    "verdict": VERDICT_TEXTS[row["verdict"]],
                    "table": score["table"],
                    "source": score["source"],
                }


def _unpublished(row: Row) -> Row:
    """The score of a benchmark with nothing to compare with, or that isn't run."""
    empty = {"published": None, "difference": None, "table": "", "source": ""}
    return {**empty, "score": "mIoU", "here": row.get("miou")}


def _facts(content: Mapping[str, Any], model: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """What was run on which machine, as names and values."""
    weights = model["weights"]
    done = [row for row in model["benchmarks"] if "images" in row]
    facts = [
        ("command", content["command"]),
        ("data folder", content["data"]),
        ("weights", f"{weights['filename']}, {weights['bytes']:,} bytes"),
        ("from", weights.get("repository", weights.get("url", ""))),
        ("revision", weights.get("revision", "")),
        ("SHA-256", f"{weights['sha256']} (verified before loading)"),
        ("licence", weights["licence"] + (f" ({weights['licence_note']})" if weights["licence_note"] else "")),
        *(model["machine"].items()),
    ]
    if done:
        versions = ", ".join(f"{name} {version}" for name, version in done[-1]["versions"].items())
        facts += [
            ("versions", versions),
            ("window", done[-1]["window"]),
            ("protocol", done[-1]["protocol"]),
            ("prompts", ", ".join(done[-1]["templates"])),
            ("scoring", done[-1]["rule"]),
        ]
    return [(name, value) for name, value in facts if value]
