"""Scores of seen and unseen classes, from finished reports: ERR-Seg, Table 5; CAT-Seg, Fig. 2."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from jaxtyping import Float64

from papers.drawing import markdown_table, save_table
from papers.view_options import out_option
from papers.vocabulary import SEEN_ABOVE, nearest_labels, training_labels, training_labels_option
from segvoc.cli import run_command
from segvoc.cli.options import NETWORK_OPTIONS, ModelOptions, model_options
from segvoc.cli.output import echo
from segvoc.errors import UsageError
from segvoc.evaluation.score_tables import percent
from segvoc.runtime.version import __version__
from segvoc.storage.files import read_json


@click.command()
@click.argument("reports", nargs=-1, required=True, metavar="REPORT...")
@click.option("--model", required=True, metavar="NAME", help="Compare labels by its text encoder.")
@training_labels_option
@click.option(
    "--above",
    type=click.FloatRange(-1, 1),
    default=SEEN_ABOVE,
    show_default=True,
    metavar="S",
    help="Labels more similar than this to a training label are seen.",
)
@out_option
@model_options(*NETWORK_OPTIONS)
def seen(reports: Sequence[str], model: str, training: str, above: float, out: str, chosen: ModelOptions) -> None:
    """Score seen and unseen classes separately, from reports of `segvoc evaluate` (ERR-Seg, Table 5).

    \b
    python -m papers.seen cat_report err_report --model err-seg-b --weights W

    A class is seen if its similarity to a training label exceeds 0.95 by the text encoder of --model, which is used for
    all REPORTs, whatever their model. Writes seen.md and seen.json.
    """
    found = [report for folder in reports for report in read_reports(Path(folder))]
    known, segmenter = training_labels(training), chosen.open_network(model)
    facts = []
    for report in found:
        names = [entry["name"] for entry in report["classes"]]
        classes = nearest_labels(segmenter, names, known).seen(above)
        scores = scores_of_report(report, classes)
        plain = {name: None if value != value else value for name, value in asdict(scores).items()}
        about = {"model": report["model"]["name"], "data": report["data"]["title"], "miou": report["miou"]}
        facts.append(about | plain | {"seen_names": [name for name in names if name in classes]})
    table = seen_table(facts)
    settings = {"model": model, "weights": chosen.weights, "options": dict(chosen.departures())}
    about = {"segvoc": __version__, **settings, "training": training, "above": above}
    save_table(Path(out), "seen", table, about | {"rows": facts})
    echo(table, nl=False)


def read_reports(folder: Path) -> list[dict[str, Any]]:
    """Read the reports of an evaluation: one per benchmark.

    Part reports are refused: they already have seen and unseen objects.
    """
    try:
        report = read_json(folder / "report.json")
        found = (
            [report] if "classes" in report else [read_json(folder / entry["report"]) for entry in report["benchmarks"]]
        )
        parts = [entry["data"]["title"] for entry in found if entry["parts"] is not None]
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"{str(folder)!r} holds no report; give the --out folder of a `segvoc evaluate`") from None
    if parts:
        raise UsageError(f"{parts[0]} already reports seen and unseen parts; leave it out")
    return found


@dataclass(frozen=True, kw_only=True)
class SeenScores:
    """Mean IoU of seen and of unseen classes, in percent, and their numbers; NaN where no class has a true pixel."""

    seen: float
    unseen: float
    seen_count: int
    unseen_count: int


def seen_scores(
    iou: Float64[np.ndarray, " K"], classes: Sequence[str], seen: Collection[str], *, apart: Collection[str] = ()
) -> SeenScores:
    """Split the mean IoU by whether a class was seen in training; only classes with a true pixel count.

    Names in `apart`, such as a background that stands for all other classes, count in neither mean.
    """
    counted = ~np.isnan(iou) & np.array([name not in apart for name in classes], bool)
    known = np.array([name in seen for name in classes], bool)
    groups = [iou[counted & known], iou[counted & ~known]]
    means = [float(group.mean()) if group.size else np.nan for group in groups]
    return SeenScores(seen=means[0], unseen=means[1], seen_count=groups[0].size, unseen_count=groups[1].size)


def scores_of_report(report: Mapping[str, Any], seen: frozenset[str]) -> SeenScores:
    """Score a report's seen and unseen classes; a background is neither."""
    names, protocol = [entry["name"] for entry in report["classes"]], report["protocol"]
    collapsed = [] if protocol["collapse_from"] is None else names[protocol["collapse_from"] :]
    iou = np.array([entry["iou"] for entry in report["classes"]], np.float64)  # None is NaN
    apart = [name for name in (protocol["background"], *collapsed) if name is not None]
    return seen_scores(iou, names, seen, apart=apart)


def seen_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Table 5 as Markdown: a row per model and dataset."""
    head = ("model", "data", "mIoU of seen classes", "classes", "mIoU of unseen classes", "classes")
    columns = ("model", "data", "seen", "seen_count", "unseen", "unseen_count")
    lines = ([percent(row[name]) if name in ("seen", "unseen") else str(row[name]) for name in columns] for row in rows)
    return markdown_table(head, lines)


if __name__ == "__main__":
    run_command(seen, "python -m papers.seen")
