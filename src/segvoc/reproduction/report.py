"""The report of a reproduction: JSON, a table and a page that a sceptic can read."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from segvoc.evaluation.report.markdown import percent
from segvoc.evaluation.report.page import protocol_facts, write_html
from segvoc.evaluation.report.report import encoded, write_report_json
from segvoc.progress import aligned
from segvoc.reproduction.verdicts import VERDICT_TEXTS, Row, verdict_text
from segvoc.storage.atomic_writes import write_atomically

CSV_COLUMNS: tuple[str, ...] = (
    "model",
    "seed",
    "benchmark",
    "images",
    "score",
    "published",
    "here",
    "deviation",
    "difference",
    "verdict",
    "table",
    "source",
)
"""Columns of `scores.csv`; "seed" is "mean" in the rows over several seeds, which have a standard "deviation"."""


def write_reproduction(folder: Path, content: Mapping[str, Any]) -> None:
    """Write `scores.csv`, `index.html` and `report.json`, each atomically; those of an earlier call are replaced.

    `content` is what `segvoc.reproduction.reproduce.reproduce` returns.

    Raises:
        OutputError: a file can't be written.
    """
    write_atomically(folder / "scores.csv", lambda file: file.write(_table(content)))
    values = {
        **content,
        "verdict_texts": VERDICT_TEXTS,
        "verdict_text": verdict_text,
        "title": title,
        "facts": [_facts(content, model) for model in content["models"]],
    }
    write_html(folder / "index.html", "reproduction.html", values)
    # last: where this file exists, the others exist too
    write_report_json(folder / "report.json", content)


def verdict_table(content: Mapping[str, Any]) -> str:
    """The scores as a table for a terminal, followed by the sources of the published ones."""
    training = ["seed"] if any(model["seed"] is not None for model in content["models"]) else []
    spread = ["deviation"] if content["means"] else []
    rows = [["model", *training, "benchmark", "images", "score", "published", "here", *spread, "difference", "verdict"]]
    rows += [[line[name] for name in rows[0]] for line in _lines(content)]
    sources = dict.fromkeys(
        f"published scores of {line['model']}: {line['table']}" + (f" ({line['source']})" if line["source"] else "")
        for line in _lines(content)
        if line["table"]
    )
    results = [f"{title(model)}: {model['result']}" for model in (*content["models"], *content["means"])]
    return "\n".join([*aligned(rows), *sources, *results])


def title(entry: Mapping[str, Any]) -> str:
    """A model of the report, with its seed, or the mean over several."""
    if "seeds" in entry:
        return f"{entry['name']}, mean of {len(entry['seeds'])} seeds"
    return entry["name"] if entry["seed"] is None else f"{entry['name']}, seed {entry['seed']}"


def _table(content: Mapping[str, Any]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, CSV_COLUMNS)
    writer.writeheader()
    writer.writerows({name: "" if value == "—" else value for name, value in line.items()} for line in _lines(content))
    return encoded(text.getvalue())


def _lines(content: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """A line for each score, or for a benchmark without one; the values of `CSV_COLUMNS`."""
    for model in (*content["models"], *content["means"]):
        seed = "mean" if "seeds" in model else "—" if model["seed"] is None else str(model["seed"])
        for row in model["benchmarks"]:
            for score in row["scores"] or [_unpublished(row)]:
                difference = score["difference"]
                yield {
                    "model": model["name"],
                    "seed": seed,
                    "benchmark": row["title"],
                    "images": str(row.get("images", "—")),
                    "score": score["score"],
                    "published": percent(score["published"]),
                    "here": percent(score["here"]),
                    "deviation": percent(score.get("deviation")),
                    "difference": "—" if difference is None else f"{difference:+.2f}",
                    "verdict": verdict_text(row),
                    "table": score["table"],
                    "source": score["source"],
                }


def _unpublished(row: Row) -> Row:
    """The score of a benchmark with nothing to compare with, or that isn't run."""
    empty = {"published": None, "difference": None, "table": "", "source": ""}
    return {**empty, "score": "mIoU", "here": row.get("miou")}


def _facts(content: Mapping[str, Any], model: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """What was run on which machine, as names and values."""
    weights, training = model["weights"], model["training"]
    done = [row for row in model["benchmarks"] if "images" in row]
    facts = [("command", content["command"]), ("data folder", content["data"])]
    if training is not None:
        facts.append(
            ("trained", f"{training['steps']:,} steps on {training['data'] or 'captions'}, seed {model['seed']}")
        )
    if weights:
        published = "license" in weights
        note = weights["license_note"] if published else ""
        facts += [
            ("weights", f"{weights['filename']}, {weights['bytes']:,} bytes"),
            ("from", weights.get("repository", weights.get("url", ""))),
            ("revision", weights.get("revision", "")),
            ("SHA-256", weights["sha256"] + (" (verified before loading)" if published else "")),
            ("license", weights.get("license", "") + (f" ({note})" if note else "")),
        ]
    facts += model["machine"].items()
    if done:
        protocol = done[-1]["protocol"]
        versions = ", ".join(f"{name} {version}" for name, version in done[-1]["versions"].items())
        facts += [
            ("versions", versions),
            ("protocol", protocol["source"] or "the network's own"),
            *protocol_facts(protocol),
            ("scoring", protocol["rule"]),
        ]
    return [(name, value) for name, value in facts if value]
