"""Words that a text encoder probably doesn't know: all of those used here were trained on English."""

import unicodedata
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from segvoc.errors import UnknownWordWarning

_QUOTED = 3
"""Words that a warning quotes; the others are counted."""


def warn_of_unknown_words(unknown: Sequence[str]) -> None:
    """Warn of words that a text encoder probably doesn't know (`TextEncoder.unknown_words`), in one line for all.

    Warns:
        UnknownWordWarning: there are such words.
    """
    if not unknown:
        return
    quoted = [f'"{word}"' for word in unknown[:_QUOTED]]
    if len(unknown) > _QUOTED:
        quoted.append(f"{len(unknown) - _QUOTED} more")
    listed = f"{', '.join(quoted[:-1])} and {quoted[-1]}" if len(quoted) > 1 else quoted[0]
    warnings.warn(
        f"the model was trained on English words and probably doesn't know {listed}; use English words instead",
        UnknownWordWarning,
        stacklevel=3,
    )


def in_another_script(word: str) -> bool:
    """Whether most letters of a word are not Latin; a word without letters, such as an emoji, is in no script."""
    letters = [char for char in unicodedata.normalize("NFKD", word) if char.isalpha()]
    other = [char for char in letters if not unicodedata.name(char, "LATIN").startswith("LATIN")]
    return 2 * len(other) > len(letters)


WORDS_FILE = Path(__file__).parent.parent / "weights" / "clip_words.txt"
"""The words that are single tokens of CLIP's vocabulary, as most English words are: one per line, in lower case.

The list is that of open_clip's tokenizer (tools/make_clip_words.py), so that it can be asked without open_clip."""


def is_known_to_clip(name: str) -> bool:
    """Whether one of a name's words is a single token of CLIP's vocabulary."""
    return not _words().isdisjoint(name.lower().split())


@cache
def _words() -> frozenset[str]:
    return frozenset(WORDS_FILE.read_text(encoding="utf-8").splitlines())
