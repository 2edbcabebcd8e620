"""`segvoc evaluate`: scores on benchmarks or on your own labeled images, with a report to share."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from segvoc.cli.dataset_options import (
    DatasetOptions,
    SeveralBenchmarks,
    data_option,
    data_root,
    dataset_options,
    refuse_twice,
)
from segvoc.cli.options import NETWORK_OPTIONS, ModelOptions, given_options, model_options
from segvoc.cli.output import echo, example
from segvoc.errors import UsageError, counted
from segvoc.inference.label_options import IMAGE_OPTIONS, LabelKeywords
from segvoc.runtime.progress import announced
from segvoc.storage.files import strict_json

DATA_NEEDED = "--benchmark needs --data ROOT, the data folder given to `segvoc prepare`; give it"


@click.command(
    "evaluate",
    cls=SeveralBenchmarks,
    epilog=example("segvoc evaluate tiny --images photos --labels masks --classes classes.json --out report"),
)
@click.argument("model", metavar="MODEL")
@click.option(
    "--benchmark", "benchmarks", multiple=True, metavar="NAME...", help="Benchmarks, prepared by `segvoc prepare`."
)
@data_option("The folder of the prepared benchmarks.")
@dataset_options
@click.option("--object", "owner", metavar="NAME", help='The classes are parts of it: "door" means "car\'s door".')
@click.option("--out", required=True, metavar="FOLDER", help="Folder for the report; an unfinished report is resumed.")
@model_options(*NETWORK_OPTIONS, "network", "taught")
@given_options(*(name for name in IMAGE_OPTIONS if name != "background"))  # it is that of the labels
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Evaluate only the first N images.")
@click.option(
    "--substring-guide/--exact-guide",
    default=None,
    help="Oracle-Obj as published: 'door' lets \"car's door\" answer; exact: only the object's own parts do.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as one line of JSON.")
def evaluate_command(
    model: str,
    benchmarks: Sequence[str],
    data: str | None,
    owner: str | None,
    out: str,
    limit: int | None,
    substring_guide: bool | None,
    as_json: bool,
    dataset: DatasetOptions,
    chosen: ModelOptions,
    given: LabelKeywords,
) -> int:
    """Score MODEL on benchmarks (--benchmark, --data), or on your images (--images, --labels, --classes; --dataset).

    Benchmarks are scored by the protocol of MODEL's paper (window, classes kept, prompts, background), or in
    MODEL's official window if no paper scores it; the report names every deviation. Your own images are segmented
    as by segvoc segment.

    Writes a report to the --out folder: report.json, classes.csv, row.md (for a paper) and index.html (to look at).
    With several benchmarks, each gets its own folder. Computes in float32 unless --dtype says otherwise, so that
    scores are comparable. If interrupted, run the same command again to resume. Under torchrun, the processes share
    the images.
    """
    if dataset.named and benchmarks:
        given_too = next(option for option in dataset.given() if option != "--stretch")
        raise UsageError(f"--benchmark and {given_too} can't be combined; evaluate them in two calls")
    if not dataset.named:
        _check_benchmarks(benchmarks, data, {**dataset.given(), "--object": owner})
    elif data is not None:
        raise UsageError("--data is for benchmarks; name one with --benchmark, or leave out --data")
    _refuse_writing_among([folder for folder in (dataset.images, dataset.labels, *dataset.paths) if folder], out)
    images = dataset.read(owner=owner, beside={"--object": owner}) if dataset.named else None
    from segvoc.evaluation.report import origin_of
    from segvoc.evaluation.runner import evaluate  # here, since PyTorch takes seconds to import
    from segvoc.evaluation.task import EvaluationSettings, EvaluationTask
    from segvoc.runtime.distributed import join_processes

    if images is not None:
        tasks = [replace(EvaluationTask.of_images(images), source=dataset.record())]
    else:
        # open all before evaluating the first, to report an unprepared benchmark at once
        tasks = [EvaluationTask.of_benchmark(name, data_root(data, DATA_NEEDED)) for name in benchmarks]
    settings = EvaluationSettings(options=given, limit=limit, substring_guide=substring_guide)
    reports: dict[str, dict[str, Any]] = {}
    with join_processes("gloo") as processes:
        with announced(f"opening {model}", silent=not processes.first):
            segmenter = chosen.open(model, processes.own_device(chosen.device))
        origin = origin_of(segmenter, chosen.weights, chosen.departures())
        for task in tasks:
            folder = Path(out) if len(tasks) == 1 else Path(out) / task.name
            reports[task.name] = evaluate(
                segmenter, task, folder, settings, origin=origin, processes=processes, progress=True
            )
    if not processes.first:
        return 0
    return _finish(reports, Path(out), as_json)


def _check_benchmarks(benchmarks: Sequence[str], data: str | None, own: Mapping[str, object]) -> None:
    """Check that benchmarks with --data are given, and no options of the user's own images."""
    if not benchmarks:
        raise UsageError(
            "nothing to evaluate; give --benchmark NAME --data ROOT, or your own --images, --labels and --classes"
        )
    data_root(data, DATA_NEEDED)
    if given := [option for option, value in own.items() if value is not None]:
        raise UsageError(f"{given[0]} is for your own images; benchmarks define theirs; leave it out")
    refuse_twice(benchmarks)


def _refuse_writing_among(folders: Sequence[str], out: str) -> None:
    """Check that the report isn't written into the folders of the evaluated images."""
    report = Path(out).resolve()
    if report.exists() and not report.is_dir():
        raise UsageError(f"the folder of the report {out!r} is a file; choose another --out")
    for folder in folders:
        if Path(folder).resolve() in (report, *report.parents):
            raise UsageError(f"the report {out!r} would be inside the image folder {folder!r}; choose another --out")


def _finish(reports: Mapping[str, Mapping[str, Any]], out: Path, as_json: bool) -> int:
    """Print the scores, write the summary of several benchmarks, and return the exit code."""
    from segvoc.evaluation.score_tables import score_table, write_summary

    whole = write_summary(out, reports) if len(reports) > 1 else next(iter(reports.values()))
    if as_json:
        # ASCII only, since standard output may have any encoding
        echo(strict_json(whole))
    else:
        echo(score_table(list(reports.values())))
        for folder in [out] if len(reports) == 1 else [out / name for name in reports]:
            echo(f"-> {folder / 'index.html'}")
    failed = sum(report["data"]["failed"] for report in reports.values())
    if failed:
        echo(f"segvoc: {counted(failed, 'image')} failed, the others were scored; the report lists them", err=True)
    return 1 if failed else 0
