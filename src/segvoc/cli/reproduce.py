"""`segvoc reproduce`: published weights on the benchmarks of their papers, with a verdict."""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from segvoc.cli.benchmark_names import SeveralBenchmarks, refuse_twice
from segvoc.errors import UsageError
from segvoc.progress import print_line
from segvoc.storage.json_files import strict_json


@click.command(cls=SeveralBenchmarks)
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Every model with published weights and scores (with --benchmark also those without scores).",
)
@click.option(
    "--benchmark",
    "benchmarks",
    multiple=True,
    metavar="NAME...",
    help="Only these benchmarks; by default those with published scores.",
)
@click.option("--data", required=True, metavar="ROOT", help="The data folder, as for `segvoc prepare`.")
@click.option("--out", required=True, metavar="REPORT", help="Folder of the report; an unfinished one is continued.")
@click.option("--device", default="auto", show_default=True, metavar="DEVICE", help="auto, cpu, cuda, cuda:1, ...")
@click.option("--jobs", type=int, metavar="N", help="Processes that prepare downloads; by default one per core.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one line of JSON.")
def reproduce(
    names: Sequence[str],
    everything: bool,
    benchmarks: Sequence[str],
    data: str,
    out: str,
    device: str,
    jobs: int | None,
    as_json: bool,
) -> int:
    """Evaluate published weights of the models NAME by their papers' protocol, beside the published scores.

    First it says which benchmarks are prepared in ROOT, which are downloaded (and prepares them), and which are
    missing, with where to get them. Then it fetches the weights, verifies their SHA-256, and evaluates, in float32. The
    report has a page, index.html, with a verdict for each benchmark: whether our score is within 0.1 mIoU of the
    published one. If you stop the command, run it again to go on. Under torchrun, the processes share the images.

    Exit codes: 0 if all that ran is within 0.1 (or has no published score); 1 if a score isn't, if images are missing
    or damaged, or if a benchmark that you named can't be run; 2 if nothing can be run.
    """
    if bool(names) == everything:
        raise UsageError("give names of models, for example cat-seg-b, or --all")
    refuse_twice(benchmarks)
    if jobs is not None and jobs < 1:
        raise UsageError(f"--jobs {jobs} is not a number of processes; give 1 or more")
    if Path(out).exists() and not Path(out).is_dir():
        raise UsageError(f"the folder of the report {out!r} is a file; choose another --out")
    from segvoc.distributed import join_processes
    from segvoc.evaluation.reproduction.report import verdict_table
    from segvoc.evaluation.reproduction.reproduce import ReproductionCall, reproducible, with_scores
    from segvoc.evaluation.reproduction.reproduce import reproduce as run  # here, since PyTorch takes seconds to import

    call = ReproductionCall(
        names=tuple(dict.fromkeys(names)) or (reproducible() if benchmarks else with_scores()),
        benchmarks=tuple(benchmarks),
        data=Path(data),
        out=Path(out),
        device=device,
        jobs=jobs or os.cpu_count() or 1,
        command=shlex.join(["segvoc", *sys.argv[1:]]),
    )
    with join_processes("gloo") as processes:
        content = run(call, processes, print_line)
    if not processes.first:
        return 0
    if as_json:
        # ASCII only, since standard output may have any encoding
        click.echo(strict_json(content))
    else:
        click.echo(verdict_table(content))
        page = call.out / "index.html"  # only written if jinja2 is installed
        click.echo(f"-> {page if page.exists() else call.out / 'report.json'}")
    failed = [f"{model['name']}: {line}" for model in content["models"] for line in model["failures"]]
    for line in failed:
        click.echo(f"segvoc: {line}", err=True)
    return 1 if failed else 0
