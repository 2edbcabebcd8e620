"""Printing, hints, and the examples of help."""

import os
import shlex
from collections.abc import Mapping, Sequence

import click

from segvoc.errors import Hint, LabelingWarning
from segvoc.runtime.progress import printable


def echo(text: object, *, err: bool = False, nl: bool = True) -> None:
    """Print text to standard output or error, with control characters escaped."""
    click.echo(printable(str(text)), err=err, nl=nl)


def is_first_process() -> bool:
    """Whether this process prints: under `torchrun` only that of rank 0 does."""
    return os.environ.get("RANK", "0") == "0"


def flag(name: str, value: object) -> str:
    """An option as on the command line."""
    return f"--{name.replace('_', '-')} {shlex.quote(str(value))}"


def unquoted_hint(words: str, images: Sequence[str]) -> str | None:
    """A hint if the shell split an unquoted list of words (--words cat, sofa, wall), so that words became images."""
    strays = [name for name in images if not os.path.splitext(name)[1] and not os.path.lexists(name) and name != "-"]
    if not strays or len(strays) == len(images) or "," in words.rstrip(", "):
        return None
    if os.path.isfile(path := " ".join(images)):
        return f"{strays[0]!r} is not an image; put quotes around the name: {path!r}"
    listed = ", ".join(name.strip(" ,") for name in (words, *strays))
    return f'{strays[0]!r} is not an image; if it is a word, put quotes around the list: --words "{listed}"'


def show_hints(hints: Sequence[Hint | LabelingWarning]) -> None:
    """Print hints to standard error, each as one line."""
    for hint in hints:
        echo(f"segvoc: hint: {' '.join(hint.written(flag).split())}", err=True)


def worse_line(scores: Mapping[str, tuple[float | None, float | None]], fix: str) -> str | None:
    """What fell on held-out images by learning, and what to do, in a line; None if nothing did.

    `scores` are those before and after [%], by name.
    """
    both = [
        (name, before, after) for name, (before, after) in scores.items() if before is not None and after is not None
    ]
    fell = [f"{name} {before:.1f} -> {after:.1f} %" for name, before, after in both if after < before]
    return f"worse than before on held-out images: {', '.join(fell)}; {fix}" if fell else None


def example(*calls: str, more: str = "") -> str:
    """The end of a command's help: calls, one a line, and perhaps a paragraph."""
    lines = "\n".join(f"  {call}" for call in calls)
    return f"\b\nExample:\n{lines}\n\n{more}"
