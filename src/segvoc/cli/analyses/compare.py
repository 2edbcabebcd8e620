"""`segvoc analyze compare`: two networks, or two settings of one, side by side on an image."""

from collections.abc import Sequence
from dataclasses import replace

import click

from segvoc.cli.options import given_options
from segvoc.cli.output import echo
from segvoc.cli.view_options import ViewOptions, view_options
from segvoc.errors import UsageError
from segvoc.inference.label_options import IMAGE_OPTIONS, LabelKeywords, LabelOptions


@click.command()
@click.argument("image")
@view_options(*IMAGE_OPTIONS)
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
    given: LabelKeywords,
) -> None:
    """Segment IMAGE with two networks and draw the results side by side (PCA-Seg, Figs. 1a and 4).

    \b
    segvoc analyze compare photo.jpg --words "truck, runway" --model parallel.safetensors --other serial.safetensors

    Writes compare.png (the image, both label maps, where they differ, both confidences) and compare.json.
    """
    vocabulary = view.vocabulary([image])
    second = replace(
        view,
        model=other or view.model,
        chosen=replace(
            view.chosen,
            weights=other_weights or (view.chosen.weights if other is None else None),
            options=tuple(other_options),
        ),
        labels=LabelOptions.of(view.labels, given),
    )
    if second == view:
        raise UsageError("both networks are the same; give --other, --other-weights, --other-set or --other-window")
    from segvoc.analysis.disagreement import Disagreement  # here, since PyTorch takes seconds to import

    first = view.load()
    same = (second.model, second.chosen) == (view.model, view.chosen)
    results = [
        segmenter.segment(image, vocabulary, options=one.labels)
        for segmenter, one in ((first, view), (first if same else second.load(), second))
    ]
    names = _name(view, second), _name(second, view)
    found = Disagreement(first=results[0], second=results[1], names=names)
    other_metadata = second.metadata([image], vocabulary)
    keys = ("model", "weights", "options", *view.labels.record())
    metadata = view.metadata([image], vocabulary) | {"other": {key: other_metadata[key] for key in keys}}
    found.write(view.folder, metadata)
    echo(f"{view.folder / 'compare.png'}: {found.differing.mean():.1%} of the pixels differ")


def _name(view: ViewOptions, other: ViewOptions) -> str:
    """A model's name, with the settings in which it differs from the other."""
    words = [view.model, *view.chosen.options]
    if view.chosen.weights not in (None, other.chosen.weights):
        words.append(str(view.chosen.weights))
    usual = other.labels.record()
    for name, value in view.labels.record().items():
        if value != usual[name]:
            words.append(f"{name.replace('_', '-')}={'own' if value is None else value}")
    return " ".join(words)
