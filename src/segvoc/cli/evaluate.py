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
from segvoc.errors import UsageError
from segvoc.inference.label_options import IMAGE_OPTIONS, LabelKeywords, LabelOptions
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
@click.option("--images", metavar="FOLDER", help="Your own images, including sub-folders.")
@click.option(
    "--labels", metavar="FOLDER", help="Their label maps, with the same names: PNG or TIFF; 255 or 65535 is ignored."
)
@click.option("--classes", metavar="FILE", help="The class names in label order: one per line, or JSON.")
@dataset_options
@click.option("--object", "owner", metavar="NAME", help='The classes are parts of it: "door" means "car\'s door".')
@click.option("--out", required=True, metavar="FOLDER", help="Folder for the report; an unfinished report is resumed.")
@model_options(*NETWORK_OPTIONS, "network", "taught")
@given_options(*IMAGE_OPTIONS)
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
    images: str | None,
    labels: str | None,
    classes: str | None,
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
    background = LabelOptions(**given).background
    if not dataset.paths:
        _check_sources(benchmarks, data, {"--images": images, "--labels": labels, "--classes": classes}, background)
    if benchmarks and dataset.stretch is not None:
        raise UsageError("--stretch is for your own images; leave it out")
    others = {"--benchmark": benchmarks, "--data": data, "--labels": labels, "--classes": classes, "--object": owner}
    dataset.refuse_beside(others)
    if owner is not None and benchmarks:
        raise UsageError("--object is for your own images; benchmarks define their classes; leave it out")
    _refuse_writing_among([folder for folder in (images, labels, *dataset.paths) if folder], out)
    own_dataset = dataset.read(images, background)
    from segvoc.evaluation.report import origin_of
    from segvoc.evaluation.runner import evaluate  # here, since PyTorch takes seconds to import
    from segvoc.evaluation.task import EvaluationSettings, EvaluationTask
    from segvoc.runtime.distributed import join_processes

    if own_dataset is not None:
        tasks = [replace(EvaluationTask.of_images(own_dataset), source=dataset.record())]
    elif images and labels and classes:
        task = EvaluationTask.of_folders(images, labels, classes, background=background, owner=owner)
        tasks = [replace(task, images=dataset.stretched(task.images))]
    else:
        # open all before evaluating the first, to report an unprepared benchmark at once
        tasks = [EvaluationTask.of_benchmark(name, data_root(data, DATA_NEEDED)) for name in benchmarks]
    settings = EvaluationSettings(options=given, limit=limit, substring_guide=substring_guide)
    origin = origin_of(model, chosen.weights, chosen.departures())
    reports: dict[str, dict[str, Any]] = {}
    with join_processes("gloo") as processes:
        segmenter = chosen.load(model, processes.own_device(chosen.device))
        for task in tasks:
            folder = Path(out) if len(tasks) == 1 else Path(out) / task.name
            reports[task.name] = evaluate(
                segmenter, task, folder, settings, origin=origin, processes=processes, shown=True
            )
    if not processes.first:
        return 0
    return _finish(reports, Path(out), as_json)


def _check_sources(
    benchmarks: Sequence[str], data: str | None, own: Mapping[str, str | None], background: str | None
) -> None:
    """Check that either benchmarks with --data are given, or images with labels and classes."""
    given = [name for name, value in own.items() if value is not None]
    if benchmarks and given:
        raise UsageError(f"--benchmark and {given[0]} can't be combined; evaluate them in two calls")
    if benchmarks:
        data_root(data, DATA_NEEDED)
        if background is not None:
            raise UsageError("--background is for your own images; benchmarks define theirs; leave it out")
        refuse_twice(benchmarks)
    elif not given:
        raise UsageError(
            "nothing to evaluate; give --benchmark NAME --data ROOT, or your own --images, --labels and --classes"
        )
    elif missing := [name for name, value in own.items() if value is None]:
        raise UsageError(
            f"{given[0]} is given without {missing[0]}; your own images need --images, --labels, --classes"
        )
    elif data is not None:
        raise UsageError("--data is for benchmarks; name one with --benchmark, or leave out --data")


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
    from segvoc.evaluation.report import score_table, write_summary

    whole = write_summary(out, reports) if len(reports) > 1 else next(iter(reports.values()))
    if as_json:
        # ASCII only, since standard output may have any encoding
        echo(strict_json(whole))
    else:
        echo(score_table(list(reports.values())))
        for folder in [out] if len(reports) == 1 else [out / name for name in reports]:
            echo(f"-> {folder / 'index.html'}")
    for report in reports.values():
        if report["data"]["absent"] is not None:
            echo(f"segvoc: {report['data']['absent']}", err=True)
    failed = sum(report["data"]["failed"] for report in reports.values())
    if failed:
        images = "1 image" if failed == 1 else f"{failed} images"
        echo(f"segvoc: {images} failed, the others were scored; the report lists them", err=True)
    return 1 if failed else 0
