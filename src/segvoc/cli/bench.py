"""`segvoc bench`: what this machine does, and which settings to take."""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segvoc.analysis.requirements import require_matplotlib
from segvoc.cli.options import ModelOptions, label_options, model_options
from segvoc.cli.output import echo
from segvoc.errors import UsageError
from segvoc.inference.label_options import LabelOptions
from segvoc.progress import Progress, print_line
from segvoc.storage.json_files import strict_json, write_json

if TYPE_CHECKING:
    from segvoc.analysis.machine_speed.measurement import Bench


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("--words", default="20,171,1000", metavar="N,...", help="Vocabulary sizes to measure.")
@click.option("--size", default="640x480", metavar="WxH", help="Width and height of the images.")
@click.option("--seconds", type=float, default=120, metavar="S", help="Total time; rows that don't fit are skipped.")
@click.option(
    "--threads", type=click.IntRange(min=1), metavar="N", help="CPU threads; by default as many as other commands use."
)
@model_options("options", "device")
@label_options("window")
@click.option("--out", metavar="FOLDER", help="Also write bench.json and bench.png to this folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as one line of JSON.")
def bench(
    models: Sequence[str],
    words: str,
    size: str,
    seconds: float,
    threads: int | None,
    out: str | None,
    as_json: bool,
    chosen: ModelOptions,
    labels: LabelOptions,
) -> int:
    """Measure what each MODEL (by default tiny) does on this machine, and recommend settings.

    Measures seconds per image, images per second and peak memory for each vocabulary size, in float32 and bfloat16;
    then the effect of keeping few classes, of fewer threads, of several processes and, on a GPU, of batches. It
    labels a drawn image from memory to label map; words are encoded beforehand. Nothing is downloaded: models
    without weights on this machine get random ones, which take about the same time.

    Exit codes: 0 if every row was measured or skipped, 1 if one failed, for example because memory ran out.
    """
    started = time.monotonic()
    names = tuple(dict.fromkeys(models)) or ("tiny",)
    numbers = tuple(sorted(set(_numbers(words, ",", "--words", "20,171"))))
    shape = _size(size)
    if not 0 < seconds < math.inf:
        raise UsageError(f"--seconds {seconds:g} is not enough time to measure; give more than 0, for example 120")
    if out is not None and Path(out).exists() and not Path(out).is_dir():
        raise UsageError(f"the folder of the results {out!r} is a file; choose another --out")
    if out is not None:
        require_matplotlib()
    import torch  # here, since PyTorch takes seconds to import

    from segvoc.analysis.machine_speed.machine import Machine
    from segvoc.analysis.machine_speed.measurement import Bench
    from segvoc.analysis.machine_speed.rows import BenchSettings
    from segvoc.models.loading import find_device

    settings = BenchSettings(
        models={name: _needs_random_weights(name, chosen, labels) for name in names},
        words=numbers,
        size=shape,
        window=labels.window,
        options=chosen.departures(),
        seconds=seconds,
    )
    machine = Machine.of(find_device(chosen.device), threads or torch.get_num_threads())
    if machine.is_busy:
        told = f"other programs are using this machine (load {machine.load:.1f}): times are too long"
        print_line(f"segvoc: warning: {told}")
    complete = False
    with Bench(settings, machine, started=started) as measurement:
        try:
            _measure(measurement)
            complete = True
        except KeyboardInterrupt:
            if not measurement.rows:
                raise  # otherwise what was measured is shown first
    _show(measurement, time.monotonic() - started, out, complete=complete, as_json=as_json)
    if not complete:
        raise KeyboardInterrupt
    failed = [row for row in measurement.rows if row.status == "failed"]
    for row in failed:
        echo(f"segvoc: error: {row.case}: {row.note}", err=True)
    return 1 if failed else 0


def _measure(measurement: "Bench") -> None:
    """Measure all rows, with a bar that says which one is under way."""
    total = len(measurement.settings.models) * measurement.rows_of_a_model
    with Progress("measuring", total=total, unit="row") as progress:
        measurement.on_case = lambda case: progress.update(0, note=str(case))
        measurement.on_row = lambda row: progress.update()
        measurement.measure()
        progress.total = len(measurement.rows)  # it was the most that there could be


def _show(measurement: "Bench", seconds: float, out: str | None, *, complete: bool, as_json: bool) -> None:
    """Print the results, and write them where --out is given."""
    from segvoc.analysis.machine_speed.report import draw_figure, record_of, text_of

    record = record_of(measurement, seconds, complete=complete)
    # JSON in ASCII only, since standard output may have any encoding
    echo(strict_json(record) if as_json else text_of(measurement))
    if out is not None:
        write_json(Path(out) / "bench.json", record)
        draw_figure(Path(out) / "bench.png", measurement.rows, measurement.machine)
        echo(f"-> {Path(out) / 'bench.png'}", err=as_json)


def _numbers(text: str, separator: str, option: str, example: str) -> tuple[int, ...]:
    """Whole numbers from 1."""
    parts = [part.strip() for part in text.split(separator)]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"{option} {text!r} is invalid; give numbers from 1, for example {example}")
    return tuple(map(int, parts))


def _size(text: str) -> tuple[int, int]:
    """Width and height."""
    sides = _numbers(text.lower(), "x", "--size", "640x480")
    if len(sides) != 2:
        raise UsageError(f"--size {text!r} is not a width and a height; give both, for example 640x480")
    return sides[0], sides[1]


def _needs_random_weights(name: str, chosen: ModelOptions, labels: LabelOptions) -> bool:
    """Whether a model's weights aren't on this machine."""
    from segvoc.checkpoints.fetching import cached
    from segvoc.models.loading import named_model

    file, preset, configuration = named_model(name, chosen.departures())
    windows = preset.protocols_of(configuration)
    if labels.window not in windows:
        raise UsageError(f"--window {labels.window} is unknown to {name}; it is one of {', '.join(windows)}")
    if file is not None or preset.shipped:
        return False
    return preset.published is None or cached(preset.published) is None
