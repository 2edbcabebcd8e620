"""What commands print, and hints at words that were meant otherwise."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from segvoc.progress import printable

if TYPE_CHECKING:
    pass
if TYPE_CHECKING:
    pass


def echo(text: object, *, err: bool = False, nl: bool = True) -> None:
    """Print a text to standard output or error; control characters of names in it are escaped."""
    click.echo(printable(str(text)), err=err, nl=nl)


_SEPARATORS = re.compile("[;|\t\n\uff1b\uff0c\u3001\u060c\u061b]")
"""What people write between words in place of a comma; the last five are Chinese, Japanese and Arabic."""


def word_hints(words: Sequence[str], *, from_file: bool = False, fills_image: bool = True) -> list[str]:
    """Hints about the words of a call, one line each; none for most calls.

    Args:
        words: the class names, as they were read.
        from_file: they are from a file with one class a line, in which commas separate synonyms.
        fills_image: every pixel gets one of the words, since there is neither a background nor a threshold.
    """
    hints = [_separator_hint(word, from_file) for word in words if _SEPARATORS.search(word)]
    if hints or len(words) != 1 or not fills_image:
        return hints
    (word,) = words
    if from_file and ", " in word:
        return [f'"{word}" is a single class with synonyms; to make these classes of their own, write one a line']
    return [
        f'"{word}" is the only word, so every pixel gets it; add more words, or let pixels that don\'t fit go without: '
        "--background other, or --threshold 0.5"
    ]


def show_hints(hints: Sequence[str]) -> None:
    """Print hints to standard error, each as one line."""
    for hint in hints:
        echo(f"segvoc: hint: {' '.join(hint.split())}", err=True)


def _separator_hint(word: str, from_file: bool) -> str:
    if from_file:
        return f'"{word}" is taken as a single class; write one class a line'
    listed = ", ".join(filter(None, (name.strip() for name in _SEPARATORS.split(word))))
    return f'"{word}" is taken as a single word; separate words with commas: "{listed}"'
