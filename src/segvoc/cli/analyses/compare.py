"""`segvoc analyze compare`: two networks, or two ways of one, side by side on a picture."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from segvoc.cli.model_options import ModelOptions, model_options
from segvoc.cli.view_options import ViewOptions, view_options
from segvoc.errors import UsageError
from segvoc.inference.window_names import WINDOWS, Window
from segvoc.vocabulary import Vocabulary

if TYPE_CHECKING:
    from segvoc.inference.segmentation import Segmentation
    from segvoc.inference.segmenter import Segmenter


@click.command()
@click.argument("picture")
@view_options
@model_options
@click.option("--other", metavar="NAME", help="The second model; by default the first, in another way.")
@click.option("--other-weights", metavar="FILE", help="Its weights; by default the first's, if it is the same model.")
@click.option("--other-set", "other_options", multiple=True, metavar="NAME=VALUE", help="Its departures, all of them.")
@click.option("--other-window", type=click.Choice(WINDOWS), help="How it looks; by default as the first.")
@click.option("--other-keep-classes", metavar="P", help="As --keep-classes; by default as the first.")
def compare(
    picture: str,
    other: str | None,
    other_weights: str | None,
    other_options: Sequence[str],
    other_window: Window | None,
    other_keep_classes: str | None,
    asked: ViewOptions,
    chosen: ModelOptions,
) -> None:
    """Label PICTURE by two networks and draw both answers side by side (PCA-Seg, Figs. 1a and 4).

    \b
    segvoc analyze compare photo.jpg --words "truck, runway" --model parallel.safetensors --other serial.safetensors

    Writes compare.png (the picture, both label maps, where they differ, both confidences) and compare.json.
    """
    vocabulary = asked.vocabulary([picture])
    second = replace(
        chosen,
        weights=other_weights or (chosen.weights if other is None else None),
        options=tuple(other_options),
        window=other_window or chosen.window,
        keep_classes=other_keep_classes or chosen.keep_classes,
    )
    model = other or asked.model
    if (model, second) == (asked.model, chosen):
        raise UsageError("both networks are the same; give --other, --other-weights, --other-set or --other-window")
    from segvoc.analysis.disagreement import Disagreement  # here, since PyTorch takes seconds to import

    ways = ((asked.model, chosen), (model, second))
    first = chosen.load(asked.model)
    same = (model, second.weights, second.options) == (asked.model, chosen.weights, chosen.options)
    segmenters = (first, first if same else second.load(model))
    results = [
        _labelled(segmenter, way, picture, vocabulary)
        for segmenter, way in zip(segmenters, (chosen, second), strict=True)
    ]
    found = Disagreement(first=results[0], second=results[1], names=(_name(*ways[0], second), _name(*ways[1], chosen)))
    told = asked.told([picture], vocabulary, chosen)
    beside = replace(asked, model=model).told([picture], vocabulary, second)
    keys = ("model", "weights", "options", "window")
    told |= {"other": {key: beside[key] for key in keys}}
    found.write(asked.folder, told)
    click.echo(f"{asked.folder / 'compare.png'}: {found.differing.mean():.1%} of the pixels differ")


def _labelled(segmenter: "Segmenter", way: ModelOptions, picture: str, vocabulary: Vocabulary) -> "Segmentation":
    return segmenter.segment(
        picture,
        vocabulary,
        window=way.window,
        keep_classes=way.kept,
        background=way.background,
        threshold=way.threshold,
    )


def _name(model: str, way: ModelOptions, beside: ModelOptions) -> str:
    """A model's name, and what tells it from the one beside it."""
    parts = [model, *way.options]
    if way.weights != beside.weights and way.weights is not None:
        parts.append(way.weights)
    if way.window != beside.window:
        parts.append(f"window={way.window}")
    if way.keep_classes != beside.keep_classes:
        parts.append(f"keep-classes={way.keep_classes or 'own'}")
    return " ".join(parts)
