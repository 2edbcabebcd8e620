"""`segvoc analyze compare`: two networks, or two settings of one, side by side on an image."""

from collections.abc import Sequence
from dataclasses import replace

import click

from segvoc.analysis.requirements import require_matplotlib
from segvoc.cli.options import ModelOptions, given_options, label_options, network_options
from segvoc.cli.output import echo
from segvoc.cli.view_options import ViewOptions, view_options
from segvoc.errors import UsageError
from segvoc.inference.label_options import IMAGE_OPTIONS, LabelKeywords, LabelOptions


@click.command()
@click.argument("image")
@view_options
@network_options
@label_options(*IMAGE_OPTIONS)
@click.option("--other", metavar="NAME", help="The second model; by default the first with other settings.")
@click.option(
    "--other-weights", metavar="FILE", help="Its weights; by default those of the first, if it is the same model."
)
@click.option(
    "--other-set", "other_options", multiple=True, metavar="NAME=VALUE", help="Its options, instead of those in --set."
)
@given_options(*(name for name in IMAGE_OPTIONS if name != "background"), prefix="other_")
def compare(
    image: str,
    other: str | None,
    other_weights: str | None,
    other_options: Sequence[str],
    view: ViewOptions,
    chosen: ModelOptions,
    labels: LabelOptions,
    given: LabelKeywords,
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
    )
    other_labels = LabelOptions.of(labels, given)
    model = other or view.model
    if (model, second, other_labels) == (view.model, chosen, labels):
        raise UsageError("both networks are the same; give --other, --other-weights, --other-set or --other-window")
    require_matplotlib()
    from segvoc.analysis.disagreement import Disagreement  # here, since PyTorch takes seconds to import

    variants = ((view.model, chosen, labels), (model, second, other_labels))
    first = chosen.load(view.model)
    same = (model, second.weights, second.options) == (view.model, chosen.weights, chosen.options)
    segmenters = (first, first if same else second.load(model))
    results = [
        segmenter.segment(image, vocabulary, options=options)
        for segmenter, options in zip(segmenters, (labels, other_labels), strict=True)
    ]
    names = _name(*variants[0], *variants[1][1:]), _name(*variants[1], *variants[0][1:])
    found = Disagreement(first=results[0], second=results[1], names=names)
    metadata = view.metadata([image], vocabulary, chosen, labels)
    other_metadata = replace(view, model=model).metadata([image], vocabulary, second, other_labels)
    keys = ("model", "weights", "options", *labels.record())
    metadata |= {"other": {key: other_metadata[key] for key in keys}}
    found.write(view.folder, metadata)
    echo(f"{view.folder / 'compare.png'}: {found.differing.mean():.1%} of the pixels differ")


def _name(
    model: str, options: ModelOptions, labels: LabelOptions, other: ModelOptions, other_labels: LabelOptions
) -> str:
    """A model's name, with the settings in which it differs from the other."""
    words = [model, *options.options]
    if options.weights != other.weights and options.weights is not None:
        words.append(options.weights)
    usual = other_labels.record()
    for name, value in labels.record().items():
        if value != usual[name]:
            words.append(f"{name.replace('_', '-')}={'own' if value is None else value}")
    return " ".join(words)
