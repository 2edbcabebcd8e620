"""The report as an HTML page: one file next to the example images, with no external resources."""

import re
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segvoc.errors import missing_extra
from segvoc.evaluation.report.markdown import comparison, kept_text, percent, score_cells
from segvoc.records import KIND
from segvoc.storage.atomic_writes import write_atomically

if TYPE_CHECKING:
    import jinja2
    import markupsafe

MAX_BARS = 60
"""Max classes shown as bars; beyond it, the highest and the lowest half of this number."""


def write_html(path: Path, template: str, values: Mapping[str, Any]) -> None:
    """Write a page of a template beside this module, atomically; without jinja2, warn and say how to install it."""
    try:
        import jinja2  # noqa: F401
    except ImportError:
        warnings.warn(f"index.html is not written: {missing_extra('jinja2', 'data')}", UserWarning, stacklevel=3)
        # the page of an earlier report would show stale scores
        path.unlink(missing_ok=True)
        return
    page = _environment().get_template(template).render(values)
    write_atomically(path, lambda file: file.write(page.encode("utf-8", "xmlcharrefreplace")))


@cache
def _environment() -> "jinja2.Environment":
    import jinja2

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
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
    """A report, and what its page adds or reorders."""
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
