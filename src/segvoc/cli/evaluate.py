"""`segvoc evaluate`: scores on benchmarks or on labelled pictures of your own, with a report to send round."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from segvoc.cli.model_options import ModelOptions, model_options
from segvoc.errors import UsageError
from segvoc.evaluation.report.terminal import printable

if TYPE_CHECKING:
    from segvoc.distributed import Processes
    from segvoc.evaluation.outcome import Origin
    from segvoc.evaluation.task import Picture, Task


class _SeveralBenchmarks(click.Command):
    """A command whose --benchmark takes all names that follow it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Write the option before each name, as click wants it."""
        spread: list[str] = []
        within = False
        for argument in args:
            if within and not argument.startswith("-") and spread[-1] != "--benchmark":
                spread.append("--benchmark")
            elif argument.startswith("-"):
                within = argument.partition("=")[0] == "--benchmark"
            spread.append(argument)
        return super().parse_args(ctx, spread)


@click.command(cls=_SeveralBenchmarks)
@click.argument("model", metavar="MODEL")
@click.option(
    "--benchmark", "benchmarks", multiple=True, metavar="NAME...", help="Benchmarks that `segvoc prepare` made ready."
)
@click.option("--data", metavar="ROOT", help="The folder that they were prepared in.")
@click.option("--images", metavar="FOLDER", help="Pictures of your own, sub-folders included.")
@click.option(
    "--labels", metavar="FOLDER", help="Their label maps by the same names: PNG or TIFF, 255 or 65535 ignored."
)
@click.option("--classes", metavar="FILE", help="The names of the labels: a JSON list, in label order.")
@click.option("--object", "owner", metavar="NAME", help='The classes are parts of it: "door" is "car\'s door".')
@click.option("--out", required=True, metavar="FOLDER", help="Where the report goes; an unfinished one is continued.")
@model_options
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Evaluate the first N pictures.")
@click.option("--boundary", is_flag=True, help="The boundary F-score too; takes its time.")
@click.option("--substring-guide", is_flag=True, help="Oracle-Obj as published: 'door' lets \"car's door\" answer.")
@click.option("--random-substitution", is_flag=True, help="Parts as published: records without one stand for others.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one line of JSON.")
def evaluate(
    model: str,
    benchmarks: Sequence[str],
    data: str | None,
    images: str | None,
    labels: str | None,
    classes: str | None,
    owner: str | None,
    out: str,
    limit: int | None,
    boundary: bool,
    substring_guide: bool,
    random_substitution: bool,
    as_json: bool,
    chosen: ModelOptions,
) -> int:
    """Score MODEL on benchmarks (--benchmark, --data) or on pictures of your own (--images, --labels, --classes).

    Writes to the report's folder: report.json, classes.csv, row.md (for a paper) and index.html (to look at); for
    several benchmarks, a folder each. Stopped and called again, it goes on where it was. Under torchrun, every process
    does its share.
    """
    kept = chosen.kept
    _check_sources(benchmarks, data, images, labels, classes, chosen.background)
    if owner is not None and benchmarks:
        raise UsageError("--object is for pictures of your own; a benchmark names its classes, leave it out")
    _refuse_writing_among([folder for folder in (images, labels) if folder], out)
    from segvoc.distributed import join_processes
    from segvoc.evaluation.runner import evaluate as run  # here, since PyTorch takes seconds to import
    from segvoc.evaluation.task import Settings, Task

    if images and labels and classes:
        tasks = [Task.of_folders(images, labels, classes, background=chosen.background, owner=owner)]
    else:
        tasks = _benchmark_tasks(benchmarks, data or "")
    settings = Settings(
        window=chosen.window,
        keep_classes=kept,
        threshold=chosen.threshold,
        limit=limit,
        boundary=boundary,
        substring_guide=substring_guide,
        random_substitution=random_substitution,
    )
    origin = _origin(model, chosen)
    reports: dict[str, dict[str, Any]] = {}
    with join_processes("gloo") as processes:
        segmenter = chosen.load(model, _device(chosen.device, processes))
        for task in tasks:
            folder = Path(out) if len(tasks) == 1 else Path(out) / task.name
            with _Progress(task, processes) as progress:
                report = run(
                    segmenter,
                    task,
                    folder,
                    settings,
                    origin=origin,
                    processes=processes,
                    begun=progress.begun,
                    said=progress.done,
                )
            if report is not None:
                reports[task.name] = report
    if not processes.first:
        return 0
    return _told(reports, Path(out), as_json)


def _check_sources(
    benchmarks: Sequence[str],
    data: str | None,
    images: str | None,
    labels: str | None,
    classes: str | None,
    background: str | None,
) -> None:
    """Either benchmarks with their root, or pictures with labels and classes.

    Raises: UsageError: neither, both, or half of one.
    """
    own = {"--images": images, "--labels": labels, "--classes": classes}
    given = [name for name, value in own.items() if value is not None]
    if benchmarks and given:
        raise UsageError(f"--benchmark and {given[0]} are two sets of pictures; evaluate them in two calls")
    if benchmarks:
        if data is None:
            raise UsageError("--benchmark needs --data ROOT, the folder that `segvoc prepare` worked in")
        if background is not None:
            raise UsageError("--background is for pictures of your own; a benchmark brings its rule, leave it out")
        if twice := [name for name in benchmarks if benchmarks.count(name) > 1]:
            raise UsageError(f"the benchmark {twice[0]!r} is given twice; name it once")
    elif not given:
        raise UsageError(
            "no pictures are given; give --benchmark NAME --data ROOT, or --images, --labels and --classes of your own"
        )
    elif missing := [name for name, value in own.items() if value is None]:
        raise UsageError(f"{given[0]} is given without {missing[0]}; pictures of your own need all three")
    elif data is not None:
        raise UsageError("--data is the root of benchmarks; name one with --benchmark, or leave it out")


def _refuse_writing_among(folders: Sequence[str], out: str) -> None:
    """Check that the report's pictures won't be among those that are evaluated.

    Raises: UsageError: they would, or the report's folder is a file.
    """
    report = Path(out).resolve()
    if report.exists() and not report.is_dir():
        raise UsageError(f"the report's folder {out!r} is a file; choose another --out")
    for folder in folders:
        if Path(folder).resolve() in (report, *report.parents):
            raise UsageError(f"the report {out!r} would lie among the pictures of {folder!r}; choose another --out")


def _benchmark_tasks(names: Sequence[str], root: str) -> list["Task"]:
    """All of them before any is evaluated, so that one that isn't ready is told at once."""
    from segvoc.data.benchmarks import find_benchmark
    from segvoc.evaluation.task import Task

    return [Task.of_benchmark(benchmark, root) for benchmark in [find_benchmark(name) for name in names]]


def _device(device: str, processes: "Processes") -> str:
    """A GPU of its own for each process of a machine."""
    import torch

    if processes.count == 1 or device not in ("auto", "cuda") or not torch.cuda.is_available():
        return device
    return f"cuda:{int(os.environ.get('LOCAL_RANK', processes.rank)) % torch.cuda.device_count()}"


def _origin(model: str, chosen: ModelOptions) -> "Origin":
    """What the report tells of the weights."""
    from segvoc.checkpoints.files import read_header
    from segvoc.evaluation.outcome import Origin
    from segvoc.models.loading import is_own_path, named_preset
    from segvoc.models.presets import find_preset

    departures = chosen.departures()
    if is_own_path(model):
        return Origin(preset=named_preset(read_header(model)), weights=model, options=departures)
    published = chosen.weights is None and find_preset(model).published is not None
    own = "published by the authors" if published else "shipped with segvoc"
    return Origin(preset=model, weights=chosen.weights or own, published=published, options=departures)


class _Progress:
    """A bar for people, and a line for each picture that failed; processes but the first show no bar."""

    def __init__(self, task: "Task", processes: "Processes") -> None:
        silent = True if processes.rank else None
        self._bar = tqdm(desc=printable(task.title), unit="picture", disable=silent, leave=False)

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def begun(self, left: int) -> None:
        """How many pictures there are for this process."""
        self._bar.reset(left)

    def done(self, _: "Picture", problem: str | None) -> None:
        """One picture more; called from several threads."""
        if problem is not None:
            tqdm.write(f"segvoc: error: {problem}", file=sys.stderr)
        self._bar.update()


def _told(reports: Mapping[str, Mapping[str, Any]], out: Path, as_json: bool) -> int:
    """Print the scores, and for several benchmarks write their summary; the exit code."""
    from segvoc.evaluation.report.summary import score_table, summary, write_summary

    whole = summary(reports)
    if len(reports) > 1:
        write_summary(out, whole, list(reports.values()))
    if as_json:
        # ASCII alone, since standard output may have any encoding
        click.echo(json.dumps(whole if len(reports) > 1 else next(iter(reports.values())), allow_nan=False))
    else:
        click.echo(score_table(list(reports.values())))
        pages = [out / "index.html"] if len(reports) == 1 else [out / name / "index.html" for name in reports]
        click.echo("\n".join(f"-> {page}" for page in pages))
    failed = sum(report["data"]["failed"] for report in reports.values())
    if failed:
        click.echo(f"segvoc: {failed} pictures failed, the others are scored; the report names them", err=True)
    return 1 if failed else 0
