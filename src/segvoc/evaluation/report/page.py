"""The report as text: scores as a Markdown table, their comparison with published scores, and the HTML page.

The page is one file next to the example images, with no external resources.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segvoc.errors import missing_extra
from segvoc.storage.atomic_writes import write_atomically
from segvoc.storage.records import KIND

if TYPE_CHECKING:
    import jinja2
    import markupsafe

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


MAX_BARS = 60
"""Max classes shown as bars; beyond it, the highest and the lowest half of this number."""


def write_html(path: Path, template: str | Path, values: Mapping[str, Any]) -> None:
    """Write a page atomically; without jinja2, warn and say how to install it.

    The template is a path, or the name of a file beside this module, whose style sheet every template can include.
    """
    try:
        import jinja2  # noqa: F401
    except ImportError:
        warnings.warn(f"index.html is not written: {missing_extra('jinja2', 'data')}", UserWarning, stacklevel=3)
        # the page of an earlier report would show stale scores
        path.unlink(missing_ok=True)
        return
    file = Path(__file__).parent / template
    page = _environment(file.parent).get_template(file.name).render(values)
    write_atomically(path, lambda file: file.write(page.encode("utf-8", "xmlcharrefreplace")))


@cache
def _environment(folder: Path) -> "jinja2.Environment":
    import jinja2

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FileSystemLoader([folder, Path(__file__).parent]),
    )
    environment.filters |= {"percent": percent, "kept": kept_text, "thousands": thousands, "linked": _linked}
    return environment


def _linked(text: str) -> "markupsafe.Markup":
    """Text with URLs as links; everything else is escaped."""
    from markupsafe import Markup

    # URLs are at the odd indices
    parts = re.split(r"(https?://[^\s;,]+)", text)
    link = Markup('<a href="{0}">{0}</a>')
    return Markup("").join(link.format(part) if index % 2 else part for index, part in enumerate(parts))


def thousands(number: int) -> str:
    """A number with narrow, non-breaking spaces between groups of three digits."""
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def page_values(report: Mapping[str, Any]) -> dict[str, Any]:
    """The report with the values that its page adds or reorders."""
    classes = report["classes"]
    present = sorted((entry for entry in classes if entry["iou"] is not None), key=lambda entry: -entry["iou"])
    many = len(present) > MAX_BARS
    return {
        **report,
        "cards": _cards(report),
        "present": present,
        "absent": [entry for entry in classes if entry["iou"] is None],
        "shown": present[: MAX_BARS // 2] if many else present,
        "lowest": present[-(MAX_BARS // 2) :] if many else [],
        "comparison": comparison(report),
        "facts": _facts(report),
    }


def _cards(report: Mapping[str, Any]) -> list[dict[str, str]]:
    latency = report["latency_seconds"]["median"]
    scores = [{"name": head, "value": value} for head, value in score_cells(report).items()]
    time = "—" if latency is None else f"{latency:.2f} s" if latency >= 0.1 else f"{1000 * latency:.0f} ms"
    return [*scores, {"name": "per image (median)", "value": time}]


def _facts(report: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """The settings and circumstances of the evaluation, as names and values."""
    data, protocol, run, found = report["data"], report["protocol"], report["run"], report["classes_per_image"]
    weights = f"{report['model']['weights'] or 'not given'} (digest {protocol['weights_digest']})"
    classes = "none" if found is None else f"{found['true']:.1f}, of which {found['found']:.1f} found"
    resumed = f", {run['resumed_images']} images from an earlier run" if run["resumed_images"] else ""
    facts = [
        ("weights", weights),
        *((name, str(value)) for name, value in data["source"].items() if value not in ("", None)),
        ("pixels", f"{thousands(data['labeled_pixels'])} scored, {thousands(data['ignored_pixels'])} ignored"),
        ("unlabeled predictions", f"{thousands(data['unlabeled_predictions'])} pixels"),
        ("classes in an image", classes),
        ("scoring", protocol["rule"]),
        ("protocol", protocol["source"] or "no paper's"),
        ("deviations", ", ".join(protocol["deviations"]) or "none"),
        ("window", protocol["window"]),
        ("classes kept", kept_text(protocol)),
        *protocol_facts(protocol),
        ("limit", str(protocol["limit"] or "none")),
        ("device", f"{protocol['device']}, {protocol['dtype']}, {run['processes']} process(es){resumed}"),
        ("peak memory", f"{report['peak_memory_gb']} GB"),
        ("versions", ", ".join(f"{name} {version}" for name, version in report["versions"].items())),
    ]
    if report["model"]["options"]:
        facts.insert(1, ("options", ", ".join(f"{name}={value}" for name, value in report["model"]["options"].items())))
    return facts


def protocol_facts(protocol: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How images are labeled, as names and values, besides the window's name and the number of classes."""
    names = {
        "size": "input [px]",
        "loader": "resize [px]",
        "sliding": "views [px]",
        "pooling": "class pooling",
        "selection": "class selection",
        "templates": "prompts",
        "background": "background",
        "threshold": "threshold",
        "chosen": "our choice",
    }
    # side 0: set by the resize
    values = {**protocol, "size": protocol["size"] or None}
    return [(title, _plain(values[name])) for name, title in names.items() if values[name] not in (None, "")]


def _plain(value: object) -> str:
    """A protocol value without brackets and quotes."""
    if isinstance(value, Mapping):
        return ", ".join(f"{'' if name == KIND else f'{name} '}{_plain(entry)}" for name, entry in value.items())
    return ", ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
