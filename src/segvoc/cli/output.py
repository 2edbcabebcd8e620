"""What commands print, and hints at words that were meant otherwise."""

import os
import re
from collections.abc import Collection, Sequence

import click

from segvoc.progress import printable
from segvoc.vocabulary import folded


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
    if fills_image and (none := [word for word in words if folded(word) == "background"]):
        hints.append(f'"{none[0]}" is a word like any other; for what is none of the words: --background {none[0]}')
    if hints or len(words) != 1 or not fills_image:
        return hints
    (word,) = words
    if from_file and ", " in word:
        return [f'"{word}" is a single class with synonyms; to make these classes of their own, write one a line']
    apart = f'separate words with commas ("{", ".join(word.split())}"), ' if " " in word and not from_file else ""
    return [
        f'"{word}" is the only word, so every pixel gets it; {apart}add more words, or let pixels that don\'t fit go '
        "without: --background other, or --threshold 0.5"
    ]


def unquoted_hint(words: str, images: Sequence[str]) -> str | None:
    """What to say if a shell took a list of words apart (--words cat, sofa, wall), so that words became images."""
    strays = [name for name in images if not os.path.splitext(name)[1] and not os.path.lexists(name) and name != "-"]
    if not strays or len(strays) == len(images) or "," in words.rstrip(", "):
        return None
    listed = ", ".join(name.strip(" ,") for name in (words, *strays))
    return f'{strays[0]!r} is no image; if it is a word, put quotes around the list: --words "{listed}"'


def model_hints(words: Collection[str], own: Sequence[str]) -> list[str]:
    """Hints about the words of a call that a model knows under other names.

    Args:
        words: the class names.
        own: what the model was trained on or taught, if these are words of its own.
    """
    asked = {folded(name.strip()) for word in words for name in word.split(",")}
    if own:
        known = {folded(word) for word in own}
        named = f"{', '.join(own[:5])}{', ...' if len(own) > 5 else ''}"
        return (
            [] if not words or asked & known else [f"none of the words that this model was taught ({named}) is asked"]
        )
    hints = []
    for known, others in _SYNONYMS.items():
        meant = [name for name in others.split(", ") if name in asked]
        if meant and known not in asked:
            hints.append(f'{" and ".join(map(_quoted, meant))} may be missed; "{known}" is known better')
    return hints


_SYNONYMS = {
    "person": "man, woman, boy, girl, child, kid, baby, people, guy, lady, pedestrian",
    "road": "street, asphalt",
    "pavement": "sidewalk",
    "boat": "ship",
    "potted plant": "houseplant",
}
"""Names that `tiny` knows better than others for the same thing: on photographs of COCO, IoU 77 % against 2 to 45
(person), 63 against 41 (road), 69 against 56, 89 against 70, and 34 against 2."""


def _quoted(word: str) -> str:
    return f'"{word}"'


def show_hints(hints: Sequence[str]) -> None:
    """Print hints to standard error, each as one line."""
    for hint in hints:
        echo(f"segvoc: hint: {' '.join(hint.split())}", err=True)


def _separator_hint(word: str, from_file: bool) -> str:
    if from_file:
        return f'"{word}" is taken as a single class; write one class a line'
    listed = ", ".join(filter(None, (name.strip() for name in _SEPARATORS.split(word))))
    return f'"{word}" is taken as a single word; separate words with commas: "{listed}"'
