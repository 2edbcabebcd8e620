"""`segvoc analyze sweep`: scores for each value of a setting."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segvoc.analysis.requirements import require_matplotlib
from segvoc.cli.benchmark_options import data_option, data_root
from segvoc.cli.options import NETWORK_OPTIONS, ModelOptions, given_options, model_options
from segvoc.cli.output import echo
from segvoc.errors import UsageError
from segvoc.inference.label_options import IMAGE_OPTIONS, LabelKeywords

if TYPE_CHECKING:
    from segvoc.analysis.sweeps import Axis
    from segvoc.evaluation.result import ModelOrigin
    from segvoc.evaluation.task import EvaluationTask
    from segvoc.models.network_segmenter import NetworkSegmenter


@click.command()
@click.argument("model")
@click.option(
    "--vary",
    multiple=True,
    required=True,
    metavar="NAME=V,V",
    help="A setting and its values; repeat for more settings.",
)
@click.option("--images", metavar="FOLDER", help="Folder of your own images.")
@click.option("--labels", metavar="FOLDER", help="Folder of their label maps, with the same names.")
@click.option("--classes", metavar="FILE", help="Class names: a JSON list, in the order of the labels.")
@click.option(
    "--benchmark", metavar="NAME", help="A benchmark prepared by `segvoc prepare`, instead of your own images."
)
@data_option("Folder in which it was prepared.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Evaluate the first N images only.")
@click.option(
    "--out", required=True, metavar="FOLDER", help="Folder for reports and table; finished evaluations are kept."
)
@model_options(*NETWORK_OPTIONS)
@given_options(*IMAGE_OPTIONS)
def sweep(
    model: str,
    vary: Sequence[str],
    images: str | None,
    labels: str | None,
    classes: str | None,
    benchmark: str | None,
    data: str | None,
    limit: int | None,
    out: str,
    chosen: ModelOptions,
    given: LabelKeywords,
) -> None:
    """Score MODEL with each value of a setting (ERR-Seg, Tables 6 to 9, 11, 12, 14 and Fig. 6).

    \b
    segvoc analyze sweep err-seg-b --weights W --vary top=1,3,5 --vary decay=0.01,0.1,0.5 --vary keep_classes=16,32,all
        --images DIR --labels DIR --classes classes.json --out FOLDER

    A setting is an option of the network (as in --set) or of labels (keep_classes, window, threshold), or model (files,
    for options that need weights of their own). A benchmark is scored by its published protocol but for the setting
    that varies. Writes sweep.md, sweep.json, sweep.png and the report of every
    evaluation.
    """
    require_matplotlib()
    from segvoc.analysis.sweeps import Axis  # here, since PyTorch takes seconds to import
    from segvoc.analysis.sweeps import sweep as run
    from segvoc.evaluation.task import EvaluationSettings

    axes = [Axis.parse(text) for text in vary]
    settings = EvaluationSettings(options=given, limit=limit)
    _check(axes, model, chosen)
    task = _task(
        {"--images": images, "--labels": labels, "--classes": classes}, benchmark, data, given.get("background")
    )

    def load(other: str | None, options: Mapping[str, object]) -> tuple["NetworkSegmenter", "ModelOrigin"]:
        from segvoc.evaluation.result import origin_of
        from segvoc.models.loading import load_network

        name, weights = other or model, None if other else chosen.weights
        departures = {**chosen.departures(), **options}
        segmenter = load_network(name, weights=weights, device=chosen.device, dtype=chosen.dtype, options=departures)
        return segmenter, origin_of(name, weights, departures)

    run(load, task, axes, Path(out), settings, log=lambda line: echo(line, err=True))
    echo(f"{out}/sweep.md")


def _check(axes: Sequence["Axis"], model: str, chosen: ModelOptions) -> None:
    """Build each network without weights, to find unknown options before the first evaluation."""
    from segvoc.evaluation.task import EvaluationSettings
    from segvoc.models.loading import named_model
    from segvoc.models.weightless import weightless

    for axis in axes:
        for value in axis.values:
            _, options, _ = axis.changed(value, EvaluationSettings())
            if options:
                _, preset, configuration = named_model(model, {**chosen.departures(), **options})
                with weightless():
                    preset.build(configuration)


def _task(
    folders: Mapping[str, str | None], benchmark: str | None, data: str | None, background: str | None
) -> "EvaluationTask":
    from segvoc.data.benchmarks import find_benchmark
    from segvoc.evaluation.task import EvaluationTask

    images, labels, classes = folders.values()
    if benchmark is not None:
        if any(folders.values()) or background is not None:
            raise UsageError(
                "a benchmark has its own images and background; leave out --images, --labels, --classes, --background"
            )
        root = data_root(data, "--benchmark needs the folder in which it was prepared; give --data ROOT")
        return EvaluationTask.of_benchmark(find_benchmark(benchmark), root)
    if images is None or labels is None or classes is None or data is not None:
        raise UsageError("give --images, --labels and --classes, or --benchmark NAME and --data ROOT")
    return EvaluationTask.of_folders(images, labels, classes, background=background)
