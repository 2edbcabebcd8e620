"""`segvoc analyze compare`: two networks, or two settings of one, side by side on an image."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from segvoc.analysis.requirements import require_matplotlib
from segvoc.cli.model_options import ModelOptions, model_options
from segvoc.cli.view_options import ViewOptions, view_options
from segvoc.errors import UsageError
from segvoc.inference.window_names import WINDOWS, Window
from segvoc.vocabulary import Vocabulary

if TYPE_CHECKING:
    from segvoc.inference.segmentation import Segmentation
    from segvoc.models.network_segmenter import NetworkSegmenter


@click.command()
@click.argument("image")
@view_options
@model_options
@click.option("--other", metavar="NAME", help="The second model; by default the first with other settings.")
@click.option(
    "--other-weights", metavar="FILE", help="Its weights; by default those of the first, if it is the same model."
)
@click.option(
    "--other-set", "other_options", multiple=True, metavar="NAME=VALUE", help="Its options, instead of those in --set."
)
@click.option("--other-window", type=click.Choice(WINDOWS), help="Its --window; by default that of the first.")
@click.option("--other-keep-classes", metavar="P", help="Its --keep-classes; by default that of the first.")
def compare(
    image: str,
    other: str | None,
    other_weights: str | None,
    other_options: Sequence[str],
    other_window: Window | None,
    other_keep_classes: str | None,
    view: ViewOptions,
    chosen: ModelOptions,
) -> None:
    """Segment IMAGE with two networks and draw the results side by side (PCA-Seg, Figs. 1a and 4).

    \b
    segvoc analyze compare photo.jpg --words "truck, runway" --model parallel.safetensors --other serial.safetensors

    Writes compare.png (the image, both label maps, where they differ, both confidences) and compare.json.
    """
    vocabulary = view.vocabulary([image])
    second = replace(
        chosen,
        weights=other_weights or (chosen.weights if other is None else None),
        options=tuple(other_options),
        window=other_window or chosen.window,
        keep_classes=other_keep_classes or chosen.keep_classes,
    )
    model = other or view.model
    if (model, second) == (view.model, chosen):
        raise UsageError("both networks are the same; give --other, --other-weights, --other-set or --other-window")
    require_matplotlib()
    from segvoc.analysis.disagreement import Disagreement  # here, since PyTorch takes seconds to import

    variants = ((view.model, chosen), (model, second))
    first = chosen.load(view.model)
    same = (model, second.weights, second.options) == (view.model, chosen.weights, chosen.options)
    segmenters = (first, first if same else second.load(model))
    results = [
        _segment(segmenter, options, image, vocabulary)
        for segmenter, options in zip(segmenters, (chosen, second), strict=True)
    ]
    found = Disagreement(
        first=results[0], second=results[1], names=(_name(*variants[0], second), _name(*variants[1], chosen))
    )
    metadata = view.metadata([image], vocabulary, chosen)
    other_metadata = replace(view, model=model).metadata([image], vocabulary, second)
    keys = ("model", "weights", "options", "window")
    metadata |= {"other": {key: other_metadata[key] for key in keys}}
    found.write(view.folder, metadata)
    click.echo(f"{view.folder / 'compare.png'}: {found.differing.mean():.1%} of the pixels differ")


def _segment(
    segmenter: "NetworkSegmenter", options: ModelOptions, image: str, vocabulary: Vocabulary
) -> "Segmentation":
    return segmenter.segment(
        image,
        vocabulary,
        window=options.window,
        keep_classes=options.kept,
        background=options.background,
        threshold=options.threshold,
    )


def _name(model: str, options: ModelOptions, other: ModelOptions) -> str:
    """A model's name, with the settings in which it differs from the other."""
    words = [model, *options.options]
    if options.weights != other.weights and options.weights is not None:
        words.append(options.weights)
    if options.window != other.window:
        words.append(f"window={options.window}")
    if options.keep_classes != other.keep_classes:
        words.append(f"keep-classes={options.keep_classes or 'own'}")
    return " ".join(words)
