"""Hints about the words of a call that probably mean something else, or don't cover the image."""

import re
from collections.abc import Callable, Collection, Sequence
from typing import Literal

from segvoc.vocabulary import folded

WriteOption = Callable[[str, object], str]
"""Writes an option and its value: `python_option` as in Python, the command line as its flag."""

SURROUNDINGS = 1 / 3
"""Share of an image in which stand-ins for the background beat all words from which the background is hinted at."""

SURE = 0.6
"""Mean confidence from which the words of a call cover its image, so that surroundings aren't looked for."""

_SEPARATORS = re.compile(r"[;|\t\n\uff1b\uff0c\u3001\u060c\u061b]|\s\.\s|\.$")
"""Separators that people use instead of commas; also in Chinese, Japanese and Arabic, and Grounding DINO's periods."""

_SYNONYMS = {
    "person": "man, woman, boy, girl, child, kid, baby, people, guy, lady, pedestrian",
    "road": "street, asphalt",
    "pavement": "sidewalk",
    "boat": "ship",
    "potted plant": "houseplant",
}
"""Names that work better with `tiny` than their synonyms; IoU on COCO photos: 77 % against 2 to 45 (person), 63 against
41 (road), 69 against 56, 89 against 70, and 34 against 2."""


def python_option(name: str, value: object) -> str:
    """An option as a keyword argument."""
    return f"{name}={value!r}"


def word_hints(
    words: Sequence[str],
    place: Literal["line", "file", "list"] = "line",
    *,
    fills_image: bool = True,
    option: WriteOption = python_option,
) -> list[str]:
    """Hints about the class names of a call, one line each; usually empty.

    `place` is where the words are from: in a line, commas separate them. `fills_image`: every pixel gets a word, since
    neither a background nor a threshold is set.
    """
    hints = [_separator_hint(word, place) for word in words if _SEPARATORS.search(word)]
    if fills_image and (none := [word for word in words if folded(word) == "background"]):
        rule = option("background", none[0])
        hints.append(f'"{none[0]}" is a word like any other; for pixels of no other word: {rule}')
    if hints or len(words) != 1 or not fills_image:
        return hints
    (word,) = words
    if place != "line" and ", " in word:
        each = "write one per line" if place == "file" else "give each its own entry"
        return [f'"{word}" is a single class with synonyms; for separate classes, {each}']
    apart = f'; for separate words, use commas: "{", ".join(word.split())}"' if " " in word and place == "line" else ""
    whole = option("threshold", 0)
    return [f"pixels where a single word is unlikely are unlabeled; {whole} gives it the whole image{apart}"]


def _separator_hint(word: str, place: str) -> str:
    if place == "file":
        return f'"{word}" is taken as a single class; write one class per line'
    names = re.split(r"\." if word[-1] == "." else _SEPARATORS, word)
    listed = ", ".join(filter(None, map(str.strip, names)))
    return f'"{" ".join(word.split())}" is taken as a single word; separate words with commas: "{listed}"'


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


def surroundings_hints(share: float, option: WriteOption = python_option) -> list[str]:
    """A hint at the background if surroundings are likelier than all words in a third of an image; usually empty.

    `share` is that of `Segmenter.share_of_surroundings`.
    """
    if share < SURROUNDINGS:
        return []
    auto, other = option("background", "auto"), option("background", "other")
    return [f"much of the image looks like none of the words; {auto} leaves it unlabeled, {other} names it"]
