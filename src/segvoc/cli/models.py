"""`segvoc models`: the names that `--model` takes."""

from importlib.util import find_spec

import click

from segvoc.checkpoints.published import PUBLISHED
from segvoc.cli.output import echo, example, show_hints
from segvoc.errors import Hint, install_line
from segvoc.models.catalog import ListedModel, catalog


@click.command("models", epilog=example("segvoc models"))
def models_command() -> None:
    """List the models: ready, fetched at first use, or to be trained."""
    listed = catalog().models
    width = max(map(len, listed))
    for name, model in listed.items():
        echo(f"{name:{width}}  {model.summary} ({summary_of_weights(model)})")
    if find_spec("torch") is None:
        show_hints([Hint((f"without PyTorch, tiny alone runs here; {install_line('torch')} brings it",))])


def summary_of_weights(model: ListedModel, *, here: bool = True) -> str:
    """Whether a model is ready, fetched at first use (`here`: unless cached here), or needs training or a file."""
    from segvoc.checkpoints.fetching import cached

    if model.ships:
        return "ready: weights ship"
    if model.published is not None:
        published = PUBLISHED[model.published]
        if here and cached(published) is not None:
            return "ready: weights are fetched"
        return f"fetched at first use: {published.size_text}"
    if model.fetches_encoders:
        return f"no published weights; train it (downloads {' and '.join(model.encoders)}) or pass --weights"
    return "no published weights; train it from encoders that you give, or pass --weights"
