"""`segvoc analyze seen`: scores of seen and of unseen classes, from finished reports."""

from collections.abc import Sequence
from pathlib import Path

import click

from segvoc.cli.benchmark_options import training_labels_option
from segvoc.cli.options import NETWORK_OPTIONS, ModelOptions, model_options
from segvoc.cli.output import echo


@click.command()
@click.argument("reports", nargs=-1, required=True, metavar="REPORT...")
@click.option("--model", required=True, metavar="NAME", help="Compare labels by its text encoder.")
@training_labels_option
@click.option(
    "--above",
    type=click.FloatRange(-1, 1),
    metavar="S",
    help="Labels that are more similar than this to a training label are seen; by default 0.95.",
)
@click.option("--out", default="out", metavar="FOLDER", help="Folder for the table.")
@model_options(*NETWORK_OPTIONS)
def seen(
    reports: Sequence[str], model: str, training: str, above: float | None, out: str, chosen: ModelOptions
) -> None:
    """Score seen and unseen classes apart, from folders of `segvoc evaluate` (ERR-Seg, Table 5).

    \b
    segvoc analyze seen cat_report err_report --model err-seg-b --weights W

    A class is seen if its name is more similar than 0.95 to a training label, by the text encoder of --model, which is
    the same for all REPORTs whatever model they are of. Writes seen.md and seen.json.
    """
    from segvoc.analysis import vocabularies  # here, since PyTorch takes seconds to import
    from segvoc.analysis.tables import save_table
    from segvoc.evaluation.label_similarity import SEEN_ABOVE, nearest_labels
    from segvoc.version import __version__

    found = [report for folder in reports for report in vocabularies.read_reports(Path(folder))]
    known, limit = vocabularies.training_labels(training), SEEN_ABOVE if above is None else above
    segmenter = chosen.load(model)
    rows, facts = [], []
    for report in found:
        names = [entry["name"] for entry in report["classes"]]
        classes = nearest_labels(segmenter, names, known).seen(limit)
        scores = vocabularies.scores_of_report(report, classes)
        rows.append((report["model"]["name"], report["data"]["title"], scores))
        facts.append(
            {"model": report["model"]["name"], "data": report["data"]["title"], "miou": report["miou"]}
            | vocabularies.seen_facts(scores)
            | {"seen_names": [name for name in names if name in classes]}
        )
    table = vocabularies.seen_table(rows)
    settings = {"model": model, "weights": chosen.weights, "options": dict(chosen.departures())}
    about = {"segvoc": __version__, **settings, "training": training, "above": limit}
    save_table(Path(out), "seen", table, about | {"rows": facts})
    echo(table, nl=False)
