"""What the commands that look into a network share: words, a model, and the folder of the results."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from segvoc import __version__
from segvoc.cli.model_options import ModelOptions
from segvoc.cli.word_options import vocabulary_of, word_options
from segvoc.errors import UsageError
from segvoc.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class ViewOptions:
    """What `view_options` reads from the command line."""

    words: str | None
    words_file: str | None
    model: str
    out: str

    @property
    def folder(self) -> Path:
        """Where the results go."""
        return Path(self.out)

    def vocabulary(self, pictures: Sequence[str]) -> Vocabulary:
        """The words; before any network is loaded, the folder of the results is checked too.

        Raises: UsageError: there are none, or results could overwrite a picture.
        """
        for picture in pictures:
            if Path(picture).resolve().parent == self.folder.resolve() and Path(picture).suffix.lower() == ".png":
                raise UsageError(f"results are PNG files in {self.out!r}, where {picture!r} lies; choose another --out")
        return vocabulary_of(self.words, self.words_file)

    def told(self, pictures: Sequence[str], vocabulary: Vocabulary, chosen: ModelOptions) -> dict[str, object]:
        """What the figures depend on, for the JSON beside a picture."""
        return {
            "segvoc": __version__,
            "pictures": list(pictures),
            "words": list(vocabulary.words),
            "model": self.model,
            "weights": chosen.weights,
            "options": dict(chosen.departures()),
            "window": chosen.window,
        }


def view_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command these options, and their values as its argument `asked`."""

    @functools.wraps(function)
    def with_options(*, words: str | None, words_file: str | None, model: str, out: str, **given: Any) -> Any:
        asked = ViewOptions(words=words, words_file=words_file, model=model, out=out)
        return function(**given, asked=asked)

    model = click.option(
        "--model", default="tiny", show_default=True, metavar="NAME", help="A preset or a .safetensors of segvoc."
    )
    out = click.option("--out", default="out", show_default=True, metavar="FOLDER", help="Where the results go.")
    return word_options(model(out(with_options)))
