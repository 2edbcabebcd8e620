"""The options of commands that are given words."""

from collections.abc import Callable
from typing import Any

import click

from segvoc.errors import UsageError
from segvoc.vocabulary import Vocabulary


def word_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command --words and --words-file, as `words` and `words_file`."""
    listed = click.option(
        "--words", metavar="WORDS", help='One word for each class, separated by commas: "cat, sofa, wall".'
    )
    filed = click.option(
        "--words-file", metavar="FILE", help="A text file with one class a line; commas there separate synonyms."
    )
    return listed(filed(function))


def vocabulary_of(words: str | None, words_file: str | None) -> Vocabulary:
    """The words of either option.

    Raises: UsageError: both are given, or none, or they can't be read.
    """
    if words is not None and words_file is not None:
        raise UsageError("both --words and --words-file are given; give one of them")
    if words_file is not None:
        return Vocabulary.read(words_file)
    if words is None:
        raise UsageError('no words are given; give some: --words "cat, sofa, wall" or --words-file FILE')
    return Vocabulary.parse(words)
