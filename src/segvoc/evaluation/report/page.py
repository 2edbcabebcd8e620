"""The report as a page for people: one file of HTML, pictures beside it, nothing fetched from anywhere."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from segvoc.evaluation.report.comparison import comparison
from segvoc.evaluation.report.markdown import PART_COLUMNS, PLAIN_COLUMNS, percent
from segvoc.storage.atomic_writes import write_atomically

BARS = 60
"""Classes whose bars are shown at once; of more, the highest and the lowest half of so many."""


def write_page(folder: Path, report: Mapping[str, Any]) -> None:
    """Write `index.html`, atomically. All names are text to it, whatever they hold.

    Raises:
        OutputError: the system refused.
    """
    page = _template().render(**report, **_derived(report))
    write_atomically(folder / "index.html", lambda file: file.write(page.encode("utf-8", "xmlcharrefreplace")))


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = percent
    environment.filters["thousands"] = thousands
    return environment.from_string(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))


def thousands(number: int) -> str:
    """Digits in groups of three, with thin blanks that don't break."""
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _derived(report: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows beyond the report, or in another order."""
    classes = report["classes"]
    present = sorted((entry for entry in classes if entry["iou"] is not None), key=lambda entry: -entry["iou"])
    many = len(present) > BARS
    return {
        "cards": _cards(report),
        "present": present,
        "absent": [entry for entry in classes if entry["iou"] is None],
        "shown": present[: BARS // 2] if many else present,
        "lowest": present[-(BARS // 2) :] if many else [],
        "comparison": comparison(report),
        "facts": _facts(report),
    }


def _cards(report: Mapping[str, Any]) -> list[dict[str, str]]:
    latency = report["latency_seconds"]["median"]
    scores = [
        {"name": head, "value": percent(report[name])}
        for head, name in PLAIN_COLUMNS
        if name != "boundary_f" or report[name] is not None
    ]
    if report["parts"] is not None:
        scores = [
            {"name": head, "value": percent(report["parts"][protocol]["part-cat-seg"][name])}
            for head, protocol, name in PART_COLUMNS
        ]
    time = "—" if latency is None else f"{latency:.2f} s" if latency >= 0.1 else f"{1000 * latency:.0f} ms"
    return [*scores, {"name": "a picture (median)", "value": time}]


def _facts(report: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """The call and its circumstances, as lines."""
    data, protocol, run = report["data"], report["protocol"], report["run"]
    weights = f"{report['model']['weights'] or 'not told'} (digest {protocol['weights_digest']})"
    resumed = f", {run['resumed_pictures']} pictures kept from an earlier run" if run["resumed_pictures"] else ""
    facts = [
        ("weights", weights),
        *((name, str(value)) for name, value in data["source"].items() if value not in ("", None)),
        ("pixels", f"{thousands(data['labelled_pixels'])} scored, {thousands(data['ignored_pixels'])} ignored"),
        ("unlabelled predictions", f"{thousands(data['unlabelled_predictions'])} pixels"),
        *(
            (name.replace("_", " "), "none" if protocol[name] is None else str(protocol[name]))
            for name in ("rule", "window", "protocol", "keep_classes", "background", "threshold", "limit", "templates")
        ),
        ("device", f"{protocol['device']}, {protocol['dtype']}, {run['processes']} process(es){resumed}"),
        ("peak memory", f"{report['peak_memory_gb']} GB"),
        ("versions", ", ".join(f"{name} {version}" for name, version in report["versions"].items())),
    ]
    if report["model"]["options"]:
        facts.insert(1, ("options", ", ".join(f"{name}={value}" for name, value in report["model"]["options"].items())))
    return facts
