"""Options of the scripts that look into a network on an image: words, model, labeling and output folder."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from segvoc.cli import options
from segvoc.errors import UsageError
from segvoc.inference.label_options import LabelOptions
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.runtime.version import __version__
from segvoc.vocabulary import NO_WORDS, Vocabulary

out_option = click.option("--out", default="out", show_default=True, metavar="FOLDER", help="Folder for the results.")


@dataclass(frozen=True, kw_only=True)
class ViewOptions:
    """Values of the options that `view_options` adds."""

    words: options.WordOptions
    model: str
    out: str
    chosen: options.ModelOptions
    labels: LabelOptions

    @property
    def folder(self) -> Path:
        """Folder of the results."""
        return Path(self.out)

    def vocabulary(self, images: Sequence[str]) -> Vocabulary:
        """The words; raises `UsageError` if the results could overwrite an image."""
        for image in images:
            if Path(image).resolve().parent == self.folder.resolve() and Path(image).suffix.lower() == ".png":
                raise UsageError(f"results could overwrite {image!r}, which is in {self.out!r}; choose another --out")
        if (vocabulary := self.words.vocabulary()) is None:
            raise UsageError(NO_WORDS)
        return vocabulary

    def load(self) -> NetworkSegmenter:
        """Load the network."""
        return self.chosen.open_network(self.model)

    def metadata(self, images: Sequence[str], vocabulary: Vocabulary) -> dict[str, object]:
        """Everything that a figure depends on, for its JSON file."""
        return {
            "segvoc": __version__,
            "images": list(images),
            "words": list(vocabulary.words),
            "model": self.model,
            "weights": self.chosen.weights,
            "options": dict(self.chosen.departures()),
            **self.labels.record(),
        }


def view_options(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the options to a script's command, passed as its argument `view`.

    Args:
        names: fields of `LabelOptions`.
    """

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def with_options(*, words: options.WordOptions, model: str, out: str, **given: Any) -> Any:
            chosen, labels = given.pop("chosen"), given.pop("labels")
            view = ViewOptions(words=words, model=model, out=out, chosen=chosen, labels=labels)
            return function(**given, view=view)

        model = click.option("--model", default="tiny", metavar="NAME", help="A preset, or a segvoc .safetensors file.")
        of_network = options.model_options(*options.NETWORK_OPTIONS)(options.label_options(*names)(with_options))
        return options.word_options(model(out_option(of_network)))

    return add
