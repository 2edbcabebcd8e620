"""Verdicts on our scores beside the published ones, means over seeds, and the report that `papers.reproduce` writes."""

import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from segvoc.cli.output import echo
from segvoc.errors import counted
from segvoc.evaluation.report_page import write_html
from segvoc.evaluation.score_tables import AGREEMENT, csv_table, percent
from segvoc.runtime.progress import aligned
from segvoc.storage.atomic_writes import write_bytes
from segvoc.storage.files import write_json

SPREAD = 2.0
"""Standard deviations over seeds within which a published score counts as reproduced."""

VERDICTS = ("within", "within the spread", "outside", "incomplete", "no published score", "not run", "waiting")
"""Verdicts on a benchmark. incomplete: images are missing or failed; not run: the data is missing; waiting: not yet."""

Row = dict[str, Any]
"""A benchmark or a score in the report, as plain values."""


def write_report(folder: Path, content: Row) -> None:
    """Add the means over seeds and the results in words; write scores.csv, index.html and report.json atomically."""
    models = content["models"]
    rows = [mean_row(several) for several in zip(*(model["benchmarks"] for model in models), strict=True)]
    mean = {"name": content["call"]["name"], "seeds": [model["seed"] for model in models], "benchmarks": rows}
    content["means"] = [mean] if len(models) > 1 else []
    for entry in (*models, *content["means"]):
        entry["result"] = headline(entry["benchmarks"])
    functions = {"verdict_text": verdict_text, "title": title}
    write_bytes(folder / "scores.csv", csv_table(list(_lines(content))))
    write_html(folder / "index.html", Path(__file__).with_name("reproduce.html"), content | functions)
    write_json(folder / "report.json", content)


def mean_row(rows: Sequence[Row]) -> Row:
    """A benchmark averaged over the seeds that scored it, else the first row."""
    if not (scored := [row for row in rows if "images" in row]):
        return rows[0]
    scores = mean_scores([row["scores"] for row in scored])
    values = [row["miou"] for row in scored if row["miou"] is not None]
    incomplete = any(row["verdict"] == "incomplete" for row in scored)
    return {
        **scored[0],
        "verdict": verdict(scores, incomplete=incomplete),
        "why": "; ".join(dict.fromkeys(row["why"] for row in scored if row["why"])),
        "scores": scores,
        "miou": statistics.fmean(values) if values else None,
    }


def mean_scores(runs: Sequence[Sequence[Row]]) -> list[Row]:
    """Average each score over the runs; "deviation" is the sample standard deviation, 0 for a single run."""
    means = []
    for several in zip(*runs, strict=True):
        values = [score["here"] for score in several if score["here"] is not None]
        here = statistics.fmean(values) if values else None
        off = None if here is None else round(here - several[0]["published"], 9)
        mean = {**several[0], "here": here, "difference": off, "within": off is not None and abs(off) <= AGREEMENT}
        means.append({**mean, "runs": values, "deviation": statistics.stdev(values) if len(values) > 1 else 0.0})
    return means


def verdict(scores: Sequence[Row], *, incomplete: bool) -> str:
    """The verdict on the scores of a benchmark; docs/papers/reproduce.md lists all."""
    if not scores:
        return "no published score"
    if incomplete or all(score["within"] for score in scores):
        return "incomplete" if incomplete else "within"
    near = [score["within"] or abs(score["difference"] or math.inf) <= SPREAD * score["deviation"] for score in scores]
    return "within the spread" if all(near) else "outside"


def verdict_text(row: Row) -> str:
    """The verdict of a benchmark with deviations from what was published."""
    return row["verdict"] + (f" ({', '.join(row['deviations'])})" if row["deviations"] else "")


def headline(rows: Sequence[Row]) -> str:
    """The result of a network in one sentence."""
    counts = {name: sum(row["verdict"] == name for row in rows) for name in VERDICTS}
    compared = sum(counts[name] for name in VERDICTS[:3])
    within = f"{counts['within']} of {counted(compared, 'benchmark')} within {AGREEMENT} mIoU of the published score"
    parts = [within if compared else "no score could be compared with a published one"]
    scores = [score for row in rows for score in row["scores"] if score["score"] == "mIoU"]
    if len(scores) > 1 and all(score["here"] is not None for score in scores):
        here, published = (statistics.fmean(score[key] for score in scores) for key in ("here", "published"))
        parts.append(f"on average {here:.2f} mIoU, published {published:.2f}")
    return "; ".join([*parts, *(f"{name}: {counts[name]}" for name in VERDICTS[1:] if counts[name])])


def title(entry: Row) -> str:
    """Title of a network, with its seed or number of averaged seeds."""
    seeds = f"mean of {len(entry['seeds'])} seeds" if "seeds" in entry else f"seed {entry['seed']}"
    return entry["name"] if entry.get("seed", 0) is None else f"{entry['name']}, {seeds}"


def conclude(content: Row, out: str, *, asked: bool) -> int:
    """Print the scores, the results and what failed; the exit code. A missing benchmark fails if it was `asked` for."""
    lines = [dict(list(line.items())[:-2]) for line in _lines(content)]  # without the sources
    rows = [[percent(x) if isinstance(x, float | None) else str(x) for x in line.values()] for line in lines]
    results = [f"{title(entry)}: {entry['result']}" for entry in (*content["models"], *content["means"])]
    echo("\n".join([*aligned([list(lines[0]), *rows]), *results, f"-> {out}"]))
    failed = [
        f"{entry['name']}: {row['title']}: {'; '.join(filter(None, (verdict_text(row), row['why'])))}"
        for entry in content["means"] or content["models"]
        for row in entry["benchmarks"]
        if row["verdict"] == "outside" or (row["why"] and (row["status"] != "missing" or asked))
    ]
    for line in failed:
        echo(f"segvoc: {line}", err=True)
    return 1 if failed else 0


def _lines(content: Row) -> Iterator[Row]:
    """A line per score, or per benchmark without one."""
    for entry in (*content["models"], *content["means"]):
        for row in entry["benchmarks"]:
            for score in row["scores"] or [{"score": "mIoU", "here": row.get("miou")}]:
                line = {"model": title(entry), "benchmark": row["title"], "images": row.get("images")}
                line |= {key: score.get(key) for key in ("score", "published", "here", "deviation", "difference")}
                yield line | {"verdict": verdict_text(row), **{key: score.get(key) for key in ("table", "source")}}
