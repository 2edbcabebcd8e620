"""The report of a reproduction: JSON, a table and a page."""

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from segvoc.data.benchmarks import counted
from segvoc.evaluation.report.page import AGREEMENT, comparison, percent, protocol_facts, without_scores, write_html
from segvoc.evaluation.report.report import csv_table, write_report_json
from segvoc.progress import aligned
from segvoc.reproduction.subjects import Availability
from segvoc.storage.atomic_writes import write_bytes

Verdict = Literal["within", "within the spread", "outside", "incomplete", "no published score", "not run", "waiting"]
"""Verdicts on a benchmark: all scores are within `AGREEMENT`; the means over seeds are within `SPREAD`; a score is
outside; images are missing or failed; nothing to compare with; the data is missing; not yet run."""

SPREAD = 2.0
"""Standard deviations over seeds within which a published score counts as reproduced."""

VERDICT_TEXTS: Mapping[str, str] = {
    "within": f"within {AGREEMENT}",
    "within the spread": f"within {SPREAD:g} standard deviations",
    "outside": f"not within {AGREEMENT}",
    "incomplete": "not comparable",
    "no published score": "no published score",
    "not run": "not run",
    "waiting": "not run yet",
}

Row = dict[str, Any]
"""A benchmark in the report, as plain values."""


def empty_row(found: Availability, published: Sequence[Mapping[str, Any]]) -> Row:
    """The row of a benchmark before its evaluation."""
    return {
        "name": found.name,
        "title": found.benchmark.title,
        "status": found.status,
        "verdict": "waiting" if found.usable else "not run",
        "why": found.obstacle,
        "expected_images": found.benchmark.image_count,
        "downloads": list(found.benchmark.pages),
        "scores": without_scores(published),
        "deviations": [],
    }


def evaluated_row(
    found: Availability,
    report: Mapping[str, Any],
    folder: str,
    published: Sequence[Mapping[str, Any]],
    deviations: Sequence[str] = (),
) -> Row:
    """Create the row of an evaluated benchmark, whose own report is in `folder`, relative to the whole report's.

    `deviations` lists differences from the published network.
    """
    data, scores = report["data"], comparison({**report, "published": published})
    why = _incomplete(found, report)
    verdict: Verdict = "no published score"
    if scores:
        verdict = "incomplete" if why else "within" if all(score["within"] for score in scores) else "outside"
    return {
        **empty_row(found, published),
        "verdict": verdict,
        "why": why,
        "scores": scores,
        **{name: report[name] for name in ("miou", "fwiou", "pixel_accuracy", "mean_accuracy", "parts")},
        "images": data["images"],
        "failed": data["failed"],
        "left_out": data["source"].get("left_out", 0),
        "labels_sha256": data["source"].get("sha256", ""),
        "protocol": report["protocol"],
        "deviations": [*deviations, *report["protocol"]["deviations"]],
        "versions": report["versions"],
        "processes": report["run"]["processes"],
        "date": report["run"]["date"],
        "report": f"{folder}/report.json",
        "page": f"{folder}/index.html",
    }


def mean_rows(runs: Sequence[Sequence[Row]]) -> list[Row]:
    """Merge the rows of several runs, of the same benchmarks, averaging each score over the runs that have it.

    A score also has the "deviation" of the runs (sample standard deviation, None for a single run), and "runs".
    """
    return [_mean_row(rows) for rows in zip(*runs, strict=True)]


def _mean_row(rows: Sequence[Row]) -> Row:
    done = [row for row in rows if "images" in row]
    if not done:
        return dict(rows[0])
    scores = [_mean_score(several) for several in zip(*(row["scores"] for row in done), strict=True)]
    values = [row["miou"] for row in done if row["miou"] is not None]
    verdict: Verdict = "no published score"
    if incomplete := next((row["why"] for row in done if row["why"]), ""):
        verdict = "incomplete"
    elif scores:
        near = all(score["within"] for score in scores)
        verdict = "within" if near else "within the spread" if all(map(_within_spread, scores)) else "outside"
    names = ("name", "title", "status", "expected_images", "downloads", "images", "failed")
    return {
        **{name: done[0][name] for name in names},
        "verdict": verdict,
        "why": incomplete,
        "scores": scores,
        "miou": statistics.fmean(values) if values else None,
        "deviations": list(dict.fromkeys(text for row in done for text in row["deviations"])),
        "runs": len(done),
    }


def _mean_score(several: Sequence[Row]) -> Row:
    values = [score["here"] for score in several if score["here"] is not None]
    here = statistics.fmean(values) if values else None
    difference = None if here is None else round(here - several[0]["published"], 9)
    return {
        **several[0],
        "here": here,
        "runs": values,
        "deviation": statistics.stdev(values) if len(values) > 1 else None,
        "difference": difference,
        "within": difference is not None and abs(difference) <= AGREEMENT,
    }


def _within_spread(score: Row) -> bool:
    deviation, difference = score["deviation"], score["difference"]
    return score["within"] or (None not in (deviation, difference) and abs(difference) <= SPREAD * deviation)


def verdict_text(row: Mapping[str, Any]) -> str:
    """The verdict of a benchmark as shown in tables, with deviations from the published protocol."""
    deviations = f" ({', '.join(row['deviations'])})" if row["deviations"] else ""
    return f"{VERDICT_TEXTS[row['verdict']]}{deviations}"


def _incomplete(found: Availability, report: Mapping[str, Any]) -> str:
    """Why a score isn't comparable due to missing images; empty if it is."""
    reasons = []
    if found.partial:
        of = found.benchmark.image_count
        missing = "images are missing" if of is None else f"there should be {of:,} images"
        reasons.append(f"the benchmark was prepared with --partial, from {found.images:,} images; {missing}")
    if failed := report["data"]["failed"]:
        reasons.append(f"{failed:,} {'image' if failed == 1 else 'images'} could not be read")
    return "; ".join(reasons)


def failures(rows: Iterable[Row], *, named: bool) -> list[str]:
    """Reasons for a non-zero exit code, a line per benchmark; a missing one only fails if the user `named` it."""
    lines = []
    for row in rows:
        if row["verdict"] == "outside":
            deviations = f" (deviations: {', '.join(row['deviations'])})" if row["deviations"] else ""
            lines.append(f"{row['title']}: not within {AGREEMENT} of the published score{deviations}")
        elif row["verdict"] == "incomplete" or row.get("failed"):
            lines.append(f"{row['title']}: not comparable, since {row['why']}")
        elif row["status"] == "failed" or (named and row["verdict"] == "not run"):
            lines.append(f"{row['title']}: not run: {row['why']}")
    return lines


def headline(rows: Sequence[Row]) -> str:
    """The result of a model in one sentence."""
    counts = Counter(row["verdict"] for row in rows)
    compared = counts["within"] + counts["within the spread"] + counts["outside"]
    sentences = ["no score could be compared with a published one"]
    if compared:
        of = counted(compared, "benchmark")
        sentences = [f"{counts['within']} of {of} within {AGREEMENT} mIoU of the published score"]
    scores = [score for row in rows for score in row["scores"] if score["score"] == "mIoU"]
    if len(scores) > 1 and all(score["here"] is not None for score in scores):
        here, published = (statistics.fmean(score[name] for score in scores) for name in ("here", "published"))
        sentences.append(f"on average {here:.2f} mIoU, published {published:.2f}")
    others = {
        "within the spread": f"within {SPREAD:g} standard deviations over the seeds",
        "incomplete": "on incomplete data",
        "no published score": "without a published score",
        "not run": "not run",
        "waiting": "still to be run",
    }
    sentences += [f"{counts[verdict]} {text}" for verdict, text in others.items() if verdict in counts]
    if deviating := sum(bool(row["deviations"]) for row in rows):
        sentences.append(f"{deviating} with deviations from what was published")
    return "; ".join(sentences)


def write_reproduction(folder: Path, content: Mapping[str, Any]) -> None:
    """Write `scores.csv`, `index.html` and `report.json` of the result of `reproduce`, each atomically."""
    lines = [{name: "" if value == "—" else value for name, value in line.items()} for line in _lines(content)]
    write_bytes(folder / "scores.csv", csv_table(lines))
    values = {
        **content,
        "verdict_texts": VERDICT_TEXTS,
        "verdict_text": verdict_text,
        "title": title,
        "facts": [_facts(content, model) for model in content["models"]],
    }
    write_html(folder / "index.html", "reproduction.html", values)
    # written last, so its presence means that the report is complete
    write_report_json(folder / "report.json", content)


def verdict_table(content: Mapping[str, Any]) -> str:
    """Format the scores as a terminal table, followed by the sources of the published scores."""
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
    """Title of a model, with its seed or number of averaged seeds."""
    if "seeds" in entry:
        return f"{entry['name']}, mean of {len(entry['seeds'])} seeds"
    return entry["name"] if entry["seed"] is None else f"{entry['name']}, seed {entry['seed']}"


def _lines(content: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """A line per score, or per benchmark without one; over several seeds with "mean" as the seed and a deviation."""
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
    """The score of a benchmark without a published score, or not run."""
    empty = {"published": None, "difference": None, "table": "", "source": ""}
    return {**empty, "score": "mIoU", "here": row.get("miou")}


def _facts(content: Mapping[str, Any], model: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """Facts about the run and the machine, as names and values."""
    weights, training = model["weights"], model["training"]
    done = [row for row in model["benchmarks"] if "images" in row]
    facts = [("command", content["command"]), ("data folder", content["data"])]
    if training is not None:
        data = training["data"] or "captions"
        facts.append(("trained", f"{training['steps']:,} steps on {data}, seed {model['seed']}"))
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
