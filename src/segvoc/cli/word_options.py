"""Options of commands that take words."""

from collections.abc import Callable
from typing import Any

import click

from segvoc.errors import UsageError
from segvoc.vocabulary import PartVocabulary, Vocabulary


def word_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --words and --words-file to a command, as `words` and `words_file`."""
    listed = click.option(
        "--words", metavar="WORDS", help='One word for each class, separated by commas: "cat, sofa, wall".'
    )
    filed = click.option(
        "--words-file", metavar="FILE", help="A text file with one class per line; commas separate synonyms."
    )
    return listed(filed(function))


def part_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --parts and --parts-file to a command, as `parts` and `parts_file`."""
    listed = click.option(
        "--parts",
        metavar="PARTS",
        help='Objects and their parts: "dog: head, leg; cat: head"; "*: head" is the head of any object.',
    )
    filed = click.option(
        "--parts-file", metavar="FILE", help='A JSON file with the parts: {"dog": ["head", "leg"], "cat": []}.'
    )
    return listed(filed(function))


def parts_of(parts: str | None, parts_file: str | None) -> PartVocabulary | None:
    """The parts from either option; None if neither is given.

    Raises:
        UsageError: Both are given, or the parts can't be read.
    """
    if parts is not None and parts_file is not None:
        raise UsageError("both --parts and --parts-file are given; give one of them")
    if parts_file is not None:
        return PartVocabulary.read(parts_file)
    return None if parts is None else PartVocabulary.parse(parts)


def vocabulary_of(words: str | None, words_file: str | None) -> Vocabulary:
    """The words from either option.

    Raises:
        UsageError: Both or neither are given, or the words can't be read.
    """
    if words is not None and words_file is not None:
        raise UsageError("both --words and --words-file are given; give one of them")
    if words_file is not None:
        return Vocabulary.read(words_file)
    if words is None:
        raise UsageError('no words are given; give some: --words "cat, sofa, wall" or --words-file FILE')
    return Vocabulary.parse(words)
