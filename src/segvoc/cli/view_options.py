"""Options of the commands that draw a network's intermediate maps: words, model and output folder."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from segvoc.cli.options import ModelOptions
from segvoc.cli.word_options import vocabulary_of, word_options
from segvoc.errors import UsageError
from segvoc.inference.label_options import LabelOptions
from segvoc.version import __version__
from segvoc.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class ViewOptions:
    """Values of the options that `view_options` adds."""

    words: str | None
    words_file: str | None
    model: str
    out: str

    @property
    def folder(self) -> Path:
        """Folder of the results."""
        return Path(self.out)

    def vocabulary(self, images: Sequence[str]) -> Vocabulary:
        """Read the words, and check the output folder before a network is loaded.

        Raises:
            UsageError: there are no words, or the results could overwrite an image.
        """
        for image in images:
            if Path(image).resolve().parent == self.folder.resolve() and Path(image).suffix.lower() == ".png":
                raise UsageError(f"results could overwrite {image!r}, which is in {self.out!r}; choose another --out")
        return vocabulary_of(self.words, self.words_file)

    def metadata(
        self, images: Sequence[str], vocabulary: Vocabulary, chosen: ModelOptions, labels: LabelOptions
    ) -> dict[str, object]:
        """All that a figure depends on, for the JSON file beside it."""
        return {
            "segvoc": __version__,
            "images": list(images),
            "words": list(vocabulary.words),
            "model": self.model,
            "weights": chosen.weights,
            "options": dict(chosen.departures()),
            **labels.record(),
        }


def view_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command, which gets their values as its argument `view`."""

    @functools.wraps(function)
    def with_options(*, words: str | None, words_file: str | None, model: str, out: str, **given: Any) -> Any:
        view = ViewOptions(words=words, words_file=words_file, model=model, out=out)
        return function(**given, view=view)

    model = click.option(
        "--model", default="tiny", show_default=True, metavar="NAME", help="A preset, or a .safetensors file of segvoc."
    )
    out = click.option("--out", default="out", show_default=True, metavar="FOLDER", help="Folder for the results.")
    return word_options(model(out(with_options)))
