"""Printing, and hints about words that probably mean something else."""

import os
import re
from collections.abc import Collection, Sequence

import click

from segvoc.runtime.progress import printable
from segvoc.vocabulary import folded


def echo(text: object, *, err: bool = False, nl: bool = True) -> None:
    """Print text to standard output or error, with control characters escaped."""
    click.echo(printable(str(text)), err=err, nl=nl)


_SEPARATORS = re.compile("[;|\t\n\uff1b\uff0c\u3001\u060c\u061b]")
"""Separators that people use instead of commas; the last five are Chinese, Japanese and Arabic."""


def word_hints(words: Sequence[str], *, from_file: bool = False, fills_image: bool = True) -> list[str]:
    """Hints about the class names of a call, one line each; usually empty.

    In words `from_file`, commas separate synonyms. `fills_image`: every pixel gets a word, since neither a background
    nor a threshold is set.
    """
    hints = [_separator_hint(word, from_file) for word in words if _SEPARATORS.search(word)]
    if fills_image and (none := [word for word in words if folded(word) == "background"]):
        hints.append(f'"{none[0]}" is a word like any other; for pixels of no other word: --background {none[0]}')
    if hints or len(words) != 1 or not fills_image:
        return hints
    (word,) = words
    if from_file and ", " in word:
        return [f'"{word}" is a single class with synonyms; for separate classes, write one per line']
    apart = f'; for separate words, use commas: "{", ".join(word.split())}"' if " " in word and not from_file else ""
    return [
        f'"{word}" is the only word, so pixels where it is unlikely are unlabeled; --threshold 0 gives it the whole '
        f"image{apart}"
    ]


def unquoted_hint(words: str, images: Sequence[str]) -> str | None:
    """A hint if the shell split an unquoted list of words (--words cat, sofa, wall), so that words became images."""
    strays = [name for name in images if not os.path.splitext(name)[1] and not os.path.lexists(name) and name != "-"]
    if not strays or len(strays) == len(images) or "," in words.rstrip(", "):
        return None
    listed = ", ".join(name.strip(" ,") for name in (words, *strays))
    return f'{strays[0]!r} is not an image; if it is a word, put quotes around the list: --words "{listed}"'


def model_hints(words: Collection[str], trained: Sequence[str]) -> list[str]:
    """Hints about the words of a call that a model, perhaps trained on a vocabulary, knows by other names."""
    asked = {folded(name.strip()) for word in words for name in word.split(",")}
    if trained:
        known = {folded(word) for word in trained}
        named = f"{', '.join(trained[:5])}{', ...' if len(trained) > 5 else ''}"
        return [] if not words or asked & known else [f"none of the words that this model was taught ({named}) is used"]
    hints = []
    for known, others in _SYNONYMS.items():
        meant = [f'"{name}"' for name in others.split(", ") if name in asked]
        if meant and known not in asked:
            hints.append(f'{" and ".join(meant)} may be missed; "{known}" works better')
    return hints


_SYNONYMS = {
    "person": "man, woman, boy, girl, child, kid, baby, people, guy, lady, pedestrian",
    "road": "street, asphalt",
    "pavement": "sidewalk",
    "boat": "ship",
    "potted plant": "houseplant",
}
"""Names that work better with `tiny` than their synonyms; IoU on COCO photos: 77 % against 2 to 45 (person), 63 against
41 (road), 69 against 56, 89 against 70, and 34 against 2."""


def show_hints(hints: Sequence[str]) -> None:
    """Print hints to standard error, each as one line."""
    for hint in hints:
        echo(f"segvoc: hint: {' '.join(hint.split())}", err=True)


def _separator_hint(word: str, from_file: bool) -> str:
    if from_file:
        return f'"{word}" is taken as a single class; write one class per line'
    listed = ", ".join(filter(None, (name.strip() for name in _SEPARATORS.split(word))))
    return f'"{word}" is taken as a single word; separate words with commas: "{listed}"'


def example(*calls: str, more: str = "") -> str:
    """The end of a command's help: calls, one a line, and perhaps a paragraph."""
    lines = "\n".join(f"  {call}" for call in calls)
    return f"\b\nExample:\n{lines}\n\n{more}"
