"""The words that are single tokens of CLIP's vocabulary: most English words are.

The list is that of open_clip's tokenizer (tools/make_clip_words.py), so that it can be asked without open_clip.
"""

from functools import cache
from pathlib import Path

WORDS_FILE = Path(__file__).parent.parent / "weights" / "clip_words.txt"
"""One word per line, in lower case."""


def is_known_to_clip(name: str) -> bool:
    """Whether one of a name's words is a single token of CLIP's vocabulary."""
    return not _words().isdisjoint(name.lower().split())


@cache
def _words() -> frozenset[str]:
    return frozenset(WORDS_FILE.read_text(encoding="utf-8").splitlines())
