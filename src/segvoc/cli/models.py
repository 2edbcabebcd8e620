"""`segvoc models`: the names that `--model` takes."""

from typing import TYPE_CHECKING

import click

from segvoc.cli.output import echo

if TYPE_CHECKING:
    from segvoc.models.presets import Preset


@click.command()
def models() -> None:
    """List the models that can be named: which are ready, which are fetched at first use, which must be trained."""
    from segvoc.models.presets import PRESETS  # here, since PyTorch takes seconds to import

    width = max(map(len, PRESETS))
    for name, preset in PRESETS.items():
        echo(f"{name:{width}}  {preset.summary} ({summary_of_weights(preset)})")


def summary_of_weights(preset: "Preset", *, here: bool = True) -> str:
    """Whether a model is ready, fetched at first use, or must be trained or given, in a few words.

    Args:
        preset: the model.
        here: whether to consider what this machine's cache holds.
    """
    from segvoc.checkpoints.fetching import cached

    if preset.shipped:
        return "ready: weights ship"
    if preset.published is not None:
        if here and cached(preset.published) is not None:
            return "ready: weights are fetched"
        return f"fetched at first use: {preset.published.size_text}"
    if preset.fetched_encoders:
        names = " and ".join(file.name for file in preset.fetched_encoders)
        return f"train it, which fetches {names}, or give weights"
    return "train it from encoders that you give, or give weights"
