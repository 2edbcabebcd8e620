"""`segvoc prepare`: convert the original downloads of benchmarks to label maps."""

import os
from collections.abc import Sequence
from pathlib import Path

import click

from segvoc.cli.dataset_options import data_option, data_root
from segvoc.cli.output import echo, example
from segvoc.data.benchmarks import BENCHMARKS, Benchmark, Manifest, find_benchmark
from segvoc.data.preparation.prepare import check_preparation, prepare
from segvoc.errors import InputError, counted
from segvoc.runtime.progress import print_line


@click.command(
    "prepare",
    epilog=example(
        "segvoc prepare a-150 pc-59 --data datasets",
        more=f"Benchmarks: {', '.join(BENCHMARKS)}. See docs/how_to/benchmarks.md for their downloads.",
    ),
)
@click.argument("benchmarks", nargs=-1, required=True, metavar="BENCHMARK...")
@data_option("The data folder, with the downloads; label maps are written there too.")
@click.option("--jobs", type=click.IntRange(min=1), metavar="N", help="Number of processes; by default one per core.")
@click.option("--partial", "partial", is_flag=True, help="Prepare what was downloaded, even if images are missing.")
def prepare_command(benchmarks: Sequence[str], data: str | None, jobs: int | None, partial: bool) -> int:
    """Convert the original downloads of each BENCHMARK (archives, or unpacked) to label maps.

    Missing downloads are listed, with where to get and put them. If interrupted, run the same command again to resume;
    once everything is prepared, it does nothing.
    """
    chosen = [find_benchmark(name) for name in dict.fromkeys(benchmarks)]
    root = Path(data_root(data, "--data is missing; name the folder of your downloads with --data ROOT"))
    already = {one.name: check_preparation(one, root, allow_missing=partial) is not None for one in chosen}
    failures = 0
    for benchmark in chosen:
        try:
            manifest = prepare(
                benchmark,
                root,
                jobs=jobs or os.cpu_count() or 1,
                allow_missing=partial,
                on_failure=lambda message: print_line(f"segvoc: error: {message}"),
            )
        except InputError as error:
            # an archive is damaged; the other benchmarks can still be prepared
            failures += 1
            echo(f"segvoc: error: {error}", err=True)
            continue
        failures += len(manifest.failed)
        echo(_summary(benchmark, manifest, root, already=already[benchmark.name]))
    if failures:
        echo(f"segvoc: {counted(failures, 'image')} failed, the others were prepared", err=True)
    return 1 if failures else 0


def _summary(benchmark: Benchmark, manifest: Manifest, root: Path, *, already: bool) -> str:
    of = f" of {benchmark.image_count}" if manifest.partial and benchmark.image_count is not None else ""
    counts = [f"{len(manifest.records)}{of} {'records' if benchmark.parts else 'images'}"]
    for stems, state in ((manifest.left_out, "left out"), (manifest.missing, "missing"), (manifest.failed, "failed")):
        if stems:
            counts.append(f"{len(stems)} {state}")
    outcome = ": already prepared" if already else f" -> {root / benchmark.label_folder}"
    return f"{benchmark.name}: {', '.join(counts)}{outcome}"
